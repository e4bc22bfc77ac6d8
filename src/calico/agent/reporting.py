"""What the agent tells: answers at its socket, the status of the host, its log."""

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from calico.agent.drop_log import MAX_WAITING_S, DropLog
from calico.agent.events import Asked
from calico.agent.journal import Journal
from calico.agent.publisher import Publisher, Report
from calico.control.cuts import CutFile, CutFlow
from calico.control.protocol import (
    AgentStatus,
    Counter,
    Cut,
    Method,
    encode_counters,
    encode_error,
    encode_map,
    encode_reached,
    encode_status,
)
from calico.model.errors import CalicoError
from calico.model.names import NO_REVISION, HostName, Revision

MAX_CUTS = 50

ROUTING_PATIENCE_S = 10.0
"""How long routing may lag behind policy when the datastore answers again."""

_ROUTING = "routing"


@dataclass(frozen=True, slots=True)
class Sources:
    """What is asked for when somebody wants to know.

    Attributes:
        counters: Reads the counters of our table.
        missing: Lists interfaces that do not exist.
        interface_problems: Says what the kernel refused about interfaces.
        table_is_owned: Other programs cannot touch our table.
    """

    counters: Callable[[], tuple[Counter, ...]]
    missing: Callable[[], list[str]]
    interface_problems: Callable[[], Mapping[str, str]]
    table_is_owned: bool


@dataclass(frozen=True, slots=True)
class _Waiter:
    asked: Asked
    deadline: float


