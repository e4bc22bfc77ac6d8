"""Packets at the edges: forged ones, own set-ups, pinholes, shared addresses.

Frames are written to the workload's interface as they are, so that their
addresses are the test's and not the sender's kernel's.
"""

import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Self

import pytest
from agent_host import (
    DEADLINE_S,
    GATEWAY,
    HOST_MAC,
    PORT,
    Host,
    Namespace,
    Workload,
    a_host,
    arrives,
    await_arrival,
    namespace,
    profile,
    rules,
    setting,
)
from frames import frame, marker

from calico.ir.packet import Elsewhere, Packet
from calico.ir.state import link_local_of
from calico.model.endpoint import EndpointState
from calico.netset import Address

pytestmark = pytest.mark.system

ANY = rules(["allow"])
NONE = rules([])
OTHER_MAC = bytes.fromhex("020000009999")
BROADCAST_MAC = bytes.fromhex("ffffffffffff")
ALL_DHCP_MAC = bytes.fromhex("333300010002")
ALL_DHCP = IPv6Address("ff02::1:2")
HOST_LINK_LOCAL = IPv6Address(link_local_of(bytes.fromhex(HOST_MAC.replace(":", ""))))
OWN4, OWN6 = IPv4Address("172.20.0.1"), IPv6Address("fd77::1")
BRIEF_S = 0.3
"""How long to wait for what should not come."""

_KINDS = {4: socket.AF_INET, 6: socket.AF_INET6}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with a_host(tmp_path / "h1") as made:
        made.start()
        for address in (OWN4, OWN6):
            made.space.run("ip", "addr", "add", str(address), "dev", "lo")
        yield made


# Frames in, datagrams out.


@dataclass(frozen=True)
class Datagram:
    """What a frame of UDP carries, and who it says it comes from."""

    source: Address
    source_port: int
    target: Address
    target_port: int
    mac: bytes


