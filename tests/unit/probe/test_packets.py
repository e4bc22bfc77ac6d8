import socket
from ipaddress import ip_address

import pytest

from calico.linux.conntrack_wire import FlowTuple
from calico.linux.socket_filter import attach_filter
from calico.model.rule import Protocol
from calico.netset import Family
from calico.probe.packets import (
    encode_icmp,
    identifier_of,
    is_echo_reply,
    is_probe,
    keep_only,
)
from calico.probe.values import HERE, Probe

A4, A6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
TOKEN = bytes(range(1, 17))
IP4 = b"\x46" + bytes(23)
"""An IPv4 header with an option: 24 bytes."""

ECHO = Probe(HERE, None, A4, Protocol.ICMP)
ECHO6 = Probe(HERE, None, A6, Protocol.ICMPV6)
UDP = Probe(HERE, None, A4, Protocol.UDP, 53)
FLOW = FlowTuple(A4, A4, 40000, 53)


def checksum(message: bytes) -> int:
    total = sum(int.from_bytes(message[i : i + 2], "big") for i in (range(0, 24, 2)))
    while total > 0xFFFF:
        total = total % 0x10000 + total // 0x10000
    return total


def test_icmp_message_has_a_right_checksum_and_the_tokens_identifier() -> None:
    message = encode_icmp(ECHO, TOKEN)
    assert message[:2] == b"\x08\x00"
    assert checksum(message) == 0xFFFF
    assert int.from_bytes(message[4:6], "big") == identifier_of(TOKEN)
    assert message.endswith(TOKEN)


def test_icmpv6_checksum_is_left_to_the_kernel() -> None:
    assert encode_icmp(ECHO6, TOKEN)[:4] == b"\x80\x00\x00\x00"


@pytest.mark.parametrize(
    ("packet", "family", "expected"),
    [
        (IP4 + b"\0\0" + bytes(6) + TOKEN, Family.V4, True),
        (IP4 + b"\x08\0" + bytes(6) + TOKEN, Family.V4, False),
        (IP4 + b"\0\0" + bytes(6) + TOKEN[::-1], Family.V4, False),
        (b"\x81\0" + bytes(6) + TOKEN, Family.V6, True),
        (b"", Family.V4, False),
    ],
)
def test_echo_reply_is_known_by_type_and_token(
    packet: bytes, family: Family, *, expected: bool
) -> None:
    assert is_echo_reply(packet, family, TOKEN) is expected


@pytest.mark.parametrize(
    ("packet", "probe", "expected"),
    [
        (IP4 + encode_icmp(ECHO, TOKEN), ECHO, True),
        (IP4 + encode_icmp(ECHO, TOKEN[::-1]), ECHO, False),
        (encode_icmp(ECHO6, TOKEN), ECHO6, True),
        (IP4 + bytes.fromhex("9c400035") + b"rest", UDP, True),
        (IP4 + bytes.fromhex("00359c40") + b"rest", UDP, False),
        (IP4, UDP, False),
    ],
)
def test_probe_is_known_where_it_arrives(
    packet: bytes, probe: Probe, *, expected: bool
) -> None:
    assert is_probe(packet, probe, FLOW, TOKEN) is expected


ID = identifier_of(TOKEN)
UDP_PORTS = bytes.fromhex("9c400035")


@pytest.mark.parametrize(
    ("flow", "protocol", "kept", "dropped"),
    [
        (FLOW, Protocol.UDP, IP4 + UDP_PORTS, IP4 + UDP_PORTS[::-1]),
        (FlowTuple(A6, A6, 40000, 53), Protocol.TCP, UDP_PORTS, IP4 + UDP_PORTS),
        (
            FlowTuple(A4, A4, icmp_id=ID, icmp_type=8),
            Protocol.ICMP,
            IP4 + encode_icmp(ECHO, TOKEN),
            IP4 + encode_icmp(ECHO, TOKEN[::-1]),
        ),
        (
            FlowTuple(A6, A6, icmp_id=ID, icmp_type=128),
            Protocol.ICMPV6,
            encode_icmp(ECHO6, TOKEN),
            encode_icmp(ECHO6, TOKEN[::-1]),
        ),
    ],
)
def test_filter_keeps_the_flow_and_nothing_else(
    flow: FlowTuple, protocol: Protocol, kept: bytes, dropped: bytes
) -> None:
    # The kernel runs the filter of any socket that gets datagrams.
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        attach_filter(other, keep_only(flow, protocol))
        for packet in (dropped, b"", kept, dropped):
            # What the filter drops is refused to the sender or lost in silence.
            one.send(packet)
        other.settimeout(0)
        assert other.recv(100) == kept
        with pytest.raises(BlockingIOError):
            other.recv(100)
