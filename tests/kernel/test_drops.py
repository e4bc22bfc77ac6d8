"""Every packet that the kernel drops is told, by name, and no other one."""

import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from random import Random

import pytest
from cases import (
    GATEWAY_MAC,
    HOST,
    HOST_ADDRESSES,
    UNKNOWN,
    UPLINK,
    Draw,
    addresses_of,
    key_of,
    mac_of,
)
from frames import datagram, frame, marker
from judge import build_topology, interface_of
from namespaces import in_new_netns
from packets import Aim
from wire import Wire

from calico.agent.drop_log import DropLog
from calico.agent.drop_names import DropNames
from calico.agent.events import Dropped
from calico.codec.words import parse_rule
from calico.compiler.host import compile_host
from calico.control.drops import Drop, DropPlace, DropReason
from calico.ir.drop_name import LOG_GROUP
from calico.ir.packet import ConnectionState, Elsewhere, Packet
from calico.ir.state import DesiredState, link_local_of
from calico.linux.nflog import Nflog
from calico.linux.nft_repair import repair_steps
from calico.linux.nft_socket import NftSocket
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.errors import Unavailable
from calico.model.names import InterfaceName, ProfileId, Revision
from calico.model.rule import ProfileRules
from calico.model.snapshot import SettingKey, Snapshot
from calico.netset import Address
from calico.render.drops import BURST, PER_SECOND
from calico.render.layout import render_guard, render_state
from calico.render.objects import Ruleset
from calico.render.transaction import diff_rulesets
from calico.verdict.evaluate import evaluate

pytestmark = pytest.mark.kernel

DEADLINE_S = 20.0
# The host itself speaks of groups on every interface, which inactive ones drop.
MULTICAST = frozenset({"ff02::16", "ff02::2"})
WEB, MIXED, GONE = ProfileId("WEB"), ProfileId("MIXED"), ProfileId("GONE")
RULES = {
    WEB: (("allow udp to ports 80",), ("allow",)),
    MIXED: (
        ("allow udp to ports 80", "deny udp to ports 70,81:90"),
        ("deny udp to ports 53", "allow udp to ports 1:100"),
    ),
}
LISTS = ((WEB,), (MIXED,), (WEB, GONE), (WEB,))
W0, W1, W2, W3 = (addresses_of(number)[0] for number in range(4))
OUTSIDE = Packet(
    Elsewhere.OUTSIDE,
    key_of(0),
    HOST_ADDRESSES[0] + 7,
    W0,
    17,
    GATEWAY_MAC,
    4000,
    80,
)


def snapshot(
    settings: Mapping[str, str], *, inactive: frozenset[int] = frozenset({3})
) -> Snapshot:
    endpoints = {
        key_of(n): WorkloadEndpoint(
            key_of(n),
            EndpointState.INACTIVE if n in inactive else EndpointState.ACTIVE,
            InterfaceName(f"cali{n}"),
            mac_of(n),
            LISTS[n],
            addresses_of(n),
        )
        for n in range(4)
    }
    rules = {
        name: ProfileRules(*(tuple(parse_rule(t.split()) for t in s) for s in both))
        for name, both in RULES.items()
    }
    return Snapshot(
        Revision(1),
        dict.fromkeys(rules, ()),
        dict(rules),
        dict(endpoints),
        {},
        {SettingKey(name): value for name, value in settings.items()},
    )


@dataclass
class Listener:
    """A host in this namespace whose drops are listened to."""

    state: DesiredState
    ruleset: Ruleset
    wire: Wire = field(default_factory=Wire)
    log: DropLog = field(default_factory=DropLog)
    number: int = 0

    def __post_init__(self) -> None:
        build_topology(self.wire)
        self.nft = NftSocket.open()
        self.nft.create_table(owned=True)
        self.nft.commit(diff_rulesets(Ruleset(), self.ruleset))
        self.names = DropNames(lambda: self.state, lambda: self.state.endpoints)
        self.nflog = Nflog(LOG_GROUP)

    def send(self, packet: Packet, interface: str = "") -> bytes:
        """Let a packet enter, and return the marker that it carries."""
        self.number += 1
        mark = marker(self.number)
        interface = interface or interface_of(packet)
        is_odd = packet.state is ConnectionState.INVALID
        head = frame(packet, self.wire.macs[interface], mark)[:14]
        self.wire.send(interface, head + datagram(packet, mark, is_reply=is_odd))
        return mark

    def heard(self) -> list[Drop]:
        """Return what has been dropped since the last time.

        A packet that is certainly dropped and logged goes last.
        """
        before = self.log.since(0)
        known = before[-1].sequence if before else 0
        last = replace(packet_from(0), destination_port=50_000 + self.number)
        self.send(last, UNKNOWN)
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            self.log.take(Dropped("", self.nflog.read(1.0, 1000)), self.names)
            found = self.log.since(known)
            ports = [each.destination_port for each in found]
            if last.destination_port in ports:
                those = found[: ports.index(last.destination_port)]
                return [each for each in those if each.destination not in MULTICAST]
        msg = f"the packet that goes last was not among {self.log.since(known)}"
        raise AssertionError(msg)

    def is_right(self) -> bool:
        return not repair_steps(self.nft.read_table(), self.ruleset)


