"""The agent's loop: take what has happened, compile, commit, report.

Until the feed of the datastore is complete and says that it is ready, the
kernel keeps what it has: the catch-all drop, or what an agent before us left.
The first commit then is the difference between what the table holds and what
it should hold; every later one is what a turn of the compiler says.

Not here: the threads that feed the queue (`feeders`), how a change gets into
the kernel (`dataplane`), what is told to whom (`reporting`).
"""

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass
from queue import Empty
from typing import assert_never

from calico.agent.cutting import Cutting
from calico.agent.dataplane import Dataplane
from calico.agent.drop_names import DropNames
from calico.agent.events import (
    Asked,
    Dropped,
    Event,
    FeederDied,
    LinksLost,
    NameContested,
    Queue,
    Routed,
    RouterSaid,
    RoutingSilent,
    Stop,
    StoreChecked,
    StoreEvent,
    TableTouched,
    TunnelAddressed,
)
from calico.agent.journal import Journal
from calico.agent.overlay import OverlayPart
from calico.agent.reporting import Reporting
from calico.agent.router import Router
from calico.agent.suspects import (
    Suspects,
    addresses_of,
    find_suspects,
    is_coming_back,
    members_at_risk,
)
from calico.agent.uses import Uses
from calico.compiler.incremental import HostCompiler
from calico.ir.delta import Delta
from calico.ir.state import DesiredState, LocalEndpoint, PackedAddress
from calico.linux.host_links import LinkEvent
from calico.linux.workloads import Workloads
from calico.model.names import NO_REVISION, EndpointKey, HostName
from calico.model.network import HostSettings
from calico.model.snapshot import (
    ReadyKey,
    Resource,
    ResourceKey,
    SettingKey,
    Undecodable,
)
from calico.store.feed import Changes, Everything
from calico.store.following import EventsLost, StoreAnswers, StoreSilent

_MAX_TOGETHER = 10_000
_LOG_LEVEL = "LogSeverityScreen"
_HOST_MARKER = "marker"


@dataclass(frozen=True, slots=True)
class Hands:
    """What the loop acts with.

    Attributes:
        dataplane: Our table in the kernel.
        workloads: The interfaces of local endpoints.
        cutting: Ends established flows.
        router: Tells other hosts which addresses are here.
        overlay: The tunnels to other hosts.
    """

    dataplane: Dataplane
    workloads: Workloads
    cutting: Cutting
    router: Router
    overlay: OverlayPart


