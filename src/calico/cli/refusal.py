"""The error of a command that says in its own lines why it refuses."""

import os
from collections.abc import Sequence

from calico.cli.exit_codes import FAILED
from calico.model.errors import CalicoError


class Refused(CalicoError):  # noqa: N818 -- says what happened, as the others do
    """A command was not carried out.

    Attributes:
        lines: What to tell the user. One that ends in an empty line is a
            paragraph and may be wrapped.
        exit_code: One of `calico.cli.exit_codes`.
    """

    def __init__(self, *lines: str, exit_code: int = FAILED) -> None:
        super().__init__(*lines)
        self.lines: Sequence[str] = lines
        self.exit_code = exit_code

    def __str__(self) -> str:
        return "\n".join(self.lines)


def paragraph(text: str) -> str:
    """Mark a line of a refusal as a paragraph."""
    return text + "\n"


def require_root() -> None:
    """Make sure that root runs the command, before it changes anything.

    Raises:
        Refused: Somebody else does.
    """
    if os.geteuid() != 0:
        raise Refused("This command must be run as root.")