def listener(state: DesiredState) -> Listener:
    return Listener(state, render_state(state))


def packet_from(number: int, destination: Address = W1, port: int = 80) -> Packet:
    """A datagram from a workload."""
    source = addresses_of(number)[destination.version == 6]
    return Packet(
        key_of(number),
        Elsewhere.OUTSIDE,
        source,
        destination,
        17,
        mac_of(number),
        4000,
        port,
    )


def to_host(packet: Packet) -> Packet:
    return replace(packet, destination=HOST_ADDRESSES[0], leaves=Elsewhere.OWN_HOST)


SPOOFED = replace(packet_from(0), source=W2)
UNTRACKED = replace(packet_from(0), protocol=6, state=ConnectionState.INVALID)
LINK_LOCAL = replace(
    packet_from(0, HOST_ADDRESSES[1]),
    source=IPv6Address(link_local_of(mac_of(0))),
    leaves=Elsewhere.OWN_HOST,
)
UNSENT = Packet(
    key_of(0), key_of(2), HOST_ADDRESSES[0] + 9, addresses_of(0)[0], 17, GATEWAY_MAC
)

# Packet, where it enters, and then: reason, place, profile, rule, endpoint.
KINDS: list[tuple[Packet, str, tuple[object, ...]]] = [
    (
        packet_from(0, W1, 85),
        "",
        (DropReason.RULE, DropPlace.INBOUND, "MIXED", 2, "e1"),
    ),
    (
        packet_from(1, W0, 53),
        "",
        (DropReason.RULE, DropPlace.OUTBOUND, "MIXED", 1, "e1"),
    ),
    (
        packet_from(0, W1, 999),
        "",
        (DropReason.END_OF_PROFILES, DropPlace.INBOUND, "", None, "e1"),
    ),
    (
        packet_from(1, W0, 999),
        "",
        (DropReason.END_OF_PROFILES, DropPlace.OUTBOUND, "", None, "e1"),
    ),
    (
        replace(packet_from(0, addresses_of(1)[1], 999)),
        "",
        (DropReason.END_OF_PROFILES, DropPlace.INBOUND, "", None, "e1"),
    ),
    (
        packet_from(0, W2, 999),
        "",
        (DropReason.UNUSABLE_PROFILE, DropPlace.INBOUND, "GONE", None, "e2"),
    ),
    (
        SPOOFED,
        "",
        (DropReason.SPOOFED_SOURCE, DropPlace.SOURCE_CHECK, "", None, "e0"),
    ),
    (
        replace(packet_from(0), source_mac=mac_of(2)),
        "",
        (DropReason.SPOOFED_SOURCE, DropPlace.SOURCE_CHECK, "", None, "e0"),
    ),
    (
        packet_from(0),
        UNKNOWN,
        (DropReason.UNKNOWN_INTERFACE, DropPlace.SOURCE_CHECK, "", None, ""),
    ),
    (
        packet_from(3, W0),
        "",
        (DropReason.INACTIVE_ENDPOINT, DropPlace.SOURCE_CHECK, "", None, "e3"),
    ),
    (
        packet_from(0, W3),
        "",
        (DropReason.INACTIVE_ENDPOINT, DropPlace.INBOUND, "", None, "e3"),
    ),
    (
        UNTRACKED,
        "",
        (DropReason.INVALID_STATE, DropPlace.OUTBOUND, "", None, "e0"),
    ),
    (
        replace(OUTSIDE, protocol=6, state=ConnectionState.INVALID),
        UPLINK,
        (DropReason.INVALID_STATE, DropPlace.INBOUND, "", None, "e0"),
    ),
    (
        to_host(packet_from(0)),
        "",
        (DropReason.TO_HOST, DropPlace.TO_HOST, "", None, "e0"),
    ),
]


