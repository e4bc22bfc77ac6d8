"""The leader of etcd is killed again and again: what is lost, and how long it takes.

Three members with TLS. Four writers, each a process, count up one register
together, by compare-and-set, and each a register of its own in the same
transaction; one more changes a rule, in turn of two. There watch: two bare
watches, the feed that an agent reads, and a real agent with an endpoint, whose
kernel says when a rule is in. Every ten seconds the leader is killed
(SIGKILL) and started again three seconds later.

The register goes up by one with every acknowledged transaction, so a watch that
sees 1, 2, 3, ... to the end has lost nothing, seen nothing twice and nothing
out of order. It takes about 50 seconds, with --long two minutes more, and needs
root.

    python bench/bench_leader.py [--long] [--seconds=N]
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from threading import Thread

from bench_agent import percentile, port_rule, report
from bench_cluster import endpoint, put_endpoint
from cluster import (
    Site,
    agent,
    await_revision,
    environment,
    events_in,
    fill,
    lacks,
    site,
)

from calico.codec.keys import CONFIG_PREFIX, POLICY_PREFIXES
from calico.linux.nft_events import Committed
from calico.model.errors import Compacted, Conflict, OutcomeUnknown, Unavailable
from calico.model.names import ProfileId, TagName
from calico.model.rule import Action, ProfileRules, Rule
from calico.model.snapshot import ProfileRulesKey, ProfileTagsKey, SettingKey
from calico.settings import Settings
from calico.store.api import Note, Operation, Put, Scope, Store, Transaction, View
from calico.store.feed import Changes, Everything, PolicyFeed
from calico.store.open import open_store
from calico.store.resources import put_resource

N_WRITERS = 4
KILL_EVERY_S = 10.0
DOWN_S = 3.0
SHORT_S, LONG_S = 32.0, 122.0
COMMON = f"{CONFIG_PREFIX}BenchCommon"
OWN = f"{CONFIG_PREFIX}BenchOwn"
SET = "BenchCommon"
RULED = ProfileId("RULED")
NOTE = Note("bench", "bench", "bench_leader")
TARGET_S = 4.0
PAUSE_S = 0.02
GIVE_UP_S = 30


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--long", action="store_true")
    words.add_argument("--seconds", type=float)
    given = words.parse_args()
    if why := lacks():
        print(f"bench_leader: {why}, left out")
        return 0
    seconds = given.seconds or (LONG_S if given.long else SHORT_S)
    multiprocessing.set_start_method("spawn")
    with site(1, 3, tls=True) as made:
        return run_all(made, seconds)


@dataclass
class Written:
    """What one writer did.

    Attributes:
        acknowledged: The value of each acknowledged write of its own register.
        n_unknown: Writes whose outcome was not known.
        n_failed: Writes that were refused or not made.
        spans_s: How long each took, from its begin until it was acknowledged,
            with all that failed in between.
    """

    acknowledged: list[int] = field(default_factory=list[int])
    n_unknown: int = 0
    n_failed: int = 0
    spans_s: list[float] = field(default_factory=list[float])


def run_all(made: Site, seconds: float) -> int:
    host = made.hosts[0]
    store = made.open_store()
    fill(
        store,
        [
            put_resource(ProfileTagsKey(RULED), (TagName(RULED),)),
            put_rules(0),
            put_endpoint(endpoint(host, 0, RULED)),
            *(Put(f"{OWN}{n}", b"0") for n in range(N_WRITERS)),
            Put(COMMON, b"0"),
        ],
    )
    values = environment(made.directory, "bench", made.etcd)
    with agent(made, host) as settings:
        await_revision(settings, store.last_change(POLICY_PREFIXES))
        stop = multiprocessing.Event()
        watchers = [start(follow_watch, values), start(follow_watch, values)]
        watchers.append(start(follow_feed, values))
        for each in watchers:
            each.receive()
        writers = [start(write, values, number, stop) for number in range(N_WRITERS)]
        changes = Changing(values, host)
        changes.start()
        kills = kill_leaders(made, seconds)
        stop.set()
        told: list[Written] = [each.receive() for each in writers]
        changes.finish()
        last = final_values(store)
        for each in watchers:
            each.send(last[COMMON])
        seen: list[list[int]] = [each.receive() for each in watchers]
    return judge(kills, told, changes, last, seen)


# What is killed.


@dataclass(frozen=True)
class Kill:
    """A leader that was killed, and the one that came after it."""

    before: str
    after: str
    gap_s: float


def kill_leaders(made: Site, seconds: float) -> list[Kill]:
    kills: list[Kill] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() + DOWN_S < deadline:
        begun = time.monotonic()
        victim = made.etcd.leader()
        victim.kill()
        next_leader = made.etcd.leader()
        kills.append(Kill(victim.name, next_leader.name, time.monotonic() - begun))
        time.sleep(max(0.0, begun + DOWN_S - time.monotonic()))
        victim.start()
        made.etcd.await_ready()
        time.sleep(max(0.0, begun + KILL_EVERY_S - time.monotonic()))
    return kills


# Processes that write and watch.


@dataclass(frozen=True)
class Child:
    """A process of ours and our end of its pipe."""

    process: "multiprocessing.process.BaseProcess"
    pipe: "Connection"

    def receive(self):  # noqa: ANN201 -- whatever that process sends
        if not self.pipe.poll(120):
            raise SystemExit(f"{self.process.name} says nothing")
        return self.pipe.recv()

    def send(self, value: object) -> None:
        self.pipe.send(value)


def start(work, *arguments) -> Child:  # noqa: ANN001, ANN002 -- any work
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(
        target=work, args=(theirs, *arguments), daemon=True
    )
    process.start()
    return Child(process, ours)


def opened(values: Mapping[str, str]) -> Store:
    """Open the store, again and again."""
    deadline = time.monotonic() + GIVE_UP_S
    while True:
        try:
            return open_store(Settings.from_environment(values))
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_S)


def write(
    pipe: Connection, values: Mapping[str, str], number: int, stop: Event
) -> None:
    """Count up until told to stop, as fast as it goes."""
    store, done = opened(values), Written()
    key = f"{OWN}{number}"
    wanted = 1
    while not stop.is_set():
        begun = time.perf_counter()
        while not count_up(store, key, wanted, done) and not stop.is_set():
            pass
        # One that is not over at the end has taken so long at least.
        done.spans_s.append(time.perf_counter() - begun)
        if not stop.is_set():
            done.acknowledged.append(wanted)
        wanted += 1
    store.close()
    pipe.send(done)


def count_up(store: Store, key: str, wanted: int, done: Written) -> bool:
    """Try once to bring a register to a value; what is there already counts."""

    def decide(view: View) -> tuple[Transaction | None, None]:
        own, common = number_in(view, key), number_in(view, COMMON)
        if own >= wanted:
            return None, None
        changes = (Put(key, b"%d" % wanted), Put(COMMON, b"%d" % (common + 1)))
        return Transaction((), changes, NOTE), None

    try:
        store.update(Scope(keys=(key, COMMON)), decide)
    except OutcomeUnknown:
        done.n_unknown += 1
    except (Conflict, Unavailable):
        done.n_failed += 1
    else:
        return True
    return False


def number_in(view: View, key: str) -> int:
    found = view.get(key)
    return 0 if found is None else int(found.value)


def follow_watch(pipe: Connection, values: Mapping[str, str]) -> None:
    """Note what a bare watch shows of the common register, to its end."""
    store = opened(values)
    watch = store.watch(CONFIG_PREFIX, store.list_prefix(CONFIG_PREFIX).revision)
    pipe.send("follows")
    seen: list[int] = []
    while not is_over(pipe, seen):
        try:
            batches = watch.read(0.5)
        except Unavailable:
            time.sleep(PAUSE_S)
            continue
        except Compacted:
            break
        for batch in batches:
            seen.extend(
                int(change.value)
                for change in batch.changes
                if change.key == COMMON and change.value is not None
            )
    pipe.send(seen)


def follow_feed(pipe: Connection, values: Mapping[str, str]) -> None:
    """Note what an agent's feed shows of the common register, to its end."""
    seen: list[int] = []
    thread = Thread(target=feed_into, args=(seen, pipe, values), daemon=True)
    thread.start()
    while not is_over(pipe, seen):
        time.sleep(PAUSE_S)
    pipe.send(seen)


