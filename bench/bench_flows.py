"""Cutting flows: a large table as a whole, and one flow after a change.

The table: 100,000 TCP flows of 1,000 local endpoints (100 profiles of 9 rules)
with as many addresses outside, put into connection tracking of a namespace.
They are read, judged and deleted in this process, once with one flow in nine
denied and once with all of them. Beside it, `conntrack -L` lists the same table
and `conntrack -D` deletes the same flows by the source's address; neither can
judge.

One flow: a whole agent with two workloads. A TCP flow is open; one transaction
on the store denies it; the time runs from the kernel's event of the commit
until connection tracking's event says that the flow is gone, both as this
process sees them. Beside it, `conntrack -D` as a process of its own for one
flow. The same is measured with the large table present, and beside it how long
a change waits for the kernel while the agent walks that table.

    python bench/bench_flows.py [--flows=N] [--cuts=N]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from agent_host import Host, a_host, profile, rules
from flow_filling import insert_flows, tcp_flow
from flow_streams import Pair
from namespaces import in_new_netns

from calico.agent.cutter import FlowCutter
from calico.agent.suspects import Suspects
from calico.compiler.host import compile_host
from calico.control.cuts import CutFile, CutFlow
from calico.ir.state import DesiredState
from calico.linux.conntrack import Conntrack
from calico.linux.conntrack_wire import Flow, decode_flow
from calico.linux.host_links import RouteSocket
from calico.linux.namespace import call_inside, open_namespace
from calico.linux.netfilter import NetlinkSocket
from calico.linux.nft_events import Committed, NftEvents
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    ProfileId,
    WorkloadId,
)
from calico.model.snapshot import Snapshot
from calico.store.api import Operation
from calico.store.resources import put_resource

HOST = HostName("bench")
N_ENDPOINTS, N_PROFILES = 1000, 100
FIRST_ENDPOINT, FIRST_OUTSIDE = 0x0A410000, 0x0B000000
TABLE_S, CUT_S = 3.0, 0.2
PORT = 6000
PATIENCE_S = 30
DESTROYED_GROUP = 3  # NFNLGRP_CONNTRACK_DESTROY
TRACK = """table inet bench {
 chain c { type filter hook input priority 0; ct state new accept
 }
}
"""


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--flows", type=int, default=100_000)
    words.add_argument("--cuts", type=int, default=50)
    given = words.parse_args()
    if os.geteuid() != 0:
        print("bench_flows: needs root, left out")
        return 0
    for n_denied_ports in (1, 9):
        in_new_netns(partial(bench_table, given.flows, n_denied_ports))
    with tempfile.TemporaryDirectory(prefix="ctflowsbench") as directory:
        bench_cuts(Path(directory), given.cuts, 0)
    with tempfile.TemporaryDirectory(prefix="ctflowsbench") as directory:
        bench_cuts(Path(directory), given.cuts, given.flows)
    return 0


# A large table.


def flows(number: int) -> Iterator[Flow]:
    """Make flows from outside: nine ports of each endpoint, every source its own."""
    for n in range(number):
        endpoint = n % N_ENDPOINTS
        yield tcp_flow(
            IPv4Address(FIRST_OUTSIDE + n),
            IPv4Address(FIRST_ENDPOINT + endpoint),
            40_000 + n // N_ENDPOINTS % 10_000,
            first_port(endpoint) + n % 9,
        )


def first_port(endpoint: int) -> int:
    return 1000 + endpoint % N_PROFILES * 10


def state(n_denied_ports: int) -> DesiredState:
    """Compile a policy that denies the last ones of each endpoint's nine ports."""
    endpoints = (
        WorkloadEndpoint(
            EndpointKey(
                HOST, OrchestratorId("o"), WorkloadId(f"w{n}"), EndpointId("e")
            ),
            EndpointState.ACTIVE,
            InterfaceName(f"cali{n}"),
            None,
            (ProfileId(f"P{n % N_PROFILES}"),),
            (IPv4Address(FIRST_ENDPOINT + n),),
        )
        for n in range(N_ENDPOINTS)
    )
    profiles = {
        ProfileId(f"P{n}"): rules(
            [
                f"{'allow' if port < 9 - n_denied_ports else 'deny'} tcp"
                f" to ports {first_port(n) + port}"
                for port in range(9)
            ]
        )
        for n in range(N_PROFILES)
    }
    return compile_host(
        Snapshot(rules=profiles, endpoints={each.key: each for each in endpoints}), HOST
    )


