"""What people and programs read: the one module that prints.

Results go to standard output, everything else to standard error. A paragraph
is wrapped at 80 columns and followed by an empty line, as the original does.
"""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

from calico.codec.json_text import Json
from calico.model.errors import CalicoError

WIDTH = 80

_SHOWN = {
    number: f"\\x{number:02x}"
    for number in (*range(0x20), *range(0x7F, 0xA0))
    if chr(number) not in "\t\n"
}


def line(text: str = "") -> None:
    """Print one line of a result."""
    _print(text, sys.stdout)


def paragraph(text: str) -> None:
    """Print a result as a paragraph."""
    _print(wrap(text) + "\n", sys.stdout)


def complain(text: str) -> None:
    """Print one line that is no result: an error, a warning, progress.

    Where it cannot be written it is lost, and nothing else: a change is not
    given up half-way because nobody reads a warning.
    """
    with suppress(OutputLost):
        _print(text, sys.stderr)


def complain_paragraph(text: str) -> None:
    """Print a paragraph that is no result."""
    complain(wrap(text) + "\n")


def show_progress(text: str) -> None:
    """Say on a terminal how far a command is, in place of what was said before.

    Args:
        text: Short; empty to take it away.
    """
    stream: TextIO | None = sys.stderr
    if stream is not None and stream.isatty():
        # As a warning, it may be lost.
        with suppress(OSError):
            stream.write(f"\r\x1b[K{text}")
            stream.flush()


class OutputLost(CalicoError):  # noqa: N818 -- says what happened, as the others do
    """What was to be printed could not be written.

    Attributes:
        reason: The system's words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the output cannot be written: {self.reason}"


class ReaderGone(OutputLost):
    """Whoever read what we print has closed the pipe."""


def _print(text: str, stream: TextIO | None) -> None:
    # What a terminal would obey is shown instead: names come from anybody.
    text = text.translate(_SHOWN)
    if stream is None:
        # The caller has closed it and wants nothing.
        return
    try:
        _print_escaping(text, stream)
    except OSError as error:
        raise _lost(error) from None


def _print_escaping(text: str, stream: TextIO) -> None:
    try:
        print(text, file=stream)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


def _lost(error: OSError) -> OutputLost:
    reason = error.strerror or str(error)
    is_gone = isinstance(error, BrokenPipeError)
    return ReaderGone(reason) if is_gone else OutputLost(reason)


def flush() -> None:
    """Write what is still in memory.

    Raises:
        ReaderGone: Whoever reads it has gone.
        OutputLost: It cannot be written.
    """
    stream: TextIO | None = sys.stdout
    try:
        if stream is not None:
            stream.flush()
    except OSError as error:
        raise _lost(error) from None


def drop() -> None:
    """Send what Python has not written yet nowhere.

    Without this it would try again when it ends, and complain in its own words.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def count(number: int, one: str, many: str) -> str:
    """Say how many there are of something."""
    return f"{number} {one if number == 1 else many}"


def wrap(text: str, width: int = WIDTH) -> str:
    """Break a text into lines of at most `width`; long words stay whole."""
    lines: list[str] = []
    for paragraph_text in text.split("\n"):
        begun = ""
        # A double space after a full stop is kept inside a line.
        for word in paragraph_text.split(" "):
            if begun and len(begun) + 1 + len(word) > width:
                lines.append(begun.rstrip())
                begun = word
            else:
                begun = f"{begun} {word}" if begun else word
        lines.append(begun.rstrip())
    return "\n".join(lines)


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    align: str = "c",
) -> None:
    """Print a table; an empty one still has its header and borders.

    Args:
        headings: One for each column.
        rows: A cell may have several lines.
        align: `c`, `l` or `r`, for all cells.
    """
    # Imported late: it takes 25 ms, and most commands print no table.
    from prettytable import PrettyTable  # noqa: PLC0415 -- see above

    made = PrettyTable(list(headings))
    made.align = align  # type: ignore[assignment]  # its stubs know only dictionaries
    for row in rows:
        made.add_row([str(cell) for cell in row])
    line(str(made))


def show(
    fmt: str | None, value: Json, names: Sequence[str], print_text: Callable[[], None]
) -> None:
    """Print what a command shows, in the format that was asked for.

    Args:
        fmt: `json`, `yaml`, `name`, or `None` for people.
        value: For `json` and `yaml`.
        names: For `name`: one identifier a line.
        print_text: Prints it for people.
    """
    if fmt == "json":
        from calico.codec.json_text import dump_json_for_people  # noqa: PLC0415

        line(dump_json_for_people(value))
    elif fmt == "yaml":
        # Imported late: it takes 15 ms, and few ask for it.
        import yaml  # noqa: PLC0415 -- see above

        line(yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip("\n"))
    elif fmt == "name":
        for name in names:
            line(name)
    else:
        print_text()
