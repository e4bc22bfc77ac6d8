"""A process that the supervisor keeps alive, with a back-off of its own.

Nothing here waits: `tend` looks whether it has ended or is to be started, and
`wakes_at` says when to look again at the latest.
"""

import logging
import os
import select
import signal
from collections.abc import Callable
from typing import Protocol

from calico.node.restarts import Restarts

_LOG = logging.getLogger("calico.node")
_LOOK_EVERY_S = 1.0
_UNKNOWN = 256


class Running(Protocol):
    """A process; `subprocess.Popen` is one."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    def poll(self) -> int | None:
        """Return its exit code, the signal below zero, or `None` while it runs."""
        ...

    def send_signal(self, sig: int) -> None:
        """Send it a signal; one that has ended is none the wiser."""
        ...


class Adopted:
    """A process that a supervisor before us has started.

    It is not our child: no signal says that it has ended, and nobody tells us
    its exit code.

    Args:
        pid: Its number.

    Raises:
        ProcessLookupError: It has ended.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._fd = os.pidfd_open(pid)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._pid

    def poll(self) -> int | None:
        """Return `None` while it runs, and then no exit code."""
        readable, _, _ = select.select([self._fd], [], [], 0)
        return _UNKNOWN if readable else None

    def wait(self, within_s: float) -> None:
        """Wait until it has ended, or the time is over."""
        select.select([self._fd], [], [], within_s)

    def send_signal(self, sig: int) -> None:
        """Send it a signal."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._fd, sig)


class Child:
    """A process that is started, and started again whenever it ends.

    Args:
        name: What it is, for the log.
        start: Starts it. `OSError` says that it cannot be started.
        is_wanted: Whether to start it, asked while it does not run.
        last_words: What it has said last, asked when it has ended.

    Attributes:
        name: What it is.
        problem: Why it does not run; empty while it does or is not wanted.
        n_ends: How often it has ended by itself, or could not be started.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], Running],
        is_wanted: Callable[[], bool] = lambda: True,
        last_words: Callable[[], str] = lambda: "",
    ) -> None:
        self.name = name
        self.problem = ""
        self.n_ends = 0
        self._start = start
        self._is_wanted = is_wanted
        self._last_words = last_words
        self._running: Running | None = None
        self._restarts = Restarts()
        self._began = 0.0
        self._due = 0.0

    @property
    def pid(self) -> int | None:
        """Its number; absent while it does not run."""
        return None if self._running is None else self._running.pid

    def adopt(self, running: Running, now: float) -> None:
        """Take over a process that runs already."""
        self._running = running
        self._began = now
        _LOG.info("%s runs already, process %d", self.name, running.pid)

    def tend(self, now: float) -> None:
        """Look whether it has ended, and start it when it is time to."""
        if self._running is not None:
            code = self._running.poll()
            if code is None:
                return
            self._running = None
            said = self._last_words()
            self._put_off(now, f"ended with {_describe_end(code)}", said)
        if now >= self._due and self._is_wanted():
            try:
                self._running = self._start()
            except OSError as error:
                self._began = now
                self._put_off(now, f"cannot be started: {_reason(error)}", "")
                return
            self._began = now
            self.problem = ""
            _LOG.info("%s started, process %d", self.name, self._running.pid)

    def wakes_at(self, now: float) -> float | None:
        """Return when to tend it even if no signal comes."""
        if isinstance(self._running, Adopted):
            return now + _LOOK_EVERY_S
        if self._running is not None:
            return None
        return self._due if self._due > now else now + _LOOK_EVERY_S

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self._running is not None:
            self._running.send_signal(number)

    def has_ended(self) -> bool:
        """Tell whether it does not run."""
        return self._running is None or self._running.poll() is not None

    def _put_off(self, now: float, what: str, said: str) -> None:
        self.n_ends += 1
        self._restarts = self._restarts.after(now - self._began)
        self._due = now + self._restarts.pause_s
        self.problem = what + (f": {said}" if said else "")
        _LOG.error(
            "%s %s, starts again in %g s",
            self.name,
            self.problem,
            self._restarts.pause_s,
        )


def _describe_end(code: int) -> str:
    if code == _UNKNOWN:
        return "an exit code that only its parent knew"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _reason(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
