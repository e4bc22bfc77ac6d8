"""200 agents on one etcd: what a change costs it, and what a restart does to it.

Each agent is what an agent is down to the kernel: its own connection and watch
(the feed of the product), everything decoded, and the compiler of its host;
several share a process so that a machine bears them. They start together;
then endpoints appear one by one; then hosts write their status; then etcd is
killed and started again; then all agents have to list everything anew, because
etcd was compacted while they were stopped. All the while somebody asks etcd for
a key: its longest answer says what others suffer. It takes about 90 seconds
and needs root.

    python bench/bench_fanout.py [--agents=N] [--endpoints=N] [--changes=N]
"""

import argparse
import multiprocessing
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Self

from bench_agent import (
    N_PROFILES,
    commit,
    percentile,
    profile_rules,
    remote_endpoint,
    report,
)
from bench_cluster import put_endpoint
from bench_leader import Child, start
from cluster import (
    PATIENCE_S,
    Cost,
    Member,
    Site,
    environment,
    fill,
    lacks,
    site,
    until,
)

from calico.codec.keys import READY_KEY
from calico.compiler.incremental import HostCompiler
from calico.model.endpoint import WorkloadEndpoint
from calico.model.errors import CalicoError
from calico.model.names import HostName, ProfileId, Revision, TagName
from calico.model.snapshot import ProfileRulesKey, ProfileTagsKey
from calico.settings import Settings
from calico.store.api import Operation, Store
from calico.store.feed import Changes, Everything, PolicyFeed, StoreAnswers
from calico.store.host_status import HostStatus, HostStatusWriter
from calico.store.open import open_store
from calico.store.resources import put_resource

N_PROCESSES = 4
N_STATUSES = 300
BETWEEN_CHANGES_S = 0.4
ASK_EVERY_S = 0.02
DOWN_S = 1.0
IDLE_S = 4.0
MIB = 1 << 20
TARGETS = "(to reach: spread 5 s or more, answers 0.2 s)"


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--agents", type=int, default=200)
    words.add_argument("--endpoints", type=int, default=2500)
    words.add_argument("--changes", type=int, default=40)
    given = words.parse_args()
    if why := lacks():
        print(f"bench_fanout: {why}, left out")
        return 0
    multiprocessing.set_start_method("spawn")
    with site(1) as made:
        run_all(made, given.agents, given.endpoints, given.changes)
    return 0


# The agents.


@dataclass
class Taken:
    """What the agents of one process have taken since the last time.

    Attributes:
        changed: Agent, revision and time of each change it has compiled.
        listed: Agent and time of each complete listing that is compiled.
        answered: Agent and time of each answer after a silence.
        cpu_s: What the process has used in all.
        rss_mib: What it holds.
    """

    changed: list[tuple[int, int, float]] = field(
        default_factory=list[tuple[int, int, float]]
    )
    listed: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    answered: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    cpu_s: float = 0.0
    rss_mib: float = 0.0


class Agents:
    """Some agents in this process, each a thread."""

    def __init__(self, values: Mapping[str, str], numbers: range) -> None:
        self._values = values
        self._numbers = numbers
        self._lock = Lock()
        self._taken = Taken()

    def start(self) -> None:
        for number in self._numbers:
            Thread(target=self._run, args=(number,), daemon=True).start()

    def take(self) -> Taken:
        with self._lock:
            taken, self._taken = self._taken, Taken()
        return replace(taken, cpu_s=time.process_time(), rss_mib=rss_mib())

    def _run(self, number: int) -> None:
        settings = Settings.from_environment(self._values)
        compiler = HostCompiler(HostName(f"host{number}"))
        for event in PolicyFeed(lambda: open_store(settings)).events():
            if isinstance(event, Everything | Changes):
                for key, value in event.items:
                    compiler.set_resource(key, value, event.revision)
                compiler.turn()
            now = time.monotonic()
            with self._lock:
                if isinstance(event, Changes):
                    self._taken.changed.append((number, event.revision, now))
                elif isinstance(event, Everything):
                    self._taken.listed.append((number, now))
                elif isinstance(event, StoreAnswers):
                    self._taken.answered.append((number, now))


def be_agents(pipe: Connection, values: Mapping[str, str], numbers: range) -> None:
    """Be some agents until killed; tell what they took when asked."""
    agents = Agents(values, numbers)
    pipe.send(rss_mib())
    pipe.recv()
    agents.start()
    while True:
        pipe.recv()
        pipe.send(agents.take())


def rss_mib(pid: int | str = "self") -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


@dataclass
class Fleet:
    """All agents."""

    children: list[Child]
    n_agents: int

    def tell(self, word: str) -> None:
        for each in self.children:
            each.send(word)

    def take(self) -> list[Taken]:
        self.tell("take")
        return [each.receive() for each in self.children]

    def kill(self, number: int) -> None:
        for each in self.children:
            if each.process.pid is not None:
                os.kill(each.process.pid, number)

    def collect(self, pick: Callable[[Taken], list[tuple[int, float]]]) -> list[float]:
        """Wait until every agent has a time to tell, and return the first of each."""
        times: dict[int, float] = {}

        def is_complete() -> bool:
            for taken in self.take():
                for number, at in pick(taken):
                    times.setdefault(number, at)
            return len(times) == self.n_agents

        until(is_complete, f"all {self.n_agents} agents follow")
        return list(times.values())


