"""Write the host's status to the datastore: on change, and from time to time.

Runs in a thread of its own, for a datastore may take seconds to answer and
policy does not wait for it. Only the newest status counts.

A change of policy moves the revision of every host. If each told so at once,
one change would cost as many writes as there are hosts, so hosts share a
budget: in a large cluster each waits for a random moment of its turn. What it
could not use, and that it has begun, a host tells at once.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Condition

from calico.model.errors import CalicoError, OutcomeUnknown, Unavailable
from calico.model.names import HostName, Revision
from calico.store.api import Store
from calico.store.following import pause_after
from calico.store.host_status import TTL_S, HostStatus, HostStatusWriter

SHORTEST_S = 0.2
LONGEST_S = 30.0
HOSTS_PER_S = 200
"""How many hosts together tell of a new revision in a second."""

_JITTER = 0.1
_NEVER = float("inf")


def spread_s(n_hosts: int) -> float:
    """Return within how many seconds so many hosts tell of a new revision.

    Args:
        n_hosts: The hosts of the cluster; 0 when they are not known.

    Returns:
        0 for a cluster so small that all may tell at once.
    """
    turn_s = n_hosts / HOSTS_PER_S
    return turn_s if turn_s > SHORTEST_S else 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """What is told to the cluster.

    Attributes:
        revision: The policy revision in force.
        problems: Reason by object of what could not be used.
    """

    revision: Revision
    problems: Mapping[str, str]


class Publisher:
    """Keep a host's status in the datastore.

    Args:
        open_store: Opens the datastore; may be called again after a failure.
        host: Whose status it is.
        complain: Called when it cannot be written, with the reason.
        note_rival: Called when another agent turns out to write it, too, with
            what to say of that; with nothing when it has ceased to.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        host: HostName,
        complain: Callable[[str], None],
        note_rival: Callable[[str | None], None],
    ) -> None:
        self._open_store = open_store
        self._host = host
        self._complain = complain
        self._note_rival = note_rival
        self._rival_seen: float | None = None
        self._changed = Condition()
        self._report: Report | None = None
        self._due = _NEVER
        self._spread_s = 0.0
        self._is_ending = False
        self._started = time.monotonic()
        self._written_at = self._started
        self._n_written = 0

    def publish(self, report: Report, n_hosts: int = 0) -> None:
        """Hand over what is to be told; called by the loop, never waits.

        Args:
            report: What is to be told.
            n_hosts: The hosts of the cluster, which share what it bears.
        """
        with self._changed:
            before = self._report
            if report == before:
                return
            self._report = report
            self._spread_s = spread_s(n_hosts)
            due = time.monotonic()
            if before is not None and before.problems == report.problems:
                due = self._turn_after(due)
            self._due = min(self._due, due)
            self._changed.notify()

    def _turn_after(self, now: float) -> float:
        """Return when this host's turn is to tell of nothing but a revision."""
        turn = now + random.uniform(0, self._spread_s)  # noqa: S311 -- no secret
        return max(turn, self._written_at + self._spread_s)

    def end(self) -> None:
        """Withdraw the status and return from `run`."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()

    def run(self) -> None:
        """Write until `end` is called; for a thread of its own."""
        n_failures = 0
        while not self._is_ending:
            try:
                self._write_reports()
            except (Unavailable, OutcomeUnknown) as error:
                n_failures = self._n_failures_after(n_failures)
                self._complain(str(error))
                self._wait(pause_after(n_failures))
                self._tell_again()

    def _tell_again(self) -> None:
        """Tell what may not be written, when it is this host's turn."""
        with self._changed:
            if self._report is not None:
                turn_s = random.uniform(0, self._spread_s)  # noqa: S311 -- no secret
                self._due = min(self._due, time.monotonic() + turn_s)

    def _n_failures_after(self, n_failures: int) -> int:
        had_success, self._n_written = self._n_written > 0, 0
        return 1 if had_success else n_failures + 1

    def _write_reports(self) -> None:
        store = self._open_store()
        try:
            writer = HostStatusWriter(store, self._host)
            while not self._is_ending:
                report = self._next()
                if report is not None:
                    self._look_for_rival(writer, writer.write(self._status(report)))
                    self._n_written += 1
                    self._wait(SHORTEST_S)
            self._withdraw(writer)
        finally:
            store.close()

    def _look_for_rival(self, writer: HostStatusWriter, is_alone: bool) -> None:  # noqa: FBT001 -- what `write` returns
        now = time.monotonic()
        if not is_alone:
            if self._rival_seen is None:
                self._note_rival(writer.describe_rival())
            self._rival_seen = now
        elif self._rival_seen is not None and now - self._rival_seen > TTL_S:
            self._rival_seen = None
            self._note_rival(None)

    def _withdraw(self, writer: HostStatusWriter) -> None:
        try:
            writer.withdraw()
        except CalicoError as error:
            self._complain(f"{error}; the status goes when its time is over")

    def _next(self) -> Report | None:
        """Wait until something is to be told; absent when all is over."""
        patience_s = LONGEST_S * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 -- no secret
        beat = self._written_at + patience_s
        with self._changed:
            while not self._is_ending:
                now = time.monotonic()
                due = min(self._due, beat)
                if self._report is not None and due <= now:
                    self._due, self._written_at = _NEVER, now
                    return self._report
                self._changed.wait(None if self._report is None else due - now)
        return None

    def _wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_ending, seconds)

    def _status(self, report: Report) -> HostStatus:
        return HostStatus(
            time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            uptime_s=int(time.monotonic() - self._started),
            is_first_update=self._n_written == 0,
            revision=report.revision,
            problems=report.problems,
        )
