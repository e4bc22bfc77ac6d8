"""Two hosts on one etcd: how long a change takes to be in force on the other.

1,000 endpoints, half of them on each of two hosts with real agents (veth pairs,
the other ends in one namespace), 100 profiles of 10 rules, one tag that every
profile names and every tenth endpoint carries. A change is made on the first
host, by the store in this process or by `calicoctl`, and timed from before it
is begun until the second host's kernel says that the commit has been made.
Beside it: the same put until a bare watch on etcd has it, which no agent can
beat. Then what a change costs an agent that it does not concern. It takes about
a minute and needs root.

    python bench/bench_cluster.py [--endpoints=N] [--rounds=N]
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from bench_agent import (
    BIG,
    BIG_TAG,
    CHANGING,
    N_PROFILES,
    add_rule,
    commit,
    local_endpoint,
    namespace,
    percentile,
    profile_rules,
    remote_endpoint,
    report,
    run,
)
from bench_growth import cpu_time
from cluster import (
    Site,
    agent,
    await_commit,
    await_revision,
    count_commits,
    environment,
    events_in,
    fill,
    lacks,
    site,
)

from calico.codec.keys import CONFIG_PREFIX, POLICY_PREFIXES
from calico.control.client import ask_status
from calico.linux.nft_events import NftEvents
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import HostName, ProfileId, TagName
from calico.model.rule import ProfileRules
from calico.model.snapshot import ProfileRulesKey, ProfileTagsKey
from calico.settings import Settings
from calico.store.api import Operation, Put, Store
from calico.store.open import open_store
from calico.store.resources import put_resource

INSIDE = "ctclusterinside"
FOREIGN = ProfileId("FOREIGN")
EVERY_TENTH = 10
TARGET = "(to reach: 25, 80)"
CALICOCTL = Path(__file__).resolve().parent.parent / "calicoctl"


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--endpoints", type=int, default=1000)
    words.add_argument("--rounds", type=int, default=150)
    given = words.parse_args()
    if why := lacks():
        print(f"bench_cluster: {why}, left out")
        return 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(namespace(INSIDE))
        made = stack.enter_context(site(2))
        run_all(made, given.endpoints, given.rounds)
    return 0


@dataclass(frozen=True)
class Stage:
    """What is measured on.

    Attributes:
        made: The hosts and etcd.
        store: The store of the first host.
        other: Where the agent of the second host is.
        events: What the kernel of the second host says.
        n_endpoints: On both hosts together.
        n_rounds: How often each change is made.
    """

    made: Site
    store: Store
    other: Settings
    events: NftEvents
    n_endpoints: int
    n_rounds: int


def run_all(made: Site, n_endpoints: int, n_rounds: int) -> None:
    store = made.open_store()
    for host in made.hosts:
        make_links(host, n_endpoints)
    fill(store, load(made.hosts, n_endpoints))
    with agent(made, made.hosts[0]) as own, agent(made, made.hosts[1]) as other:
        revision = store.last_change(POLICY_PREFIXES)
        for settings in (own, other):
            await_revision(settings, revision)
        events = events_in(made.hosts[1])
        stage = Stage(made, store, other, events, n_endpoints, n_rounds)
        floor = bare_watch(stage)
        report("etcd: put, on a bare watch after", shown(floor))
        by_store(stage, statistics.median(floor))
        by_command(stage)
        elsewhere(stage)
        events.close()


def by_store(stage: Stage, floor_s: float) -> None:
    changes: dict[str, Callable[[int], Operation]] = {
        "rule add": add_rule,
        "endpoint add on the first host": lambda n: put_endpoint(
            endpoint(stage.made.hosts[0], stage.n_endpoints + n, BIG)
        ),
    }
    for what, change in changes.items():
        times: list[float] = []
        for number in range(stage.n_rounds):
            count_commits(stage.events)
            started = time.perf_counter()
            commit(stage.store, [change(number)])
            times.append(await_commit(stage.events) - started)
        report(f"{what}: enforced on the other", f"{shown(times)} {TARGET}")
        ratio = statistics.median(times) / floor_s
        report("  beside: put and bare watch", f"x{ratio:.2f}")


def by_command(stage: Stage) -> None:
    values = environment(stage.made.directory, stage.made.hosts[0], stage.made.etcd)
    times: list[float] = []
    alone: list[float] = []
    for number in range(max(10, stage.n_rounds // 5)):
        count_commits(stage.events)
        words = ("rule", "add", "inbound", "allow", "tcp", "to", "ports")
        argv = [str(CALICOCTL), "profile", CHANGING, *words, str(50_000 + number)]
        started = time.perf_counter()
        subprocess.run(argv, env=values, check=True, capture_output=True)
        alone.append(time.perf_counter() - started)
        times.append(await_commit(stage.events) - started)
    report("calicoctl rule add: on the other", f"{shown(times)}, process included")
    report("  the command alone", shown(alone))


def bare_watch(stage: Stage) -> list[float]:
    """Time a put until a watch in another thread has it, and nothing else."""
    arrived: SimpleQueue[float] = SimpleQueue()

    def follow() -> None:
        store = open_store(stage.made.etcd.settings(stage.made.directory))
        watch = store.watch(CONFIG_PREFIX, store.list_prefix(CONFIG_PREFIX).revision)
        arrived.put(0.0)
        for _ in range(stage.n_rounds):
            while not watch.read(None):
                pass
            arrived.put(time.perf_counter())
        watch.close()
        store.close()

    thread = Thread(target=follow)
    thread.start()
    arrived.get()
    times: list[float] = []
    for number in range(stage.n_rounds):
        started = time.perf_counter()
        commit(stage.store, [Put(f"{CONFIG_PREFIX}Bench", str(number).encode())])
        times.append(arrived.get() - started)
    thread.join()
    return times


def elsewhere(stage: Stage) -> None:
    """Show what a change costs an agent that it does not concern."""
    fill(
        stage.store,
        [
            put_resource(ProfileTagsKey(FOREIGN), (TagName(FOREIGN),)),
            put_resource(ProfileRulesKey(FOREIGN), ProfileRules()),
        ],
    )
    pid = ask_status(stage.other.run_dir).pid
    costs: dict[str, float] = {}
    n_rounds = stage.n_rounds * 4
    for what, profile in (("no rule here names it", FOREIGN), ("a rule does", BIG)):
        await_revision(stage.other, stage.store.last_change(POLICY_PREFIXES))
        count_commits(stage.events)
        before = cpu_time(pid)
        for number in range(n_rounds):
            added = remote_endpoint(250 << 16 | number, profile)
            commit(stage.store, [put_endpoint(added)])
        await_revision(stage.other, stage.store.last_change(POLICY_PREFIXES))
        costs[what] = (cpu_time(pid) - before) / n_rounds
        n_commits = count_commits(stage.events)
        report(
            f"endpoint elsewhere, {what}",
            f"{costs[what] * 1e3:.2f} ms of a CPU, {n_commits} commits of {n_rounds}",
        )
    none, some = costs.values()
    report("  the first costs of the second", f"x{none / some:.2f}")


def shown(times: Sequence[float]) -> str:
    median, last = statistics.median(times), percentile(times, 99)
    return f"median {median * 1e3:.2f} ms, 99 % {last * 1e3:.2f} ms"


# The load.


def load(hosts: Sequence[str], n_endpoints: int) -> list[Operation]:
    made: list[Operation] = [
        put_resource(ProfileTagsKey(BIG), (BIG_TAG,)),
        put_resource(ProfileRulesKey(BIG), ProfileRules()),
    ]
    for number in range(N_PROFILES):
        profile = ProfileId(f"PROFILE{number}")
        made.append(put_resource(ProfileTagsKey(profile), (TagName(profile),)))
        made.append(put_resource(ProfileRulesKey(profile), profile_rules(number)))
    for number in range(n_endpoints):
        profiles = [ProfileId(f"PROFILE{number // 2 % N_PROFILES}")]
        if number % EVERY_TENTH == 0:
            profiles.append(BIG)
        made.append(put_endpoint(endpoint(hosts[number % 2], number, *profiles)))
    return made


def endpoint(host: str, number: int, *profiles: ProfileId) -> WorkloadEndpoint:
    made = local_endpoint(number)
    key = replace(made.key, host=HostName(host))
    return replace(made, key=key, profile_ids=profiles)


def put_endpoint(made: WorkloadEndpoint) -> Put:
    return put_resource(made.key, made)


def make_links(host: str, number: int) -> None:
    lines = "".join(
        f"link add cali{n} type veth peer name {host}p{n} netns {INSIDE}\n"
        for n in range(number)
        if host.endswith(str(1 + n % 2))
    )
    run("ip", "-n", host, "-batch", "-", text=lines)


if __name__ == "__main__":
    sys.exit(main())