# Who asks meanwhile.


class Asker:
    """Asks etcd for a key again and again, and notes how long it takes."""

    def __init__(self, made: Site) -> None:
        self._settings = made.etcd.settings(made.directory)
        self._is_open = Event()
        self._is_over = Event()
        self.answers: list[tuple[float, float]] = []
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_open.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        store = open_store(self._settings)
        self._is_open.set()
        while not self._is_over.wait(ASK_EVERY_S):
            begun = time.monotonic()
            try:
                store.get(READY_KEY)
            except CalicoError:
                continue
            self.answers.append((begun, time.monotonic() - begun))
        store.close()

    def longest_s(self, since: float = 0.0) -> float:
        return max((took for begun, took in self.answers if begun >= since), default=0)


# What is measured.


def run_all(made: Site, n_agents: int, n_endpoints: int, n_changes: int) -> None:
    store = made.open_store()
    fill(store, load(n_agents, n_endpoints))
    values = environment(made.directory, "bench", made.etcd)
    shares = [range(n, n_agents, N_PROCESSES) for n in range(N_PROCESSES)]
    fleet = Fleet([start(be_agents, values, share) for share in shares], n_agents)
    empty_mib = sum(each.receive() for each in fleet.children)
    try:
        start_together(made, fleet, empty_mib)
        follow_changes(made, fleet, n_changes, n_endpoints)
        write_statuses(made, store)
        restart_etcd(made, fleet)
        list_anew(made, fleet, n_changes + n_endpoints)
    finally:
        fleet.kill(signal.SIGKILL)


def start_together(made: Site, fleet: Fleet, empty_mib: float) -> None:
    (member,) = made.etcd.members
    before, etcd_mib = member.cost(), rss_mib(member.pid)
    with Asker(made) as asker:
        begun = time.monotonic()
        fleet.tell("start")
        times = fleet.collect(lambda taken: taken.listed)
    cost = member.cost().since(before)
    n = fleet.n_agents
    report(f"{n} agents start together", f"last one after {max(times) - begun:.1f} s")
    report(
        "  costs etcd for each",
        f"{cost.cpu_s / n * 1e3:.1f} ms of a CPU, {cost.sent / n / MIB:.2f} MiB",
    )
    report("  its longest answer to others", f"{asker.longest_s():.3f} s")
    used = sum(each.rss_mib for each in fleet.take()) - empty_mib
    grown = (rss_mib(member.pid) - etcd_mib) / n
    report("  etcd's memory for each", f"{grown:.2f} MiB, what it sent included")
    report(
        "memory of each agent", f"{used / n:.1f} MiB, without interpreter and modules"
    )


def follow_changes(made: Site, fleet: Fleet, n_changes: int, first: int) -> None:
    (member,) = made.etcd.members
    store = made.open_store()
    written: dict[int, float] = {}
    with Asker(made) as asker:
        idle = idle_cpu(member)
        before, own_before = member.cost(), fleet.take()
        begun_all = time.monotonic()
        for number in range(n_changes):
            begun = time.monotonic()
            written[put(store, first + number, fleet.n_agents)] = begun
            time.sleep(BETWEEN_CHANGES_S)
        changed = [(0, 0, 0.0)][:0]
        seen: list[Taken] = []

        def have_all() -> bool:
            seen[:] = fleet.take()
            changed.extend(each for taken in seen for each in taken.changed)
            last = max(written)
            return sum(revision >= last for _, revision, _ in changed) >= fleet.n_agents

        until(have_all, "all agents have the last change")
        cost = member.cost().since(before)
        # What it spends on the one who asks, and on itself, is not the changes'.
        spent_s = cost.cpu_s - idle * (time.monotonic() - begun_all)
        cost = replace(cost, cpu_s=max(0.0, spent_s))
    report_changes(fleet, n_changes, cost, written, changed)
    used = sum(each.cpu_s for each in seen) - sum(each.cpu_s for each in own_before)
    each_ms = used / n_changes / fleet.n_agents * 1e3
    report("  costs each agent", f"{each_ms:.3f} ms of a CPU")
    report("  etcd's longest answer to others", f"{asker.longest_s():.3f} s")


def idle_cpu(member: Member) -> float:
    """Return what share of a CPU etcd uses while nothing changes."""
    before, begun = member.cost(), time.monotonic()
    time.sleep(IDLE_S)
    return member.cost().since(before).cpu_s / (time.monotonic() - begun)