def bench_table(n_flows: int, n_denied_ports: int) -> None:
    run("nft", "-f", "-", text=TRACK)
    run("ip", "link", "set", "lo", "up")
    insert_flows(flows(n_flows))
    listed = timed(lambda: run("conntrack", "-L"))
    desired = state(n_denied_ports)
    judged = frozenset(a for e in desired.endpoints.values() for a in e.addresses)
    conntrack = Conntrack()
    with tempfile.TemporaryDirectory(prefix="ctflowsbench") as directory:
        file, told = CutFile(Path(directory)), list[int]()

        def report(cuts: Sequence[CutFlow]) -> None:
            file.append(cuts)
            told.append(len(cuts))

        cutter = FlowCutter(conntrack, RouteSocket(), report)
        started, used = time.perf_counter(), time.process_time()
        walk = cutter.begin(Suspects(judged))
        pieces = [started]
        while cutter.go_on(walk, desired):
            pieces.append(time.perf_counter())
        took, used = time.perf_counter() - started, time.process_time() - used
    longest = max(b - a for a, b in pairwise(pieces))
    name = f"{n_flows} flows, {sum(told)} denied"
    show(name, f"{took:.2f} s {reach(took, TABLE_S, 's')}, {used:.2f} s of a CPU")
    show("  longest piece", f"{longest * 1e3:.0f} ms of {len(pieces) - 1} pieces")
    show("  beside: conntrack -L", f"{listed:.2f} s, x{listed / took:.2f}")
    insert_flows(each for each in flows(n_flows) if is_denied(each, n_denied_ports))
    sample = [IPv4Address(FIRST_OUTSIDE + n) for n in range(8, 8 + 9 * 10, 9)]
    deleted = timed(lambda: [run("conntrack", "-D", "-s", str(a)) for a in sample])
    per_flow = deleted / len(sample)
    show(
        "  beside: conntrack -D, a process a flow",
        f"{per_flow * 1e3:.1f} ms a flow; ours {took / max(1, sum(told)) * 1e3:.3f} ms",
    )
    conntrack.close()


def is_denied(flow: Flow, n_denied_ports: int) -> bool:
    endpoint = int(flow.original.destination) - FIRST_ENDPOINT
    port = flow.original.destination_port - first_port(endpoint)
    return port >= 9 - n_denied_ports


# One flow.


def bench_cuts(directory: Path, n_cuts: int, n_foreign: int) -> None:
    """Measure how long a denied flow lives, beside so many flows of others."""
    with a_host(directory / "h1") as host:
        host.start()
        host.put(*profile("C", rules([])), *profile("S", rules(["allow"])))
        client = host.add_workload("client", "C")
        server = host.add_workload("server", "S")
        enter = partial(call_in, host)
        if n_foreign:
            enter(lambda: insert_flows(flows(n_foreign)))
        commits, ends = enter(NftEvents), enter(destroyed)
        lives: list[float] = []
        for _ in range(n_cuts):
            host.put(*profile("S", rules(["allow"])))
            with Pair(client, server, "tcp", 4, PORT):
                forget(commits, ends)
                host.commit(*profile("S", rules(["allow udp"])))
                lives.append(life(commits, ends))
        deleting = enter(lambda: [delete_one() for _ in range(10)])
        report_lives(lives, deleting, n_foreign)
        if n_foreign:
            bench_waiting(host, commits)
        commits.close()
        ends.close()


