"""Who supervises this host: a file with a lock and a process id.

The lock says whether somebody does, and the kernel lets go of it with the
process, however that ends. So the process id is believed only while the lock
is held, and one that is left over, or belongs to another process by now, is
never signalled.
"""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from calico.model.errors import CalicoError

FILE_NAME = "node.pid"

_N_TRIES = 10
_PAUSE_S = 0.01


class AlreadyRunning(CalicoError):  # noqa: N818 -- says what happened
    """This host has a supervisor already.

    Attributes:
        pid: Its process; `None` when that cannot be read.
    """

    def __init__(self, pid: int | None) -> None:
        super().__init__(pid)
        self.pid = pid

    def __str__(self) -> str:
        return f"calico-node is already running on this host (process {self.pid})"


@contextmanager
def hold_pidfile(run_dir: Path) -> Generator[None]:
    """Hold the lock with our process id; at the end the file goes.

    Raises:
        AlreadyRunning: Another process holds it.
    """
    path = run_dir / FILE_NAME
    with _lock(path) as file:
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            # Locked still, so nobody has taken it over.
            if _is_at(path, file):
                path.unlink()


def _lock(path: Path) -> IO[str]:
    for _ in range(_N_TRIES):
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Whoever only looks holds it for a moment, too.
            file.close()
            time.sleep(_PAUSE_S)
            continue
        if _is_at(path, file):
            return file
        # The one before us has removed it since we opened it.
        file.close()
    raise AlreadyRunning(running_pid(path.parent))


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def running_pid(run_dir: Path) -> int | None:
    """Return the process id of this host's supervisor; `None` when it has none."""
    try:
        with (run_dir / FILE_NAME).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                word = file.read().strip()
                return int(word) if word.isdecimal() else None
    except OSError:
        return None
    return None
