"""Read what can be read of a packet's headers, whatever its bytes are.

The bytes come from workloads and may be cut anywhere. Nothing here raises on
what they hold: what is missing, or makes no sense, is left out, and so is all
that would come after it.

Source: RFC 791, RFC 8200 and RFC 4302 for the lengths of extension headers.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from calico.netset import Address

_IP4_BYTES, _IP6_BYTES = 20, 40
_TCP, _UDP = 6, 17
_DCCP, _SCTP, _UDPLITE = 33, 132, 136
_WITH_PORTS = frozenset({_TCP, _UDP, _DCCP, _SCTP, _UDPLITE})
_IP4, _IP6 = 4, 6
_ICMP_OF = {_IP4: 1, _IP6: 58}
_FRAGMENT, _AUTHENTICATION = 44, 51
# Hop-by-hop, routing, destination, mobility, host identity, shim6.
_IN_EIGHTS = frozenset({0, 43, 60, 135, 139, 140})
_OFFSET_MASK = 0x1FFF
_PORTS = struct.Struct(">HH")
_ICMP = struct.Struct(">BB")

_Size = Callable[[int], int]
_EXTENSIONS: Mapping[int, _Size] = {
    **dict.fromkeys(_IN_EIGHTS, lambda field: 8 * field + 8),
    _FRAGMENT: lambda _: 8,
    _AUTHENTICATION: lambda field: 4 * field + 8,
}


@dataclass(frozen=True, slots=True)
class PacketHeaders:
    """What a packet says of itself; what cannot be read is absent.

    Attributes:
        source: Its sender.
        destination: Its receiver.
        protocol: The number, behind all extension headers.
        source_port: Of protocols that have ports.
        destination_port: Likewise.
        icmp_type: Of ICMP in IPv4 and ICMPv6 in IPv6.
        icmp_code: Likewise.
    """

    source: Address | None = None
    destination: Address | None = None
    protocol: int | None = None
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None


def decode_headers(packet: bytes) -> PacketHeaders:
    """Read the headers of a packet that begins with that of IP."""
    version = packet[0] >> 4 if packet else 0
    if version == _IP4 and len(packet) >= _IP4_BYTES:
        return _decode_v4(packet)
    if version == _IP6 and len(packet) >= _IP6_BYTES:
        return _decode_v6(packet)
    return PacketHeaders()


def _decode_v4(packet: bytes) -> PacketHeaders:
    source, destination = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    size = 4 * (packet[0] & 0x0F)
    offset = int.from_bytes(packet[6:8], "big") & _OFFSET_MASK
    # A later fragment begins with no header, one that is too short with ours.
    body = b"" if offset or size < _IP4_BYTES else packet[size:]
    return _with_body(PacketHeaders(source, destination, packet[9]), body, version=_IP4)


def _decode_v6(packet: bytes) -> PacketHeaders:
    source, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    protocol, at = packet[6], _IP6_BYTES
    while size_of := _EXTENSIONS.get(protocol):
        if at + 8 > len(packet):
            return PacketHeaders(source, destination)
        is_later = (
            protocol == _FRAGMENT
            and int.from_bytes(packet[at + 2 : at + 4], "big") & ~7
        )
        protocol, at = packet[at], at + size_of(packet[at + 1])
        if is_later:
            # What follows in a later fragment is the middle of something.
            is_known = protocol not in _EXTENSIONS
            return PacketHeaders(source, destination, protocol if is_known else None)
    headers = PacketHeaders(source, destination, protocol)
    return _with_body(headers, packet[at:], version=_IP6)


def _with_body(headers: PacketHeaders, body: bytes, *, version: int) -> PacketHeaders:
    ends = headers.source, headers.destination, headers.protocol
    if headers.protocol in _WITH_PORTS and len(body) >= _PORTS.size:
        return PacketHeaders(*ends, *_PORTS.unpack_from(body))
    if headers.protocol == _ICMP_OF[version] and len(body) >= _ICMP.size:
        kind, code = _ICMP.unpack_from(body)
        return PacketHeaders(*ends, icmp_type=kind, icmp_code=code)
    return headers