def feed_into(seen: list[int], pipe: Connection, values: Mapping[str, str]) -> None:
    for event in PolicyFeed(lambda: opened(values)).events():
        if isinstance(event, Everything):
            pipe.send("follows")
        elif isinstance(event, Changes):
            seen.extend(
                int(value)
                for key, value in event.items
                if isinstance(key, SettingKey)
                and key.name == SET
                and isinstance(value, str)
            )


_LAST: list[int] = []


def is_over(pipe: Connection, seen: list[int]) -> bool:
    """Say whether the last value is known and seen, or does not come."""
    if not _LAST and pipe.poll(0):
        _LAST.extend((pipe.recv(), int(time.monotonic())))
    if not _LAST:
        return False
    last, since = _LAST
    return bool(seen and seen[-1] == last) or time.monotonic() - since > GIVE_UP_S


# The real agent.


class Changing:
    """Changes a rule until its kernel has it, again and again; in a thread.

    Attributes:
        spans_s: How long each took.
        n_missed: Changes of which the kernel said nothing.
        n_extra: Commits that no change asked for.
    """

    def __init__(self, values: Mapping[str, str], host: str) -> None:
        self.spans_s: list[float] = []
        self.n_missed = 0
        self.n_extra = 0
        self._values = values
        self._events = events_in(host)
        self._is_over = False
        self._thread = Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        self._is_over = True
        self._thread.join()

    def _run(self) -> None:
        store = opened(self._values)
        number = 0
        while not self._is_over:
            number += 1
            self.n_extra += self._n_commits(0)
            begun = time.perf_counter()
            put_until_there(store, put_rules(number))
            n_commits = 0
            while not n_commits and time.perf_counter() - begun < GIVE_UP_S:
                n_commits = self._n_commits(0.5)
            self.spans_s.append(time.perf_counter() - begun)
            self.n_missed += n_commits == 0
            self.n_extra += max(0, n_commits - 1)
            time.sleep(PAUSE_S)
        store.close()

    def _n_commits(self, patience_s: float) -> int:
        seen = self._events.read(patience_s)
        return sum(isinstance(each, Committed) and each.is_ours for each in seen)