class Reporting:
    """Keep what can be told, and tell it.

    Args:
        host: This host.
        journal: Where lines go.
        publisher: Writes the host's status.
        sources: Where the rest is read when asked for.
        cut_file: Keeps which flows were cut.

    Attributes:
        journal: Where lines go.
        drops: What was dropped.
    """

    def __init__(
        self,
        host: HostName,
        journal: Journal,
        publisher: Publisher,
        sources: Sources,
        cut_file: CutFile,
    ) -> None:
        self.journal = journal
        self.drops = DropLog()
        self._host = host
        self._publisher = publisher
        self._sources = sources
        self._cut_file = cut_file
        self._started = time.monotonic()
        self._in_force = NO_REVISION
        self._is_ready = False
        self._is_enforcing = False
        self._degraded = ""
        self._compiled: Mapping[str, str] = {}
        self._own: dict[str, str] = {}
        self._routing: Mapping[str, str] = {}
        self._tunnels: Mapping[str, str] = {}
        self._routing_silent = ""
        self._routing_due = 0.0
        self._limits: dict[str, str] = {}
        self._n_endpoints = 0
        self._n_hosts = 0
        self._n_drifts = 0
        self._last_drift = ""
        self._n_lost = 0
        self._n_cuts = 0
        self._cuts: deque[Cut] = deque(maxlen=MAX_CUTS)
        self._waiters: list[_Waiter] = []

    def take(self, asked: Asked) -> None:
        """Answer a request now, or remember who waits."""
        request = asked.request
        match request.method:
            case Method.STATUS:
                asked.answer(encode_status(self.status()))
            case Method.PROBLEMS:
                asked.answer(encode_map(self.problems()))
            case Method.COUNTERS:
                asked.answer(self._counters())
            case Method.DROPS:
                self.drops.take_request(asked)
            case Method.WAIT:
                wait_s = min(max(request.timeout_s, 0.0), MAX_WAITING_S)
                self._waiters.append(_Waiter(asked, time.monotonic() + wait_s))

    def settle(self, now: float) -> None:
        """Answer those whose revision is in force or whose time is over."""
        still: list[_Waiter] = []
        for waiter in self._waiters:
            wanted = waiter.asked.request.revision
            is_reached = self._is_enforcing and self._in_force >= wanted
            if is_reached or waiter.deadline <= now:
                answer = encode_reached(self._in_force, is_reached=is_reached)
                waiter.asked.answer(answer)
            else:
                still.append(waiter)
        self._waiters = still
        self.drops.settle(now)

    def next_due(self) -> float | None:
        """Return when `settle` has something to do even if nothing happens."""
        dues = [each.deadline for each in self._waiters]
        if (due := self.drops.next_due()) is not None:
            dues.append(due)
        return min(dues, default=None)

    def problems(self) -> Mapping[str, str]:
        """Return the reason of everything that cannot be used, by object."""
        interfaces = self._sources.interface_problems()
        return {
            **self._compiled,
            **{f"interface {name}": text for name, text in interfaces.items()},
            **self._routing,
            **self._tunnels,
            **self._silence_of_routing(),
            **self._own,
        }

    def status(self) -> AgentStatus:
        """Return how this agent is."""
        return AgentStatus(
            host=self._host,
            pid=os.getpid(),
            uptime_s=int(time.monotonic() - self._started),
            revision=self._in_force,
            is_ready=self._is_ready,
            is_enforcing=self._is_enforcing,
            degraded=self._degraded,
            problems=self.problems(),
            limits=self._limits,
            n_endpoints=self._n_endpoints,
            missing_interfaces=tuple(self._sources.missing()),
            table_is_owned=self._sources.table_is_owned,
            n_drifts=self._n_drifts,
            last_drift=self._last_drift,
            n_cuts=self._n_cuts,
            cuts=tuple(self._cuts),
        )

    def note_commit(
        self,
        revision: Revision,
        problems: Mapping[str, str],
        n_endpoints: int,
        n_hosts: int,
    ) -> None:
        """Take down that a revision is in force, here, one of so many hosts."""
        for where in problems.keys() - self._compiled.keys():
            self.journal.warning(where, f"{where}: {problems[where]}")
        self._in_force = revision
        self._is_enforcing = True
        self._compiled = problems
        self._n_endpoints = n_endpoints
        self._n_hosts = n_hosts
        self._publish()

    def note_ready(self, *, is_ready: bool) -> None:
        """Take down whether updates are applied."""
        if is_ready != self._is_ready:
            self._is_ready = is_ready
            self.journal.info("Ready", f"Ready is {str(is_ready).lower()}")

    def note_problem(self, where: str, reason: str | None) -> None:
        """Take down something of ours that cannot be used, or that it can be."""
        if reason is None:
            self._own.pop(where, None)
        else:
            self._own[where] = reason
            self.journal.warning(where, f"{where}: {reason}")
        self._publish_if_enforcing()

    def note_routing(self, problems: Mapping[str, str]) -> None:
        """Take down what routing could not use."""
        for where in problems.keys() - self._routing.keys():
            self.journal.warning(where, f"{where}: {problems[where]}")
        self._routing = problems
        self._publish_if_enforcing()

    def note_tunnels(self, problems: Mapping[str, str]) -> None:
        """Take down what is wrong with the tunnels to other hosts."""
        if problems == self._tunnels:
            return
        for where in problems.keys() - self._tunnels.keys():
            self.journal.warning(where, f"{where}: {problems[where]}")
        self._tunnels = dict(problems)
        self._publish_if_enforcing()

    def routing_is_silent(self, reason: str | None, now: float) -> None:
        """Take down that what routing needs cannot be read, or can be again."""
        if reason is not None and not self._routing_silent:
            self._routing_due = now + ROUTING_PATIENCE_S
            self.journal.error(_ROUTING, f"{reason}; routes stay as they are")
        self._routing_silent = reason or ""

    def _silence_of_routing(self) -> Mapping[str, str]:
        """Name it when it is not for the reason that policy has, too."""
        is_due = time.monotonic() >= self._routing_due and not self._degraded
        return (
            {_ROUTING: self._routing_silent} if self._routing_silent and is_due else {}
        )

    def note_limits(self, limits: Mapping[str, str]) -> None:
        """Take down what the kernel refuses us."""
        for name, reason in limits.items():
            self._limits[name] = reason
            self.journal.warning(name, f"{name}: {reason}")

    def note_drift(self, by: str, n_steps: int) -> None:
        """Take down that our table was changed by somebody and repaired."""
        self._n_drifts += 1
        self._last_drift = f"{n_steps} differences, changed by {by}"
        self.journal.warning(
            "drift",
            f"our nftables table was changed by {by}: {n_steps} steps repair it",
        )

    def note_cuts(self, cuts: Sequence[CutFlow]) -> None:
        """Take down which flows are being cut, where it lasts first."""
        if not cuts:
            return
        reason: str | None = None
        try:
            self._cut_file.append(cuts)
        except OSError as error:
            reason = f"not kept: {error.strerror or error}"
        self.note_problem("flows cut", reason)
        self._n_cuts += len(cuts)
        for cut in cuts[-MAX_CUTS:]:
            self._cuts.append(Cut(cut.at, cut.flow, cut.rule))
        for cut in cuts:
            self.journal.info("cut", f"cut {cut.flow}: {cut.rule}")

    def note_lost_events(self, difference: str) -> None:
        """Take down that the datastore kept changes from us, until read anew."""
        self._n_lost += 1
        self.note_problem(
            "datastore watch",
            f"it left out changes, {self._n_lost} times so far, and all was read"
            f" anew; the last time {difference}",
        )

    def store_is_silent(self, reason: str) -> None:
        """Take down that the datastore does not answer."""
        self._degraded = f"datastore: {reason}"
        self.journal.error("datastore", f"{reason}; policy stays as it is")

    def store_answers(self) -> None:
        """Take down that the datastore answers."""
        self._routing_due = time.monotonic() + ROUTING_PATIENCE_S
        if self._degraded:
            self._degraded = ""
            self.journal.info("datastore", "the datastore answers again")

    def _publish(self) -> None:
        report = Report(self._in_force, self.problems())
        self._publisher.publish(report, self._n_hosts)

    def _publish_if_enforcing(self) -> None:
        if self._is_enforcing:
            self._publish()

    def _counters(self) -> bytes:
        try:
            return encode_counters(self._sources.counters())
        except CalicoError as error:
            return encode_error(str(error))