class Receiver:
    """A socket that says which of the marked datagrams have come."""

    def __init__(self, space: Namespace, family: int, port: int) -> None:
        def make() -> socket.socket:
            made = socket.socket(_KINDS[family], socket.SOCK_DGRAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(("", port))
            return made

        self.socket = space.open_socket(make)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def has_come(self, mark: bytes, within_s: float = BRIEF_S) -> bool:
        """Say whether a datagram comes before some time has passed."""
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            with suppress(TimeoutError):
                if self.socket.recv(64) == mark:
                    return True
        return False

    def await_datagram(self, mark: bytes) -> None:
        """Wait for a datagram that has to come."""
        assert self.has_come(mark, DEADLINE_S), f"{mark.hex()} does not come"


def inject(
    workload: Workload,
    datagram: Datagram,
    mark: bytes,
    mac: bytes = bytes.fromhex(HOST_MAC.replace(":", "")),
) -> None:
    """Write a frame to a workload's end of its wire."""
    packet = Packet(
        Elsewhere.OUTSIDE,
        Elsewhere.OUTSIDE,
        datagram.source,
        datagram.target,
        17,
        datagram.mac,
        datagram.source_port,
        datagram.target_port,
    )

    def make() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        made.bind(("eth0", 0))
        return made

    with workload.space.open_socket(make) as wire:
        wire.send(frame(packet, mac, mark))


def mac_of(workload: Workload) -> bytes:
    return bytes.fromhex(workload.mac.replace(":", ""))


def address_of(workload: Workload, family: int) -> Address:
    return workload.ipv4 if family == 4 else workload.ipv6


@pytest.mark.parametrize("family", [4, 6])
def test_forged_packets_of_an_established_flow_are_dropped(
    host: Host, family: int
) -> None:
    host.put(*profile("ONE", ANY), *profile("DB", rules(["allow from tag ONE"])))
    one, other = host.add_workload("one", "ONE"), host.add_workload("other", "DB")
    third = host.add_workload("third", "ONE")
    asks = Datagram(
        address_of(one, family), 4000, address_of(other, family), PORT, mac_of(one)
    )
    replies = Datagram(asks.target, PORT, asks.source, 4000, mac_of(other))
    with (
        Receiver(one.space, family, 4000) as at_one,
        Receiver(other.space, family, PORT) as at_other,
    ):
        # Nothing may go back before something went forth; then both may.
        inject(other, replace(replies, source_port=1), marker(1))
        inject(one, asks, marker(2))
        at_other.await_datagram(marker(2))
        inject(other, replies, marker(3))
        at_one.await_datagram(marker(3))
        forged = (
            (one, replace(asks, mac=OTHER_MAC), at_other),
            (third, asks, at_other),
            (third, replace(asks, mac=mac_of(third)), at_other),
            (third, replies, at_one),
            (third, replace(replies, mac=mac_of(third)), at_one),
            (other, replace(replies, mac=OTHER_MAC), at_one),
            # Each as if it were the other end.
            (other, asks, at_other),
            (one, replies, at_one),
        )
        for number, (sender, datagram, receiver) in enumerate(forged, 10):
            inject(sender, datagram, marker(number))
            assert not receiver.has_come(marker(number)), (sender.name, datagram)
        # The flow itself is none the worse for it.
        inject(one, asks, marker(100))
        at_other.await_datagram(marker(100))
        inject(other, replies, marker(101))
        at_one.await_datagram(marker(101))


# Workloads that made their own set-up.


def _forget_gateways(workload: Workload) -> None:
    workload.space.run("ip", "neigh", "del", GATEWAY, "dev", "eth0")
    workload.space.run("ip", "neigh", "del", "fe80::1", "dev", "eth0")


@pytest.fixture
def pair(host: Host) -> tuple[Workload, Workload]:
    host.put(*profile("A", ANY))
    return host.add_workload("one", "A"), host.add_workload("other", "A")


def test_gateway_without_a_neighbour_entry_is_found_by_proxy_arp(
    host: Host, pair: tuple[Workload, Workload]
) -> None:
    _forget_gateways(pair[0])
    # The kernel answers for what it has a route to by another interface.
    host.space.run("ip", "route", "add", "default", "dev", "lo")
    await_arrival(*pair)
    assert HOST_MAC in pair[0].space.run("ip", "neigh", "show", GATEWAY)


def test_workload_that_takes_its_network_for_its_link_is_answered_by_proxy_arp(
    pair: tuple[Workload, Workload],
) -> None:
    one, other = pair
    one.space.run("ip", "addr", "flush", "dev", "eth0")
    one.space.run("ip", "addr", "add", f"{one.ipv4}/16", "dev", "eth0")
    await_arrival(one, other)
    assert HOST_MAC in one.space.run("ip", "neigh", "show", str(other.ipv4))


def test_host_answers_for_its_own_link_local_address(
    pair: tuple[Workload, Workload],
) -> None:
    one, other = pair
    _forget_gateways(one)
    gateway = str(HOST_LINK_LOCAL)
    one.space.run("ip", "-6", "route", "replace", "default", "via", gateway, *_ETH0)
    await_arrival(one, other, 6)
    assert HOST_MAC in one.space.run("ip", "neigh", "show", gateway)


def test_host_answers_for_what_the_administrator_made_a_proxy_entry_for(
    host: Host, pair: tuple[Workload, Workload]
) -> None:
    one, other = pair
    one.space.run("ip", "-6", "route", "del", "default")
    one.space.run("ip", "-6", "route", "add", "fd80::/64", *_ETH0)
    assert not arrives(one, other, 6)
    entry = (str(other.ipv6), "dev", one.interface)
    host.space.run("ip", "-6", "neigh", "add", "proxy", *entry)
    await_arrival(one, other, 6)
    assert HOST_MAC in one.space.run("ip", "neigh", "show", str(other.ipv6))


_ETH0 = ("dev", "eth0")


# Pinholes for DHCP.


def _reaches_host(
    host: Host, workload: Workload, sent: Datagram, within_s: float = BRIEF_S
) -> bool:
    family = sent.target.version
    mac = {
        IPv4Address("255.255.255.255"): BROADCAST_MAC,
        ALL_DHCP: ALL_DHCP_MAC,
    }.get(sent.target, bytes.fromhex(HOST_MAC.replace(":", "")))
    with Receiver(host.space, family, sent.target_port) as receiver:
        if family == 6:
            shown = host.space.run("ip", "-j", "link", "show", workload.interface)
            index: int = json.loads(shown)[0]["ifindex"]
            joined = ALL_DHCP.packed + index.to_bytes(4, sys.byteorder)
            receiver.socket.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, joined
            )
        inject(workload, sent, marker(1), mac)
        return receiver.has_come(marker(1), within_s)