def put_until_there(store: Store, operation: Operation) -> None:
    """Write until it is acknowledged; the same again does no harm."""
    while True:
        try:
            store.commit(Transaction((), (operation,), NOTE))
        except (OutcomeUnknown, Unavailable, Conflict):
            time.sleep(PAUSE_S)
        else:
            return


def put_rules(number: int) -> Operation:
    rules = ProfileRules((port_rule(1000 + number % 2),), (Rule(Action.ALLOW),))
    return put_resource(ProfileRulesKey(RULED), rules)


# The judgement.


def final_values(store: Store) -> dict[str, int]:
    listed = store.list_prefix(CONFIG_PREFIX).items
    return {
        each.key: int(each.value)
        for each in listed
        if each.key == COMMON or each.key.startswith(OWN)
    }


def judge(
    kills: list[Kill],
    told: list[Written],
    changes: Changing,
    last: dict[str, int],
    seen: list[list[int]],
) -> int:
    changed = [each for each in kills if each.before != each.after]
    gaps = [each.gap_s for each in kills]
    report(
        "leaders killed", f"{len(kills)}; {len(changed)} times another one took over"
    )
    if gaps:
        report("  another leader after", f"{shown(gaps)}")
    n_writes = sum(len(each.acknowledged) for each in told)
    n_unknown = sum(each.n_unknown for each in told)
    n_failed = sum(each.n_failed for each in told)
    report(
        "writes by compare-and-set",
        f"{n_writes} acknowledged, {n_unknown} unknown, {n_failed} refused or not made",
    )
    spans = [span for each in told for span in each.spans_s]
    report("  each acknowledged after", f"{shown(spans)} (to reach: {TARGET_S:.0f})")
    lost = [
        n for n, each in enumerate(told) if last[f"{OWN}{n}"] < n_acknowledged(each)
    ]
    twice = last[COMMON] - sum(last[f"{OWN}{n}"] for n in range(N_WRITERS))
    report("  lost or applied twice", f"{len(lost)} of {N_WRITERS} writers, {twice}")
    wanted = list(range(1, last[COMMON] + 1))
    is_good = not lost and twice == 0
    for name, values in zip(("watch", "watch", "feed"), seen, strict=True):
        missing, double, turned = compare(wanted, values)
        is_good = is_good and not (missing or double or turned)
        report(
            f"{name}: of {len(wanted)} events",
            f"{missing} missing, {double} twice, {turned} out of order",
        )
    report(
        "rule changes in the agent's kernel",
        f"{len(changes.spans_s)}, {changes.n_missed} missed, {changes.n_extra} extra",
    )
    report("  in force after", f"{shown(changes.spans_s)} (to reach: {TARGET_S:.0f})")
    is_good = is_good and changes.n_missed == 0
    print("nothing lost, nothing twice" if is_good else "FAULT: see above", flush=True)
    return 0 if is_good else 1


def n_acknowledged(written: Written) -> int:
    return written.acknowledged[-1] if written.acknowledged else 0


def compare(wanted: list[int], seen: list[int]) -> tuple[int, int, int]:
    """Count what is missing, what is there twice, and where order is broken."""
    missing = len(set(wanted) - set(seen))
    double = len(seen) - len(set(seen))
    turned = sum(a > b for a, b in pairwise(seen))
    return missing, double, turned


def shown(spans: list[float]) -> str:
    if not spans:
        return "none"
    return (
        f"median {statistics.median(spans):.3f} s, 99 % {percentile(spans, 99):.3f} s,"
        f" worst {max(spans):.2f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
