"""Wait until a SQLite store may have changed, without polling.

One epoll descriptor collects inotify on the notify file and on SQLite's log,
and a timer. The log alone would not do: its event comes when a commit is
written, before it can be read, so a reader that then sleeps on would miss it.
Hence each event of the log sets the timer to look again a little later.

The calls that Python 3.11 has no wrappers for are made through ctypes, loaded
with this module and so only by those who watch.
"""

import ctypes
import os
import select
import struct
from contextlib import suppress
from pathlib import Path

SETTLE_S = 0.020
"""When to look again after SQLite's log was written to."""

BACKSTOP_S = 1.0
"""When to look again if nothing seems to have happened."""

POLL_S = 0.005
"""When to look again on a machine that has no inotify instance left."""

_IN_MODIFY = 0x2
_IN_IGNORED = 0x8000
_EVENT = struct.Struct("iIII")
_TIMER = struct.Struct("@llll")  # Interval and value, each seconds and nanoseconds.
_NONE = 0.000_001  # A timer set to zero would be switched off.

_libc = ctypes.CDLL(None, use_errno=True)


class Wakeup:
    """A descriptor that is readable when the store should be looked at.

    Args:
        notify: The notify file; must exist.
        wal: SQLite's log; exists while any connection is open.
    """

    def __init__(self, notify: Path, wal: Path) -> None:
        self._paths = (notify, wal)
        self._wal = -1
        self._epoll = select.epoll()
        self._timer = _checked(
            _libc.timerfd_create(1, os.O_CLOEXEC | os.O_NONBLOCK), "timerfd_create"
        )
        self._epoll.register(self._timer, select.EPOLLIN)
        self._inotify = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._inotify >= 0:
            self._epoll.register(self._inotify, select.EPOLLIN)
            self._watch_files()
        self.look_again(0)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._epoll.fileno()

    def wait(self, timeout_s: float | None) -> None:
        """Sleep until the store should be looked at, or time runs out."""
        self._epoll.poll(timeout_s)

    def drain(self) -> None:
        """Take note of every event so far; to be called before looking.

        An event after this call wakes again, so nothing is missed by looking
        at the store afterwards.
        """
        with suppress(BlockingIOError):  # It may not have run out.
            os.read(self._timer, 8)
        if self._inotify < 0:
            self.look_again(POLL_S)
        elif self._drain_inotify():
            self.look_again(SETTLE_S)
        else:
            self.look_again(BACKSTOP_S)

    def look_again(self, after_s: float) -> None:
        """Wake after so many seconds at the latest."""
        seconds = max(after_s, _NONE)
        whole = int(seconds)
        setting = _TIMER.pack(0, 0, whole, int((seconds - whole) * 1_000_000_000))
        _checked(
            _libc.timerfd_settime(self._timer, 0, setting, None), "timerfd_settime"
        )

    def close(self) -> None:
        """Close all descriptors."""
        if not self._epoll.closed:
            self._epoll.close()
            os.close(self._timer)
            if self._inotify >= 0:
                os.close(self._inotify)

    def _watch_files(self) -> None:
        for path in self._paths:
            # -1 when the file is absent or the limit of watches is reached:
            # the timer covers for it.
            self._wal = _libc.inotify_add_watch(
                self._inotify, os.fsencode(path), _IN_MODIFY
            )

    def _drain_inotify(self) -> bool:
        """Read all events; report whether SQLite's log was among them."""
        log_changed = False
        while True:
            try:
                events = os.read(self._inotify, 4096)
            except BlockingIOError:
                return log_changed
            offset = 0
            while offset < len(events):
                watch, mask, _, length = _EVENT.unpack_from(events, offset)
                offset += _EVENT.size + length
                log_changed = log_changed or watch == self._wal
                if mask & _IN_IGNORED:
                    self._watch_files()


def _checked(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result
