"""Reading what `-f` names: a file, a directory or standard input."""

import sys
from collections.abc import Collection
from pathlib import Path

from calico.cli import output
from calico.cli.refusal import Refused
from calico.codec.json_text import MAX_OBJECT_BYTES

STANDARD_INPUT = "-"


def read_input(name: str, *, max_bytes: int = MAX_OBJECT_BYTES) -> tuple[str, bytes]:
    """Read one document.

    Args:
        name: A file; `-` for standard input; or a directory with exactly one
            `.json` file.
        max_bytes: How large it may be.

    Returns:
        What to call it in an error, and at least the first byte more than it may
        have if it is too large.

    Raises:
        Refused: It cannot be read.
    """
    if name == STANDARD_INPUT:
        if sys.stdin is None:
            raise Refused("standard input is closed; name a file with -f")
        if sys.stdin.isatty():
            output.complain("Reading from the terminal; Ctrl-D ends the input.")
        return "standard input", sys.stdin.buffer.read(max_bytes + 1)
    path = Path(name)
    try:
        if path.is_dir():
            path = _only_document(path)
        with path.open("rb") as file:
            return str(path), file.read(max_bytes + 1)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; nothing was changed") from None
    except ValueError as error:
        raise Refused(f"{name!r}: {error}; nothing was changed") from None


def list_inputs(name: str, suffixes: Collection[str]) -> list[str]:
    """Name the documents that `-f` means where it may mean several.

    Args:
        name: As for `read_input`, but of a directory every document is meant.
        suffixes: How the names of documents end there, such as `.json`.

    Returns:
        What to give to `read_input`, in the order of the names.

    Raises:
        Refused: The directory cannot be read, or has none.
    """
    path = Path(name)
    if name == STANDARD_INPUT or not path.is_dir():
        return [name]
    try:
        found = sorted(
            str(each)
            for each in path.iterdir()
            if each.suffix in suffixes and not each.is_dir()
        )
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
    if not found:
        raise Refused(f"{path}: found no file that ends in {', '.join(suffixes)}")
    return found


def _only_document(directory: Path) -> Path:
    found = sorted(directory.glob("*.json"))
    if len(found) != 1:
        raise Refused(
            f"{directory}: found {len(found)} .json files, expected exactly one;"
            " nothing was changed"
        )
    return found[0]