def report_changes(
    fleet: Fleet,
    n_changes: int,
    cost: Cost,
    written: dict[int, float],
    changed: list[tuple[int, int, float]],
) -> None:
    delays: dict[int, list[float]] = {}
    for _, revision, at in changed:
        if revision in written:
            delays.setdefault(revision, []).append(at - written[revision])
    median = [statistics.median(each) for each in delays.values()]
    last = [max(each) for each in delays.values()]
    n = fleet.n_agents
    sent = cost.sent / n_changes
    report(
        f"a change costs etcd, {n} watching",
        f"{cost.cpu_s / n_changes * 1e3:.2f} ms of a CPU, {sent / 1024:.1f} KiB sent",
    )
    report("  of that for each agent", f"{sent / n:.0f} B")
    report(
        "  compiled by the median agent after",
        f"median {statistics.median(median) * 1e3:.1f} ms",
    )
    report(
        "  by the last one after",
        f"median {statistics.median(last) * 1e3:.1f} ms,"
        f" 99 % {percentile(last, 99) * 1e3:.1f} ms",
    )


def write_statuses(made: Site, store: Store) -> None:
    """Let hosts write their status, as after each change and every 30 s."""
    (member,) = made.etcd.members
    writers = [HostStatusWriter(store, HostName(f"host{n}")) for n in range(N_STATUSES)]
    for number, writer in enumerate(writers):
        writer.write(status(number))
    before, begun = member.cost(), time.monotonic()
    for number, writer in enumerate(writers):
        writer.write(status(N_STATUSES + number))
    took, cost = time.monotonic() - begun, member.cost().since(before)
    report(
        "a status costs etcd",
        f"{cost.cpu_s / N_STATUSES * 1e3:.2f} ms of a CPU,"
        f" {cost.stored / N_STATUSES / 1024:.2f} KiB kept until compaction",
    )
    report("  one client writes", f"{N_STATUSES / took:.0f} a second")


def restart_etcd(made: Site, fleet: Fleet) -> None:
    (member,) = made.etcd.members
    fleet.take()
    with Asker(made) as asker:
        back = restart(member)
        times = fleet.collect(lambda taken: taken.answered)
    report(
        f"etcd restarted: {fleet.n_agents} agents follow again",
        f"{spread(times, back)} {TARGETS}",
    )
    report("  its longest answer meanwhile", f"{asker.longest_s(back):.3f} s")


def list_anew(made: Site, fleet: Fleet, number: int) -> None:
    """Compact etcd while the agents are stopped, and let all list anew."""
    (member,) = made.etcd.members
    store = made.open_store()
    fleet.take()
    fleet.kill(signal.SIGSTOP)
    member.kill()
    time.sleep(DOWN_S)
    member.start()
    made.etcd.await_ready()
    store = made.open_store()
    # Several: a watch may go on at the very revision that is compacted to.
    last = max(put(store, number + more, fleet.n_agents) for more in range(3))
    store.compact(Revision(last))
    before = member.cost()
    with Asker(made) as asker:
        back = time.monotonic()
        fleet.kill(signal.SIGCONT)
        times = fleet.collect(lambda taken: taken.listed)
    cost = member.cost().since(before)
    report(
        f"compacted: {fleet.n_agents} agents list anew",
        f"{spread(times, back)} {TARGETS}",
    )
    report("  its longest answer meanwhile", f"{asker.longest_s(back):.3f} s")
    n = fleet.n_agents
    report(
        "  costs etcd for each",
        f"{cost.cpu_s / n * 1e3:.1f} ms of a CPU, {cost.sent / n / MIB:.2f} MiB",
    )


def restart(member: Member) -> float:
    """Kill etcd, start it again after a while, and return when it answers."""
    member.kill()
    time.sleep(DOWN_S)
    member.start()
    until(member.has_leader, "etcd answers again")
    return time.monotonic()


def spread(times: list[float], begun: float) -> str:
    first, last = min(times) - begun, max(times) - begun
    return f"first {first:.2f} s, last {last:.2f} s, spread {last - first:.2f} s"


# The load.


def load(n_agents: int, n_endpoints: int) -> list[Operation]:
    made: list[Operation] = []
    for number in range(N_PROFILES):
        profile = ProfileId(f"PROFILE{number}")
        made.append(put_resource(ProfileTagsKey(profile), (TagName(profile),)))
        made.append(put_resource(ProfileRulesKey(profile), profile_rules(number)))
    made += [put_endpoint(member_of(number, n_agents)) for number in range(n_endpoints)]
    return made


def member_of(number: int, n_agents: int) -> WorkloadEndpoint:
    made = remote_endpoint(
        (1 << 16) + number, ProfileId(f"PROFILE{number % N_PROFILES}")
    )
    return replace(
        made, key=replace(made.key, host=HostName(f"host{number % n_agents}"))
    )


def put(store: Store, number: int, n_agents: int) -> int:
    """Let an endpoint appear, and return the revision."""
    made = member_of(number, n_agents)
    return commit(store, [put_endpoint(made)])


def status(number: int) -> HostStatus:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return HostStatus(now, number, is_first_update=False, revision=Revision(number))


if __name__ == "__main__":
    sys.exit(main())
