"""The lock that all writers and checkpoints of a SQLite store take.

One `flock` serialises them fairly, where SQLite's own waiting polls with
growing pauses, and it keeps two connections from writing and checkpointing at
the same instant, which releases before 3.51.3 do not survive in every case.
The kernel drops the lock with its holder, however that dies. The file names
the holder for the benefit of whoever waits too long.

`flock` has no time-out, so a wait happens in a thread of its own; if the time
runs out, thread and descriptor are left behind, and give up the lock as soon
as they get it.
"""

import fcntl
import os
from pathlib import Path

from calico.model.errors import StoreBusy, Unavailable
from calico.store.sqlite_files import open_beside

LOCK_WAIT_S = 5.0
"""How long a writer waits for the others."""

_TEXT_BYTES = 256


class WriterLock:
    """The right to write to one store, held by one process at a time.

    Args:
        path: The lock file; made if it is absent.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = open_beside(path)
        self._identity = b""

    def acquire(self, wait_s: float) -> None:
        """Take the lock.

        Raises:
            StoreBusy: Others had it for `wait_s` seconds.
        """
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait_s <= 0 or not self._wait(wait_s):
                raise StoreBusy(
                    str(self._path.with_name("calico.db")), wait_s, self.read_holder()
                ) from None
        except OSError as error:
            raise Unavailable(str(self._path), f"cannot be locked: {error}") from error
        if not self._identity:
            self._identity = _own_identity()
        try:
            os.pwrite(self._descriptor, self._identity, 0)
        except OSError:
            # On a full disk the holder stays unnamed; it writes nothing anyway.
            return

    def release(self) -> None:
        """Give the lock up."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def read_holder(self) -> str:
        """Return who took the lock last, for people to read; empty if unknown."""
        text = os.pread(self._descriptor, _TEXT_BYTES, 0).decode(errors="replace")
        pid, _, rest = text.strip().partition(" ")
        started, _, command = rest.partition(" ")
        return f"process {pid} ({command}, start time {started})" if rest else ""

    def close(self) -> None:
        """Close the lock file, which gives the lock up if it is held."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _wait(self, wait_s: float) -> bool:
        """Wait for the lock in a thread; report whether we have it."""
        import threading  # noqa: PLC0415 -- most commands never wait

        descriptor = self._descriptor
        decision = threading.Lock()
        is_locked = False
        is_abandoned = False

        def lock() -> None:
            nonlocal is_locked
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with decision:
                is_locked = True
                if is_abandoned:
                    os.close(descriptor)

        waiter = threading.Thread(target=lock, daemon=True)
        waiter.start()
        try:
            waiter.join(wait_s)
        finally:
            with decision:
                if not is_locked:
                    is_abandoned = True
                    self._descriptor = open_beside(self._path)
        return not is_abandoned


def _own_identity() -> bytes:
    """Build the text that names this process: pid, start time, command."""
    try:
        with open("/proc/self/stat", "rb") as stat:  # noqa: PTH123 -- bytes, no Path
            started = stat.read().rpartition(b")")[2].split()[19]
        with open("/proc/self/cmdline", "rb") as line:  # noqa: PTH123 -- as above
            command = line.read().replace(b"\0", b" ").strip()
    except OSError:
        started, command = b"0", b"unknown command"
    text = b"%d %s %s" % (os.getpid(), started, command.replace(b"\n", b" "))
    return text[: _TEXT_BYTES - 1].ljust(_TEXT_BYTES - 1) + b"\n"
