"""Write probes that the kernel does not write, and know probes when they come.

Every probe but a TCP one carries a token of its own, and an ICMP message has
the token's first two bytes where an echo has its identifier.
"""

import struct

from calico.linux.conntrack_wire import FlowTuple
from calico.linux.socket_filter import Line, Op, encode_program
from calico.model.rule import Protocol
from calico.netset import Family
from calico.probe.values import Probe

TOKEN_BYTES = 16
_MESSAGE = struct.Struct("!BBHHH")
_ID_OFFSET = 4
_PORTS = struct.Struct("!HH")
_ECHO_REPLY = {Family.V4: 0, Family.V6: 129}


def identifier_of(token: bytes) -> int:
    """Return what stands in an ICMP message where an echo has its identifier."""
    return int.from_bytes(token[:2], "big")


def encode_icmp(probe: Probe, token: bytes) -> bytes:
    """Make an ICMP message; the kernel fills in the checksum of ICMPv6."""
    kind = probe.message_type, probe.icmp_code
    rest = identifier_of(token), 1
    message = _MESSAGE.pack(*kind, 0, *rest) + token
    if probe.family is Family.V6:
        return message
    return _MESSAGE.pack(*kind, _checksum(message), *rest) + token


def _checksum(message: bytes) -> int:
    """Compute the Internet checksum of an even number of bytes (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def is_echo_reply(packet: bytes, family: Family, token: bytes) -> bool:
    """Tell whether a raw socket received the answer to an echo request."""
    message = _transport(packet, family)
    kind = bytes((_ECHO_REPLY[family],))
    return message.startswith(kind) and message.endswith(token)


def is_probe(packet: bytes, probe: Probe, flow: FlowTuple, token: bytes) -> bool:
    """Tell whether a raw socket received the probe itself.

    Args:
        packet: As the socket gave it.
        probe: What was sent.
        flow: With which ports.
        token: With which token.
    """
    message = _transport(packet, probe.family)
    if probe.protocol.has_ports:
        return message.startswith(_PORTS.pack(flow.source_port, flow.destination_port))
    kind = bytes((probe.message_type, probe.icmp_code))
    return message.startswith(kind) and message.endswith(token)


def keep_only(flow: FlowTuple, protocol: Protocol) -> bytes:
    """Return a filter for a raw socket that keeps the flow's packets.

    A workload may hear thousands of others a second, and the probe must not be
    the one that finds no room.
    """
    is_ipv4 = flow.source.version == Family.V4.value
    # As in `_transport`: an IPv6 socket does not see the IP header.
    word, half = (
        (Op.LOAD_WORD_BEHIND, Op.LOAD_HALF_BEHIND)
        if is_ipv4
        else (Op.LOAD_WORD, Op.LOAD_HALF)
    )
    load: Line = (word, 0, 0, 0) if protocol.has_ports else (half, 0, 0, _ID_OFFSET)
    ports = flow.source_port << 16 | flow.destination_port
    wanted = ports if protocol.has_ports else flow.icmp_id
    return encode_program(
        *([(Op.TAKE_HEADER_LENGTH, 0, 0, 0)] if is_ipv4 else []),
        load,
        (Op.JUMP_IF_EQUAL, 0, 1, wanted),
        (Op.GIVE_BACK, 0, 0, 0xFFFFFFFF),
        (Op.GIVE_BACK, 0, 0, 0),
    )


def _transport(packet: bytes, family: Family) -> bytes:
    # A raw IPv4 socket shows the IP header, whose length is its fifth to
    # eighth bit in words of four bytes; an IPv6 one does not (RFC 3542, 3).
    start = (packet[0] & 0xF) * 4 if family is Family.V4 and packet else 0
    return packet[start:]