def report_lives(
    lives: Sequence[float], deleting: Sequence[float], n_foreign: int
) -> None:
    median, last = statistics.median(lives), percentile(lives, 99)
    show(
        f"commit to death, among {n_foreign} others",
        f"median {median * 1e3:.0f} ms, 99 % {last * 1e3:.0f} ms of {len(lives)} cuts "
        + reach(median, CUT_S, "s"),
    )
    rival = statistics.median(deleting)
    show("  beside: conntrack -D", f"{rival * 1e3:.0f} ms, x{rival / median:.2f}")


def bench_waiting(host: Host, commits: NftEvents) -> None:
    """Measure how long a change waits while the agent walks all of the table."""

    def wait_for_commit() -> float:
        started = time.perf_counter()
        deadline = started + PATIENCE_S
        while not any(
            isinstance(each, Committed) and each.is_ours for each in commits.read(1)
        ):
            if time.perf_counter() > deadline:
                raise SystemExit("nothing arrived in the kernel")
        return time.perf_counter() - started

    members = [foreign_endpoint(n) for n in range(N_ENDPOINTS)]
    host.put(*profile("F", rules(["allow"])), *members)
    waits: list[float] = []
    for number in range(20):
        word = "allow tcp" if number % 2 else "allow"
        host.put(*profile("F", rules([word, f"allow udp to ports {number + 1}"])))
        commits.read(0)
        host.commit(*profile("S", rules([f"allow udp to ports {number + 1}"])))
        waits.append(wait_for_commit())
    show(
        "change while the table is walked",
        f"in the kernel after median {statistics.median(waits) * 1e3:.0f} ms, "
        f"most {max(waits) * 1e3:.0f} ms",
    )


T = TypeVar("T")


def call_in(host: Host, make: Callable[[], T]) -> T:
    with open_namespace(host.space.path) as fd:
        return call_inside(fd, make)


def destroyed() -> NetlinkSocket:
    """Listen to the ends of flows."""
    made = NetlinkSocket.open()
    made.subscribe(DESTROYED_GROUP)
    return made


def forget(commits: NftEvents, ends: NetlinkSocket) -> None:
    while commits.read(0):
        pass
    ends.discard_unread()


def life(commits: NftEvents, ends: NetlinkSocket) -> float:
    """Wait for a commit and the end of the flow; return the time between."""
    deadline = time.monotonic() + PATIENCE_S
    committed: float | None = None
    while time.monotonic() < deadline:
        if committed is None and any(
            isinstance(each, Committed) and each.is_ours for each in commits.read(0)
        ):
            committed = time.perf_counter()
        for message in ends.answers():
            flow = decode_flow(message.body[0], message.body[4:])
            if flow is not None and flow.original.destination_port == PORT:
                now = time.perf_counter()
                return now - (now if committed is None else committed)
    raise SystemExit("the flow does not end")


def delete_one() -> float:
    insert_flows([tcp_flow("192.0.2.1", "192.0.2.2", 40_000, PORT)])
    return timed(lambda: run("conntrack", "-D", "-s", "192.0.2.1"))


def foreign_endpoint(number: int) -> Operation:
    """Make an endpoint of this host without interface, for the table's flows."""
    name = f"f{number}"
    endpoint = WorkloadEndpoint(
        EndpointKey(
            HostName("h1"), OrchestratorId("o"), WorkloadId(name), EndpointId("e")
        ),
        EndpointState.ACTIVE,
        InterfaceName(f"cali{name}"),
        None,
        (ProfileId("F"),),
        (IPv4Address(FIRST_ENDPOINT + number),),
    )
    return put_resource(endpoint.key, endpoint)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def reach(value: float, target: float, unit: str) -> str:
    return f"(to reach: {target:g} {unit}, x{target / value:.1f})"


def show(what: str, value: str) -> None:
    print(f"{what:42} {value}", flush=True)


def run(*argv: str, text: str | None = None) -> str:
    done = subprocess.run(argv, input=text, text=True, check=False, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: {done.stderr[:2000]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