@pytest.mark.parametrize(("packet", "interface", "expected"), KINDS)
def test_each_kind_of_drop_is_told_with_its_origin_and_endpoint(
    packet: Packet, interface: str, expected: tuple[object, ...]
) -> None:
    def body() -> tuple[list[Drop], set[str], bool]:
        host = listener(compile_host(snapshot({}), HOST))
        allowed = host.send(packet_from(0, W1, 80))
        host.send(packet, interface)
        heard = host.heard()
        return heard, set(host.wire.receive([allowed])[allowed]), host.is_right()

    heard, out, is_right = in_new_netns(body)
    assert out == {"cali1"}, "the positive control was dropped"
    reason, place, profile, number, endpoint = expected
    assert isinstance(reason, DropReason)
    assert isinstance(place, DropPlace)
    assert [
        (each.reason, each.direction, each.profile, each.number, each.endpoint)
        for each in heard
    ] == [(reason.value, place.value, profile, number, endpoint)]
    assert heard[0].source == str(packet.source)
    assert heard[0].destination == str(packet.destination)
    assert heard[0].protocol == packet.protocol
    assert heard[0].destination_port == packet.destination_port
    assert heard[0].n_lost == 0
    assert is_right


def test_place_without_an_endpoint_is_told() -> None:
    def body() -> list[Drop]:
        snapshot_ = snapshot({"DefaultEndpointToHostAction": "RETURN"})
        state = compile_host(snapshot_, HOST)
        without = {k: e for k, e in state.endpoints.items() if k != key_of(2)}
        host = listener(replace(state, endpoints=without))
        # Nobody is behind cali2, though a route leads there.
        host.send(packet_from(0, W2))
        # An address of its own, which policy knows nothing of.
        host.send(LINK_LOCAL)
        # Outbound policy is asked for what goes to the host.
        host.send(replace(to_host(packet_from(1)), destination_port=999))
        return host.heard()

    places = (DropPlace.INBOUND, DropPlace.TO_HOST, DropPlace.TO_HOST)
    reasons = (DropReason.NO_ENDPOINT,) * 2 + (DropReason.END_OF_PROFILES,)
    heard = in_new_netns(body)
    assert [(each.direction, each.reason) for each in heard] == [
        (place.value, reason.value)
        for place, reason in zip(places, reasons, strict=True)
    ]
    assert [each.interface for each in heard] == ["cali2", "cali0", "cali1"]


def test_guard_tells_that_policy_is_not_yet_programmed() -> None:
    def body() -> list[Drop]:
        host = Listener(DesiredState(), render_guard(("cali",)))
        host.send(packet_from(0))
        host.send(OUTSIDE, UPLINK)
        return host.heard()

    assert [(each.reason, each.interface) for each in in_new_netns(body)] == [
        (DropReason.NOT_YET_PROGRAMMED.value, "cali0"),
        (DropReason.NOT_YET_PROGRAMMED.value, "cali0"),
    ]


def test_icmp_is_told_with_its_type() -> None:
    def body() -> list[Drop]:
        host = listener(compile_host(snapshot({}), HOST))
        ping = replace(packet_from(0, W1), protocol=1, icmp_type=8, icmp_code=0)
        host.send(ping)
        return host.heard()

    (drop,) = in_new_netns(body)
    assert (drop.protocol, drop.icmp_type, drop.icmp_code) == (1, 8, 0)
    assert drop.source_port is None


def test_setting_switches_the_log_off_and_on_again() -> None:
    def body() -> tuple[int, int, int, bool]:
        on = compile_host(snapshot({}), HOST)
        off = compile_host(snapshot({"DropLog": "false"}), HOST)
        host = listener(on)

        def switch(state: DesiredState) -> None:
            ruleset = render_state(state)
            host.nft.commit(diff_rulesets(host.ruleset, ruleset))
            host.ruleset = ruleset

        def count() -> int:
            host.send(packet_from(0, W1, 85))
            host.send(SPOOFED)
            host.send(packet_from(0, W3))
            return len(host.heard())

        first = count()
        switch(off)
        is_right = host.is_right()
        # What goes last would be heard of no more than the others.
        host.send(packet_from(0, W1, 85))
        host.send(SPOOFED)
        host.send(packet_from(0, W3))
        silent = len(host.nflog.read(1.0, 100))
        switch(on)
        return first, silent, count(), is_right and host.is_right()

    assert in_new_netns(body) == (3, 0, 3, True)


