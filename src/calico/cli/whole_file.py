"""Writing a file whole, or not at all."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from calico.cli.refusal import Refused


def write_whole(path: Path, lines: Iterable[str], *, mode: int) -> None:
    """Put a file in place of another one, whole or not at all.

    Args:
        path: Where; what is there is replaced, and must be a regular file.
        lines: What it holds, without the ends of lines.
        mode: Who may read and write it.

    Raises:
        Refused: It cannot be written; nothing has changed.
    """
    try:
        if path.exists() and not path.is_file():
            # A directory, or a device such as /dev/stdout, which root could replace.
            raise Refused(f"{path}: is no regular file; nothing was written")
        handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), mode)
                file.writelines(f"{line}\n" for line in lines)
                file.flush()
                os.fsync(file.fileno())
            Path(fresh).replace(path)
        except BaseException:
            Path(fresh).unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Refused(f"{path}: {reason}; nothing was written") from None
