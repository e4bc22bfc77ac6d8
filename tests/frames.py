"""Ethernet frames from packets, with right checksums, and back to their marker."""

import struct
from ipaddress import IPv4Address

from calico.ir.packet import Packet

_MAGIC = b"\xc4\x11\x0f\x5a\x93\xb7"
MARKER_BYTES = 12
_TCP, _UDP, _ICMP, _ICMPV6 = 6, 17, 1, 58
_SYN, _SYN_ACK = 0x02, 0x12


def marker(number: int) -> bytes:
    """Bytes that tell one packet from all others."""
    return _MAGIC + number.to_bytes(MARKER_BYTES - len(_MAGIC), "big")


def frame(packet: Packet, destination_mac: bytes, mark: bytes) -> bytes:
    """Build the frame that carries `packet` with `mark` as its payload."""
    return ethernet_header(packet, destination_mac) + datagram(packet, mark)


def ethernet_header(packet: Packet, destination_mac: bytes) -> bytes:
    """Build what precedes the IP packet in its frame."""
    kind = b"\x08\x00" if packet.source.version == 4 else b"\x86\xdd"
    return destination_mac + packet.source_mac + kind


def datagram(
    packet: Packet, mark: bytes, *, is_reply: bool = False, about: bytes = b""
) -> bytes:
    """Build the IP packet alone.

    Args:
        packet: What its headers say.
        mark: Its payload.
        is_reply: A TCP segment answers another one.
        about: Of an ICMP error, the beginning of the packet that it is about.
    """
    body = _body(packet, about + mark, is_reply=is_reply)
    if packet.source.version == 4:
        header = struct.pack(
            ">BBHHHBBH4s4s",
            0x45,
            0,
            20 + len(body),
            int.from_bytes(mark[-2:], "big"),
            0,
            64,
            packet.protocol,
            0,
            packet.source.packed,
            packet.destination.packed,
        )
        total = struct.pack(">H", _checksum(header))
        return header[:10] + total + header[12:] + body
    return (
        struct.pack(">IHBB", 6 << 28, len(body), packet.protocol, 64)
        + packet.source.packed
        + packet.destination.packed
        + body
    )


def beginning(packet: Packet) -> bytes:
    """Return as much of a packet as an ICMP error about it repeats at least."""
    n_header = 20 if packet.source.version == 4 else 40
    # The length and the checksums are those of the whole packet.
    return datagram(packet, bytes(MARKER_BYTES))[: n_header + 8]


def find_marker(data: bytes) -> bytes | None:
    """Return the first marker in what was received, if there is one."""
    at = data.find(_MAGIC)
    found = data[at : at + MARKER_BYTES]
    return found if at >= 0 and len(found) == MARKER_BYTES else None


def _body(packet: Packet, mark: bytes, *, is_reply: bool) -> bytes:
    match packet.protocol:
        case 6:
            acknowledged, flags = (2, _SYN_ACK) if is_reply else (0, _SYN)
            ports = packet.source_port, packet.destination_port
            numbers = 1, acknowledged
            raw = struct.pack(">HHIIBBHHH", *ports, *numbers, 5 << 4, flags, 1024, 0, 0)
            return _with_checksum(packet, raw + mark, 16)
        case 17:
            ports = packet.source_port, packet.destination_port
            raw = struct.pack(">HHHH", *ports, 8 + len(mark), 0)
            return _with_checksum(packet, raw + mark, 6)
        case 1 | 58:
            kind = packet.icmp_type, packet.icmp_code
            # What would be the port is the identifier of an echo.
            raw = struct.pack(">BBHHH", *kind, 0, packet.source_port, 1)
            return _with_checksum(packet, raw + mark, 2)
        case _:
            return bytes(8) + mark


def _with_checksum(packet: Packet, body: bytes, at: int) -> bytes:
    is_plain = packet.protocol == _ICMP
    pseudo = b"" if is_plain else _pseudo_header(packet, len(body))
    total = _checksum(pseudo + body)
    return body[:at] + struct.pack(">H", total) + body[at + 2 :]


def _pseudo_header(packet: Packet, n_bytes: int) -> bytes:
    addresses = packet.source.packed + packet.destination.packed
    if isinstance(packet.source, IPv4Address):
        return addresses + struct.pack(">BBH", 0, packet.protocol, n_bytes)
    return addresses + struct.pack(">IHBB", n_bytes, 0, 0, packet.protocol)


def _checksum(data: bytes) -> int:
    padded = data + b"\0" if len(data) % 2 else data
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
