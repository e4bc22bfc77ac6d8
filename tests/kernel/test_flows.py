"""What belongs to a flow, what is put together, and what is translated."""

import struct
from ipaddress import ip_address, ip_network

import pytest
from cases import GATEWAY_MAC, HOST, UPLINK, addresses_of, key_of, mac_of
from frames import MARKER_BYTES, datagram, find_marker, frame, marker
from judge import build_topology
from namespaces import in_new_netns
from wire import Wire

from calico.compiler.host import compile_host
from calico.ir.packet import Elsewhere, Packet
from calico.linux.nft_socket import NftSocket
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import InterfaceName, ProfileId, Revision
from calico.model.network import Pool
from calico.model.rule import (
    Action,
    Peer,
    PortRange,
    ProfileRules,
    Protocol,
    Rule,
)
from calico.model.snapshot import Snapshot
from calico.render.layout import render_state
from calico.render.objects import Ruleset
from calico.render.transaction import diff_rulesets

pytestmark = pytest.mark.kernel

OPEN = ProfileId("OPEN")
TO_PORT_80 = ProfileRules(
    inbound=(
        Rule(Action.ALLOW, Protocol.UDP, destination=Peer(ports=(PortRange(80, 80),))),
    ),
    outbound=(Rule(Action.ALLOW),),
)
W0, W1 = addresses_of(0)[0], addresses_of(1)[0]
OUTSIDE = ip_address("192.0.2.9")


def enforced(rules: ProfileRules, *, masquerade: bool = False) -> Wire:
    """Enforce a policy on all four workloads of a fresh topology."""
    wire = Wire()
    build_topology(wire)
    endpoints = {
        key_of(n): WorkloadEndpoint(
            key_of(n),
            EndpointState.ACTIVE,
            InterfaceName(f"cali{n}"),
            mac_of(n),
            (OPEN,),
            addresses_of(n),
        )
        for n in range(4)
    }
    network = ip_network("10.65.0.0/16")
    snapshot = Snapshot(
        Revision(1),
        {OPEN: ()},
        {OPEN: rules},
        endpoints,
        {network: Pool(network, masquerade=masquerade)},
    )
    nft = NftSocket.open()
    nft.create_table(owned=True)
    state = compile_host(snapshot, HOST)
    nft.commit(diff_rulesets(Ruleset(), render_state(state)))
    return wire


def udp(source_port: int, destination_port: int) -> Packet:
    """A datagram from workload 0 to workload 1."""
    return Packet(
        key_of(0),
        key_of(1),
        W0,
        W1,
        17,
        mac_of(0),
        source_port,
        destination_port,
    )


def passes(wire: Wire, interface: str, data: bytes, mark: bytes, out: str) -> bool:
    """Send a frame and see whether its marker leaves by `out`.

    A datagram that certainly passes is sent behind it; when that one has come
    out and the first has not, it was dropped.
    """
    control = marker(999_999)
    wire.send(interface, data)
    wire.send("cali0", frame(udp(9, 80), wire.macs["cali0"], control))
    seen = wire.receive([control])
    assert "cali1" in seen[control], "the positive control was dropped"
    return out in seen.get(mark, set())


def port_unreachable(about: bytes) -> bytes:
    """The body of an ICMP error that quotes a packet."""
    raw = struct.pack(">BBHI", 3, 3, 0, 0) + about
    total = sum(struct.unpack(f">{len(raw) // 2}H", raw))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return raw[:2] + struct.pack(">H", ~total & 0xFFFF) + raw[4:]