class Agent:
    """One host's agent; everything in here belongs to one thread.

    Args:
        host: Which host this is.
        hands: What it acts with.
        reporting: Answers and reports.
    """

    def __init__(self, host: HostName, hands: Hands, reporting: Reporting) -> None:
        self._host = host
        self._dataplane = hands.dataplane
        self._workloads = hands.workloads
        self._cutting = hands.cutting
        self._router = hands.router
        self._overlay = hands.overlay
        self._reporting = reporting
        self._journal: Journal = reporting.journal
        self._compiler = HostCompiler(host)
        self._log_levels: dict[HostName | None, str] = {}
        # Each host that has ever been started, and was not removed.
        self._hosts: set[HostName] = set()
        self._uses = Uses()
        self._seen = NO_REVISION
        self._is_complete = False
        self._is_ready = False
        self._is_routed = False
        self._is_enforcing = False
        self._is_changed = False
        self._cuts_established = True
        self._state: DesiredState | None = None
        self._drop_names = DropNames(self._state_now, self._local_endpoints)
        if not hands.dataplane.can_log:
            self._compiler.refuse_log()

    def run(self, events: Queue) -> None:
        """Work until asked to stop.

        Raises:
            KernelRejected: The kernel refuses even what should be harmless.
            FeederEnded: A thread that feeds us has ended.
        """
        while True:
            if not self._take_waiting(events):
                return
            self._turn()
            self._reporting.settle(time.monotonic())
            now = time.monotonic()
            self._overlay.retry(now)
            self._cutting.work(self._state_now, now, is_idle=events.empty())

    def _take_waiting(self, events: Queue) -> bool:
        try:
            event = events.get(timeout=self._patience())
        except Empty:
            return True
        for _ in range(_MAX_TOGETHER):
            if isinstance(event, Stop):
                return False
            self._take(event)
            try:
                event = events.get_nowait()
            except Empty:
                return True
        self._take(event)
        return not isinstance(event, Stop)

    def _patience(self) -> float | None:
        parts = (self._cutting, self._reporting, self._overlay)
        times = [each.next_due() for each in parts]
        due = min((each for each in times if each is not None), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def _take(self, event: Event) -> None:
        match event:
            case LinkEvent() | LinksLost():
                if self._is_enforcing:
                    self._take_link(event)
            case TableTouched():
                self._repair(event.by)
            case TunnelAddressed():
                self._overlay.take_addresses(event.found)
            case Dropped() | Asked() | RouterSaid() | NameContested():
                self._take_to_report(event)
            case FeederDied():
                raise FeederEnded(event.name) from event.error
            case Stop():
                pass
            case _:
                self._take_from_store(event)

    def _take_to_report(
        self, event: Dropped | Asked | RouterSaid | NameContested
    ) -> None:
        match event:
            case Dropped():
                self._reporting.drops.take(event, self._drop_names)
            case Asked():
                self._reporting.take(event)
            case RouterSaid():
                self._reporting.note_problem("BIRD", event.reason)
            case NameContested():
                self._reporting.note_problem("host name", event.reason)

    def _take_link(self, event: LinkEvent | LinksLost) -> None:
        if isinstance(event, LinkEvent):
            self._workloads.note_link(event)
            self._overlay.note_link(event)
        else:
            self._workloads.resync_links()
            self._overlay.note_link(None)

    def _take_from_store(self, event: StoreEvent) -> None:
        match event:
            case Everything():
                self._take_everything(event)
            case Changes():
                self._take_items(event)
            case EventsLost():
                self._reporting.note_lost_events(event.reason)
            case StoreSilent():
                self._reporting.store_is_silent(event.reason)
            case StoreAnswers():
                self._reporting.store_answers()
            case StoreChecked():
                self._reporting.note_problem("datastore", event.damage)
            case _:
                self._take_routing(event)

    def _take_routing(self, event: Routed | RoutingSilent) -> None:
        match event:
            case Routed():
                self._reporting.note_routing(event.state.problems)
                self._router.route(event.state)
                self._overlay.take_routing(event.state)
                self._compiler.set_routing(event.state)
                self._is_routed = self._is_changed = True
            case RoutingSilent():
                self._reporting.routing_is_silent(event.reason, time.monotonic())
            case _:
                assert_never(event)

    def _take_everything(self, event: Everything) -> None:
        if self._is_complete:
            present = {key for key, _ in event.items}
            for key in set(self._compiler.keys()) - present:
                self._set(key, None, event)
        self._take_items(event)
        self._is_complete = True
        self._reporting.store_answers()

    def _take_items(self, event: Everything | Changes) -> None:
        for key, value in event.items:
            self._set(key, value, event)
        self._seen = event.revision
        self._is_changed = True

    def _set(
        self, key: ResourceKey, value: Resource | None, event: Everything | Changes
    ) -> None:
        if isinstance(key, ReadyKey):
            self._is_ready = value is True
            problem = value.reason if isinstance(value, Undecodable) else None
            self._reporting.note_problem("/calico/v1/Ready", problem)
        elif isinstance(key, SettingKey) and key.name == _LOG_LEVEL:
            self._set_log_level(key, value)
        elif isinstance(key, SettingKey) and key.name == _HOST_MARKER:
            self._set_host(key, value)
        self._compiler.set_resource(key, value, event.revision)

    def _set_log_level(self, key: SettingKey, value: Resource | None) -> None:
        if isinstance(value, str):
            self._log_levels[key.host] = value
        else:
            self._log_levels.pop(key.host, None)
        levels = self._log_levels
        self._journal.set_level(levels.get(self._host, levels.get(None)))

    def _set_host(self, key: SettingKey, value: Resource | None) -> None:
        if key.host is not None and value is not None:
            self._hosts.add(key.host)
        elif key.host is not None:
            self._hosts.discard(key.host)

    def _turn(self) -> None:
        self._reporting.note_ready(is_ready=self._is_ready)
        if not (self._is_complete and self._is_ready and self._is_routed):
            return
        if self._is_changed:
            # A tunnel has its guard before it is there and until it has gone.
            self._overlay.close()
            self._settle_policy()
        self._overlay.reach()
        self._reporting.note_tunnels(self._overlay.problems)

    def _settle_policy(self) -> None:
        self._is_changed = False
        self._state = None
        delta = self._compiler.turn()
        problems = delta.problems
        if not self._is_enforcing:
            problems = self._commit_first()
        elif not delta.is_empty():
            problems = self._commit_change(delta)
        self._note_commit(problems)

    def _note_commit(self, problems: Mapping[str, str]) -> None:
        n_endpoints = len(self._uses.endpoints())
        self._drop_names.note_change()
        self._reporting.note_commit(
            self._seen, problems, n_endpoints, n_hosts=len(self._hosts)
        )

    def _commit_first(self) -> Mapping[str, str]:
        n_steps = self._dataplane.repair_or_refuse(self._compiler)
        self._is_enforcing = True
        state = self._state_now()
        self._uses = Uses.of(state)
        self._take_settings(state.settings)
        gone = self._workloads.resync(state)
        self._journal.info(
            "start",
            f"policy revision {self._seen} is in force for {len(state.endpoints)} "
            f"endpoints; it took {n_steps} steps",
        )
        _leave_the_past_alone()
        # Policy may have changed while nobody was here to cut flows, or an agent
        # before us may have ended between a change and its cuts.
        every = self._every_address()
        lost = frozenset(address.packed for address in gone) - every
        self._suspect(Suspects(every, lost))
        return state.problems

    def _commit_change(self, delta: Delta) -> Mapping[str, str]:
        problems = delta.problems
        again = Suspects()
        if is_coming_back(delta, self._cutting.pending().gone):
            # Its old flows go now: later it would be the new ones, between a
            # request and the reply. The others may begin anew until the change
            # is in the kernel.
            again = Suspects(self._cutting.pending().judged)
            self._cutting.finish(self._state_now, time.monotonic())
        is_taken = self._dataplane.apply(delta, self._uses, self._compiler)
        suspects = again | members_at_risk(delta, self._uses)
        if is_taken:
            self._uses.apply(delta)
        else:
            self._state = None
            state = self._state_now()
            self._uses = Uses.of(state)
            problems = state.problems
        self._workloads.apply(delta)
        if delta.settings is not None and delta.settings.after is not None:
            self._take_settings(delta.settings.after)
        self._suspect(suspects | find_suspects(delta, self._uses))
        return problems

    def _local_endpoints(self) -> Mapping[EndpointKey, LocalEndpoint]:
        return self._uses.endpoints()

    def _take_settings(self, settings: HostSettings) -> None:
        self._cuts_established = settings.cut_established
        self._reporting.drops.note_setting(is_on=settings.drop_log)

    def _repair(self, by: str) -> None:
        if not self._is_enforcing:
            if self._dataplane.is_fresh():
                self._dataplane.put_guard()
            return
        n_steps = self._dataplane.repair_or_refuse(self._compiler)
        # The next change may have run into it, and repaired it, before us.
        n_steps += self._dataplane.take_mended()
        self._state = None
        if n_steps:
            self._reporting.note_drift(by, n_steps)
            # What began while the table was not ours goes on as established.
            self._suspect(Suspects(self._every_address()))

    def _every_address(self) -> frozenset[PackedAddress]:
        endpoints = self._uses.endpoints().values()
        return frozenset(a for each in endpoints for a in addresses_of(each))

    def _suspect(self, suspects: Suspects) -> None:
        if not self._cuts_established:
            # The flows of addresses that are gone go all the same.
            suspects = Suspects(gone=suspects.gone)
        self._cutting.suspect(suspects, time.monotonic())

    def _state_now(self) -> DesiredState:
        """Return what all turns so far add up to, copied once for all who ask."""
        if self._state is None:
            self._state = self._compiler.state()
        return self._state


def _leave_the_past_alone() -> None:
    """Spare what is there now from the search for garbage, and begin it.

    It is values that live long and form no circles. With a hundred thousand
    of them one search takes a third of a second, and a change would wait.
    """
    gc.freeze()
    gc.enable()


class FeederEnded(Exception):  # noqa: N818 -- says what happened
    """A thread that may not end has ended; the process cannot go on."""
