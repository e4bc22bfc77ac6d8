"""When flows are cut: soon after a change, in pieces, and again after a failure.

A walk through connection tracking begins when nothing else is waiting, or has
waited for long enough, and goes on by one piece a turn of the loop, so that
the changes which come meanwhile wait for one piece and not for the table's
end. What is still suspected when the kernel breaks off is looked at again.

A packet that the rules before a change have let pass may not be known to
connection tracking yet when the change is in force. So a walk waits until no
such packet is under way.
"""

from collections.abc import Callable
from typing import Protocol

from calico.agent.cutter import Walk
from calico.agent.suspects import Suspects
from calico.ir.state import DesiredState
from calico.model.errors import Unavailable
from calico.store.following import pause_after

CUT_WITHIN_S = 0.15
QUIET_S = 0.02
"""How long nothing may change before a walk begins early.

Its grace period takes some 10 ms, in which the loop does nothing else: of
changes that follow each other closely each would wait for that of the last.
"""


class Cutter(Protocol):
    """Walks through connection tracking; see `FlowCutter`."""

    def begin(self, suspects: Suspects) -> Walk:
        """Begin to walk; a walk before this one comes to nothing."""
        ...

    def go_on(self, walk: Walk, state: DesiredState) -> bool:
        """Look at the next piece, and say whether there may be more."""
        ...


class Cutting:
    """Collect whose flows have to be looked at, and have it done in time.

    Args:
        cutter: Does it.
        let_packets_pass: Waits until no packet is under way that older rules
            have let pass.
        report: Is told why it cannot be done, and `None` when it is done.
    """

    def __init__(
        self,
        cutter: Cutter,
        let_packets_pass: Callable[[], object],
        report: Callable[[str | None], None],
    ) -> None:
        self._cutter = cutter
        self._let_packets_pass = let_packets_pass
        self._report = report
        self._suspects = Suspects()
        self._walk: Walk | None = None
        self._due: float | None = None
        self._quiet_from = 0.0
        self._not_before = 0.0
        self._n_failures = 0

    def suspect(self, suspects: Suspects, now: float) -> None:
        """Take down whose flows have to be looked at."""
        if not suspects:
            return
        self._suspects |= suspects
        self._quiet_from = max(now + QUIET_S, self._not_before)
        if self._due is None:
            self._due = max(now + CUT_WITHIN_S, self._not_before)

    def pending(self) -> Suspects:
        """Return whose flows are still to be looked at."""
        walked = Suspects() if self._walk is None else self._walk.suspects
        return walked | self._suspects

    def next_due(self) -> float | None:
        """Return when `work` has something to do even if nothing happens."""
        if self._walk is not None:
            return 0.0
        return None if self._due is None else min(self._due, self._quiet_from)

    def work(
        self, state: Callable[[], DesiredState], now: float, *, is_idle: bool
    ) -> None:
        """Do one piece of what there is to do.

        Args:
            state: Says what policy is now.
            now: On the clock of `suspect`.
            is_idle: Nothing else is waiting.

        Raises:
            KernelRejected: We may not delete flows.
        """
        if self._walk is None and self._due is not None:
            is_time = self._due <= now or (is_idle and self._quiet_from <= now)
            if not is_time:
                return
        try:
            self._step(state)
        except Unavailable as error:
            self._fail(error, now, self.pending())

    def finish(self, state: Callable[[], DesiredState], now: float) -> None:
        """Do all there is to do at once, because an address comes back.

        Where that fails, flows of addresses that went are judged like all
        others later: they may be the new owner's then.

        Args:
            state: Says what policy is now.
            now: On the clock of `suspect`.

        Raises:
            KernelRejected: We may not delete flows.
        """
        try:
            while self._walk is not None or self._due is not None:
                self._step(state)
        except Unavailable as error:
            left = self.pending()
            self._fail(error, now, Suspects(left.judged | left.gone))

    def _step(self, state: Callable[[], DesiredState]) -> None:
        if self._walk is None:
            if self._due is None:
                return
            self._let_packets_pass()
            self._walk = self._cutter.begin(self._suspects)
            self._suspects, self._due = Suspects(), None
        if self._cutter.go_on(self._walk, state()):
            return
        self._walk = None
        if self._n_failures:
            self._n_failures = 0
            self._report(None)

    def _fail(self, error: Unavailable, now: float, left: Suspects) -> None:
        self._suspects, self._walk = left, None
        self._n_failures += 1
        self._not_before = self._due = now + pause_after(self._n_failures)
        self._quiet_from = self._not_before
        self._report(f"{error}; flows that policy denies may go on until it is read")