def icmp_error(quoted: bytes) -> bytes:
    """The packet by which workload 1 refuses what workload 0 has sent."""
    base = Packet(key_of(1), key_of(0), W1, W0, 1, mac_of(1), 0, 0, 3, 3)
    empty = datagram(base, b"")
    body = port_unreachable(quoted)
    header = bytearray(empty[:20])
    struct.pack_into(">H", header, 2, 20 + len(body))
    struct.pack_into(">H", header, 10, 0)
    total = sum(struct.unpack(">10H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into(">H", header, 10, ~total & 0xFFFF)
    return bytes(header) + body


def related_cases() -> tuple[bool, bool]:
    wire = enforced(TO_PORT_80)
    head = wire.macs["cali1"] + mac_of(1) + b"\x08\x00"
    flow, known, unknown = marker(1), marker(2), marker(3)
    begun = datagram(udp(1000, 80), flow)
    assert passes(
        wire,
        "cali0",
        wire.macs["cali0"] + mac_of(0) + b"\x08\x00" + begun,
        flow,
        "cali1",
    )
    # The quoted packet ends in a marker of its own, to find the error by.
    about = begun[:28] + known
    first = passes(wire, "cali1", head + icmp_error(about), known, "cali0")
    stranger = datagram(udp(1001, 81), unknown)[:28] + unknown
    second = passes(wire, "cali1", head + icmp_error(stranger), unknown, "cali0")
    return first, second


def test_icmp_error_passes_for_a_known_flow_only() -> None:
    # Inbound policy of workload 0 admits no ICMP at all.
    assert in_new_netns(related_cases) == (True, False)


def fragments(packet: Packet, mark: bytes) -> list[bytes]:
    """Cut a datagram so that only the first piece holds its ports."""
    whole = datagram(packet, bytes(32 - MARKER_BYTES) + mark)
    body = whole[20:]
    pieces = [body[:16], body[16:]]
    made: list[bytes] = []
    for number, piece in enumerate(pieces):
        header = bytearray(whole[:20])
        more = 0x2000 if number == 0 else 0
        struct.pack_into(">HHH", header, 2, 20 + len(piece), 7, more | number * 2)
        struct.pack_into(">H", header, 10, 0)
        total = sum(struct.unpack(">10H", header))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        struct.pack_into(">H", header, 10, ~total & 0xFFFF)
        made.append(bytes(header) + piece)
    return made


def fragment_cases() -> tuple[bool, bool]:
    wire = enforced(TO_PORT_80)
    head = wire.macs["cali0"] + mac_of(0) + b"\x08\x00"
    fates: list[bool] = []
    for number, port in enumerate((80, 81), 1):
        mark = marker(number)
        first, second = fragments(udp(1000 + number, port), mark)
        wire.send("cali0", head + first)
        fates.append(passes(wire, "cali0", head + second, mark, "cali1"))
    return fates[0], fates[1]


def test_fragments_are_judged_by_the_ports_of_the_first() -> None:
    assert in_new_netns(fragment_cases) == (True, False)


def source_seen_outside(*, masquerade: bool) -> str:
    wire = enforced(TO_PORT_80, masquerade=masquerade)
    mark = marker(1)
    packet = Packet(
        key_of(0), Elsewhere.OUTSIDE, W0, OUTSIDE, 17, mac_of(0), 1000, 2000
    )
    wire.send("cali0", frame(packet, wire.macs["cali0"], mark))
    data = wire.receive_frame(UPLINK, mark)
    assert find_marker(data) == mark
    return str(ip_address(data[26:30]))


def test_pool_with_nat_outgoing_leaves_with_the_hosts_address() -> None:
    assert in_new_netns(lambda: source_seen_outside(masquerade=True)) == "172.20.0.2"
    assert in_new_netns(lambda: source_seen_outside(masquerade=False)) == "10.65.0.0"


def reply_to_masqueraded() -> bool:
    wire = enforced(TO_PORT_80, masquerade=True)
    asked, answered = marker(1), marker(2)
    packet = Packet(
        key_of(0), Elsewhere.OUTSIDE, W0, OUTSIDE, 17, mac_of(0), 1000, 2000
    )
    wire.send("cali0", frame(packet, wire.macs["cali0"], asked))
    sent = wire.receive_frame(UPLINK, asked)
    port = int.from_bytes(sent[34:36], "big")
    host = ip_address("172.20.0.2")
    reply = Packet(
        Elsewhere.OUTSIDE, key_of(0), OUTSIDE, host, 17, GATEWAY_MAC, 2000, port
    )
    data = frame(reply, wire.macs[UPLINK], answered)
    return passes(wire, UPLINK, data, answered, "cali0")


def test_answer_to_a_masqueraded_flow_comes_back() -> None:
    assert in_new_netns(reply_to_masqueraded)