N_DRAWN = 18
PLAIN = {ConnectionState.NEW, ConnectionState.INVALID}


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5, 6, 7, 8])
def test_what_is_told_is_what_evaluate_denies(seed: int) -> None:
    def body() -> tuple[list[str], list[str], int]:
        random = Random(seed)
        drawn = Draw(random).snapshot(1)
        state = compile_host(drawn, HOST)
        host = listener(state)
        wanted: list[str] = []
        n_allowed = 0
        # Fewer than the burst that is logged of one interface.
        for packet in Aim(random, drawn).packets(N_DRAWN):
            if packet.enters is Elsewhere.OWN_HOST or packet.state not in PLAIN:
                continue
            trace = evaluate(state, packet)
            host.send(packet)
            n_allowed += trace.allowed
            if not trace.allowed:
                wanted.append(f"{trace.origin.text}: {packet.source}")
        found = [f"{each.rule}: {each.source}" for each in host.heard()]
        return sorted(wanted), sorted(found), n_allowed

    wanted, found, _ = in_new_netns(body)
    assert found == wanted


N_FLOOD = 10_000


def test_flood_of_one_endpoint_is_limited_and_hides_no_other() -> None:
    def body() -> tuple[list[Drop], float, int]:
        host = listener(compile_host(snapshot({}), HOST))
        flood = packet_from(0, W1, 85)
        mark = marker(0)
        data = frame(flood, host.wire.macs["cali0"], mark)
        begun = time.monotonic()
        for _ in range(N_FLOOD):
            host.wire.send("cali0", data)
        took_s = time.monotonic() - begun
        # The flood was judged at its receiver, so this is another endpoint, and
        # so is the sender of the flood.
        host.send(packet_from(1, W0, 53))
        host.send(packet_from(0, W2, 999))
        host.send(SPOOFED)
        (counted,) = (
            n
            for (where, text), (n, _) in host.nft.read_counters().items()
            if text == "profile MIXED inbound rule 2" and "4" in where and n
        )
        return host.heard(), took_s, counted

    heard, took_s, counted = in_new_netns(body)
    assert counted == N_FLOOD
    of_flood = [each for each in heard if each.destination_port == 85]
    most = BURST + PER_SECOND * (took_s + 1)
    assert BURST // 2 <= len(of_flood) <= most
    others = [each.reason for each in heard if each.destination_port != 85]
    assert others == [
        DropReason.RULE.value,
        DropReason.UNUSABLE_PROFILE.value,
        DropReason.SPOOFED_SOURCE.value,
    ]


def test_group_with_a_listener_is_refused_by_name() -> None:
    def body() -> str:
        first = Nflog(LOG_GROUP)
        with pytest.raises(Unavailable) as caught:
            Nflog(LOG_GROUP)
        first.close()
        Nflog(LOG_GROUP).close()
        return str(caught.value)

    assert "another program listens to it" in in_new_netns(body)


def test_packets_that_nobody_looked_at_are_counted() -> None:
    def body() -> tuple[int, int, int]:
        host = listener(compile_host(snapshot({}), HOST))
        n_sent = n_lost = 0
        deadline = time.monotonic() + DEADLINE_S
        while not n_lost and time.monotonic() < deadline:
            # The kernel tells of both together, unless a tenth of a second
            # passes between them.
            for _ in range(2):
                host.send(SPOOFED)
            n_sent += 2
            host.log.take(Dropped("", host.nflog.read(1.0, 1)), host.names)
            n_lost = sum(each.n_lost for each in host.log.since(0))
        return n_sent, len(host.log.since(0)), n_lost

    n_sent, n_heard, n_lost = in_new_netns(body)
    assert n_lost > 0
    assert n_heard + n_lost <= n_sent


def test_hostile_packets_do_not_stop_the_listener() -> None:
    def body() -> list[Drop]:
        host = listener(compile_host(snapshot({}), HOST))
        random = Random(7)
        head = host.wire.macs["cali0"] + mac_of(0)
        for _ in range(15):
            # Frames that the kernel takes for IPv6, with any next header.
            payload = random.randbytes(60)
            fixed = struct.pack(">IHBB", 6 << 28, 60, random.randrange(256), 64)
            ends = IPv6Address("fd65::77").packed + addresses_of(1)[1].packed
            host.wire.send("cali0", head + b"\x86\xdd" + fixed + ends + payload)
        return host.heard()

    heard = in_new_netns(body)
    assert len(heard) == 15
    assert {each.reason for each in heard} == {DropReason.SPOOFED_SOURCE.value}
    assert {each.source for each in heard} == {"fd65::77"}
