"""Walks through connection tracking of a real kernel, full of others' flows."""

import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, ip_address
from itertools import chain
from typing import TypeVar

import pytest
from agent_host import rules
from flow_filling import insert_flows, tcp_flow
from namespaces import in_new_netns
from strategies import HOST, endpoint_key

from calico.agent.cutter import FlowCutter
from calico.agent.suspects import Suspects
from calico.compiler.host import compile_host
from calico.control.cuts import CutFlow
from calico.ir.state import DesiredState
from calico.linux.conntrack import Conntrack
from calico.linux.conntrack_wire import Flow
from calico.linux.host_links import RouteSocket
from calico.linux.netfilter import NetlinkSocket
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import InterfaceName, ProfileId
from calico.model.snapshot import Snapshot

pytestmark = pytest.mark.kernel

TRACK = """table inet t {
 chain c { type filter hook output priority 0; ct state new accept
 }
}
"""
N_FOREIGN = 20_000
N_OWN = 10
FIRST_OWN, FIRST_FOREIGN = IPv4Address("10.65.0.1"), IPv4Address("10.70.0.0")
OPEN, DENIED = 80, 81
NEW_FLOWS_GROUP = 1  # NFNLGRP_CONNTRACK_NEW


T = TypeVar("T")


def in_tracking_netns(body: Callable[[], T]) -> T:
    def run() -> T:
        subprocess.run(["nft", "-f", "-"], input=TRACK, text=True, check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return body()

    return in_new_netns(run)


def own(number: int) -> IPv4Address:
    return FIRST_OWN + number


def policy() -> DesiredState:
    """Compile a policy for ten endpoints that opens one port."""
    endpoints = (
        WorkloadEndpoint(
            endpoint_key(number),
            EndpointState.ACTIVE,
            InterfaceName(f"cali{number}"),
            None,
            (ProfileId("A"),),
            (own(number),),
        )
        for number in range(N_OWN)
    )
    made = {ProfileId("A"): rules([f"allow tcp to ports {OPEN}"])}
    return compile_host(
        Snapshot(rules=made, endpoints={each.key: each for each in endpoints}), HOST
    )


def foreign() -> Iterator[Flow]:
    for number in range(N_FOREIGN):
        yield tcp_flow(FIRST_FOREIGN + number, "192.0.2.1", 1024 + number, 443)


def to_endpoints(port: int) -> list[Flow]:
    return [tcp_flow("198.51.100.1", own(n), 2000, port) for n in range(N_OWN)]


def walk(suspected: Sequence[IPv4Address]) -> tuple[list[CutFlow], list[Flow]]:
    """Cut what policy denies; return what was told, and what is left."""
    insert_flows(foreign())
    insert_flows(chain(to_endpoints(OPEN), to_endpoints(DENIED)))
    told: list[CutFlow] = []
    conntrack = Conntrack()
    cutter = FlowCutter(conntrack, RouteSocket(), told.extend)
    under_way = cutter.begin(Suspects(frozenset(a.packed for a in suspected)))
    state = policy()
    while cutter.go_on(under_way, state):
        pass
    return told, list(conntrack.read_flows())


@pytest.mark.parametrize("n_suspects", [1, N_OWN])
def test_only_denied_flows_of_the_addresses_concerned_are_cut(n_suspects: int) -> None:
    """A few addresses are asked for one by one, many are looked for in all."""
    suspected = [own(number) for number in range(n_suspects)]
    told, left = in_tracking_netns(lambda: walk(suspected))
    assert sorted(each.destination for each in told) == sorted(map(str, suspected))
    assert {each.destination_port for each in told} == {DENIED}
    assert {each.rule for each in told} == {"end of profiles inbound: A"}
    tracked = {(each.original, each.reply) for each in left}
    assert len(left) == len(tracked) == N_FOREIGN + 2 * N_OWN - n_suspects
    gone = [(f.original, f.reply) for f in to_endpoints(DENIED)[:n_suspects]]
    assert tracked.isdisjoint(gone)
    assert tracked >= {(f.original, f.reply) for f in foreign()}


def overrun() -> tuple[bool, int]:
    """Lose events on the socket that lists, then list."""
    netlink = NetlinkSocket.open()
    netlink.subscribe(NEW_FLOWS_GROUP)
    conntrack = Conntrack(netlink)
    # As small as the kernel lets it be, so that a few flows overrun it.
    buffer = socket.socket(fileno=netlink.fileno())
    buffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    buffer.detach()
    insert_flows(to_endpoints(OPEN))
    insert_flows(to_endpoints(DENIED))
    lost = False
    try:
        netlink.discard_unread()
    except OSError as error:
        lost = error.strerror == "No buffer space available"
    insert_flows(tcp_flow("198.51.100.2", own(0), 3000 + n, OPEN) for n in range(100))
    return lost, len(conntrack.read_flows())


def test_listing_that_loses_answers_is_begun_again() -> None:
    lost, n_read = in_tracking_netns(overrun)
    assert lost, "the positive control: the socket is overrun"
    assert n_read == 2 * N_OWN + 100


def listed_while_changing() -> tuple[int, int]:
    """Delete between the pieces of a listing, and read a listing to its end."""
    insert_flows(foreign())
    conntrack = Conntrack()
    seen: set[int] = set()
    n_deleted = 0
    for piece in conntrack.walk(frozenset(FIRST_FOREIGN + n for n in range(N_FOREIGN))):
        seen.update(flow.original.source_port for flow in piece)
        n_deleted += conntrack.delete(piece)
    return len(seen), n_deleted


def test_listing_goes_on_after_deletions_between_its_pieces() -> None:
    n_seen, n_deleted = in_tracking_netns(listed_while_changing)
    assert (n_seen, n_deleted) == (N_FOREIGN, N_FOREIGN)


def test_flow_layouts_of_both_families_are_read_alike() -> None:
    made = [
        tcp_flow("10.0.0.1", "10.0.0.2", 40000, 80),
        tcp_flow("fd00::1", "fd00::2", 40000, 80),
    ]

    def body() -> list[Flow]:
        insert_flows(made)
        found = Conntrack().read_flows_of(ip_address("fd00::2"))
        return [*found, *Conntrack().read_flows_of(ip_address("10.0.0.2"))]

    found = in_tracking_netns(body)
    assert [(f.original, f.reply) for f in found] == [
        (f.original, f.reply) for f in reversed(made)
    ]
