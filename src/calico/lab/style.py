"""Colour where there is a terminal that wants it, and none elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

_CODES = {"bold": "1", "yes": "32", "no": "2", "alarm": "1;37;41", "dim": "2"}


@dataclass(frozen=True, slots=True)
class Style:
    """How text is set off.

    Attributes:
        is_coloured: Whether it is at all.
    """

    is_coloured: bool

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str]) -> "Style":
        """Choose for a stream; a non-empty `NO_COLOR` means no colour."""
        return cls(stream.isatty() and not environ.get("NO_COLOR"))

    def paint(self, text: str, manner: str) -> str:
        """Set a text off: `bold`, `dim`, `yes`, `no` or `alarm`."""
        return f"\033[{_CODES[manner]}m{text}\033[0m" if self.is_coloured else text
