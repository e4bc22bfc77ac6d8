"""Flows of real packets between two namespaces, found and taken out."""

import ctypes
import ipaddress
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from namespaces import in_new_netns

from calico.linux.conntrack import Conntrack
from calico.linux.conntrack_wire import Flow

pytestmark = pytest.mark.kernel

HERE4, THERE4 = "192.0.2.1", "192.0.2.2"
HERE6, THERE6 = "2001:db8::1", "2001:db8::2"
RULES = """
table inet t {
 chain out { type filter hook output priority 0; ct state new accept; }
 chain in { type filter hook input priority 0; ct state new accept; }
}
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def with_peer(body: Callable[[Conntrack, int], None]) -> None:
    """Run with a veth to a second namespace, given as a descriptor."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x40000000) == 0
    there = os.open("/proc/self/ns/net", os.O_RDONLY)
    assert libc.setns(home, 0) == 0
    peer = f"/proc/{os.getpid()}/fd/{there}"
    ip("link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", peer)
    configure("v0", HERE4, HERE6)
    assert libc.setns(there, 0) == 0
    configure("v1", THERE4, THERE6)
    assert libc.setns(home, 0) == 0
    subprocess.run(["nft", "-f", "-"], input=RULES, text=True, check=True)
    conntrack = Conntrack()
    conntrack.delete(conntrack.read_flows())
    body(conntrack, there)


def configure(name: str, address4: str, address6: str) -> None:
    Path(f"/proc/sys/net/ipv6/conf/{name}/accept_dad").write_text("0")
    ip("link", "set", "lo", "up")
    ip("addr", "add", f"{address4}/24", "dev", name)
    ip("addr", "add", f"{address6}/64", "dev", name, "nodad")
    ip("link", "set", name, "up")


def in_peer(there: int, make: Callable[[], socket.socket]) -> socket.socket:
    """Make a socket in the other namespace."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.setns(there, 0) == 0
    try:
        return make()
    finally:
        assert libc.setns(home, 0) == 0
        os.close(home)


def talk(there: int, address: str, port: int) -> None:
    """Send a datagram and receive its answer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def make() -> socket.socket:
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.bind((address, port))
        return server

    server = in_peer(there, make)
    client = socket.socket(family, socket.SOCK_DGRAM)
    for each in (server, client):
        each.settimeout(10)
    client.sendto(b"hello", (address, port))
    data, sender = server.recvfrom(100)
    server.sendto(data, sender)
    assert client.recv(100) == b"hello"


def udp_flows(conntrack: Conntrack, address: str) -> tuple[Flow, ...]:
    """Read without what the kernels themselves say on new links."""
    flows = conntrack.read_flows_of(ipaddress.ip_address(address))
    return tuple(flow for flow in flows if flow.protocol == 17)


def ports(flows: tuple[Flow, ...]) -> list[tuple[int, int]]:
    return sorted(
        (flow.family, flow.original.destination_port)
        for flow in flows
        if flow.protocol == 17
    )


def run(body: Callable[[Conntrack, int], None]) -> None:
    in_new_netns(lambda: with_peer(body))


def test_flow_is_found_by_either_address_and_deleted_alone() -> None:
    def body(conntrack: Conntrack, there: int) -> None:
        talk(there, THERE4, 1000)
        talk(there, THERE4, 1001)
        talk(there, THERE6, 1002)
        assert ports(conntrack.read_flows()) == [(4, 1000), (4, 1001), (6, 1002)]
        ours = udp_flows(conntrack, HERE4)
        flows = udp_flows(conntrack, THERE4)
        assert ports(ours) == ports(flows) == [(4, 1000), (4, 1001)]
        (wanted,) = [f for f in flows if f.original.destination_port == 1000]
        assert wanted.protocol == 17
        assert str(wanted.original.source) == HERE4
        assert str(wanted.reply.source) == THERE4
        assert conntrack.delete([wanted]) == 1
        assert conntrack.delete([wanted]) == 0
        assert ports(conntrack.read_flows()) == [(4, 1001), (6, 1002)]

    run(body)


def test_later_flow_with_the_same_tuples_is_not_deleted() -> None:
    def body(conntrack: Conntrack, there: int) -> None:
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.bind((HERE4, 5000))
        client.sendto(b"one", (THERE4, 1000))
        old = udp_flows(conntrack, THERE4)
        conntrack.delete(conntrack.read_flows())
        client.sendto(b"two", (THERE4, 1000))
        new = udp_flows(conntrack, THERE4)
        assert [f.original for f in old] == [f.original for f in new]
        if old[0].flow_id != new[0].flow_id:
            assert conntrack.delete(old) == 0
        assert there
        assert conntrack.delete(new) == 1

    run(body)


def test_echo_is_found_and_deleted_in_both_families() -> None:
    def body(conntrack: Conntrack, there: int) -> None:
        assert there
        for address in (THERE4, THERE6):
            command = ["ping", "-c", "1", "-W", "10", address]
            subprocess.run(command, check=True, capture_output=True)
            target = ipaddress.ip_address(address)
            flows = conntrack.read_flows_of(target)
            echoes = [f for f in flows if f.original.icmp_type in (8, 128)]
            assert [f.protocol for f in echoes] == [1 if target.version == 4 else 58]
            assert conntrack.delete(echoes) == 1
            left = conntrack.read_flows_of(target)
            assert not [f for f in left if f.original.icmp_type in (8, 128)]

    run(body)


def test_many_flows_go_in_few_sends() -> None:
    def body(conntrack: Conntrack, there: int) -> None:
        assert there
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for port in range(2000, 3000):
            client.sendto(b"x", (THERE4, port))
        flows = udp_flows(conntrack, THERE4)
        assert len(flows) == 1000
        assert conntrack.delete(flows) == len(flows)
        assert udp_flows(conntrack, THERE4) == ()

    run(body)


def test_translated_flow_belongs_to_the_real_target() -> None:
    nat = """
    table ip n {
     chain o { type nat hook output priority -100; ip daddr 198.51.100.1 dnat to %s; }
    }
    """

    def body(conntrack: Conntrack, there: int) -> None:
        assert there
        subprocess.run(["nft", "-f", "-"], input=nat % THERE4, text=True, check=True)
        ip("route", "add", "198.51.100.0/24", "via", THERE4)
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.sendto(b"x", ("198.51.100.1", 1000))
        (flow,) = udp_flows(conntrack, THERE4)
        assert str(flow.original.destination) == "198.51.100.1"
        assert conntrack.delete([flow]) == 1

    run(body)