def test_dhcp_reaches_the_host_until_it_is_switched_off(host: Host) -> None:
    host.put(*profile("A", rules([], [])))
    host.put(setting("DefaultEndpointToHostAction", "DROP"))
    one = host.add_workload("one", "A")
    mac, link_local = mac_of(one), IPv6Address(link_local_of(mac_of(one)))
    unset, everybody = IPv4Address("0.0.0.0"), IPv4Address("255.255.255.255")  # noqa: S104 -- a source
    dhcp = (
        Datagram(unset, 68, everybody, 67, mac),
        Datagram(one.ipv4, 68, OWN4, 67, mac),
        Datagram(link_local, 546, ALL_DHCP, 547, mac),
        Datagram(one.ipv6, 546, OWN6, 547, mac),
    )
    others = tuple(
        changed
        for each in dhcp
        for changed in (
            replace(each, source_port=each.source_port + 2),
            replace(each, target_port=each.target_port + 2),
            replace(each, mac=OTHER_MAC),
        )
        # A client without an address yet is not asked for its MAC.
        if not (each.source == unset and changed.mac == OTHER_MAC)
    )
    for each in dhcp:
        assert _reaches_host(host, one, each, DEADLINE_S), each
    for each in others:
        assert not _reaches_host(host, one, each), each
    host.put(setting("WorkloadDhcp", "false"))
    for each in dhcp:
        assert not _reaches_host(host, one, each), each
    # From now on it is policy that says so.
    host.put(setting("DefaultEndpointToHostAction", "RETURN"))
    assert not _reaches_host(host, one, dhcp[1])
    host.put(*profile("A", rules([], ["allow udp to ports 67"])))
    assert _reaches_host(host, one, dhcp[1], DEADLINE_S)
    assert not _reaches_host(host, one, dhcp[3])


# Endpoints that are inactive, and two with one address.


@pytest.mark.parametrize("family", [4, 6])
def test_inactive_endpoint_is_closed_to_its_own_host(host: Host, family: int) -> None:
    host.put(*profile("A", ANY))
    one = host.add_workload("one", "A")
    address = address_of(one, family)

    def reaches(within_s: float) -> bool:
        with Receiver(one.space, family, PORT) as receiver:
            sender = host.space.open_socket(
                lambda: socket.socket(_KINDS[family], socket.SOCK_DGRAM)
            )
            # What the output hook drops is an error to the sender.
            with sender, suppress(PermissionError):
                sender.sendto(marker(1), (str(address), PORT))
            return receiver.has_come(marker(1), within_s)

    assert reaches(DEADLINE_S)
    host.put(host.endpoint(one, "A", state=EndpointState.INACTIVE))
    # Not the missing route keeps it out.
    link = ("dev", one.interface)
    host.space.run("ip", "route", "replace", str(address), *link)
    host.space.run("ip", "neigh", "replace", str(address), "lladdr", one.mac, *link)
    assert not reaches(BRIEF_S)
    host.put(host.endpoint(one, "A"))
    assert reaches(DEADLINE_S)


@pytest.mark.parametrize("family", [4, 6])
def test_endpoints_that_share_addresses_are_judged_each_by_its_own_list(
    host: Host, family: int
) -> None:
    host.put(*profile("OPEN", ANY), *profile("MUTE", rules(["allow"], [])))
    host.put(*profile("DEAF", NONE))
    target = host.add_workload("target", "OPEN")
    first = host.add_workload("first", "OPEN")
    second = replace(
        first,
        name="second",
        space=host.stack.enter_context(namespace()),
        mac="02:00:00:00:00:77",
    )
    host.make_wire(second)
    host.put(host.endpoint(second, "MUTE"))
    assert "is shared by endpoints" in " ".join(host.status().problems.values())
    await_arrival(first, target, family)
    assert not arrives(second, target, family)
    # Who gets what is sent to the address is decided once and by name.
    await_arrival(target, first, family)
    assert not arrives(target, second, family)
    host.put(host.endpoint(first, "DEAF"))
    assert not arrives(target, first, family)
    assert not arrives(target, second, family)
    host.put(host.no_endpoint(first))
    await_arrival(target, second, family)
    host.put(host.endpoint(second, "DEAF"))
    assert not arrives(target, second, family)
