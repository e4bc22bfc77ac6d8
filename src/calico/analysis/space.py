"""What the coordinates of a packet are, and which packets a match admits.

The first three dimensions are the header: protocol, and two fields whose
meaning follows from it.

    TCP, UDP                     source port, destination port
    ICMP of the packet's family  type, code
    every other protocol         neither: both are 0

So each packet is one point, and a protocol without ports has no box for every
port. Two more dimensions are the addresses, source and destination, as numbers.
"""

from collections.abc import Sequence
from ipaddress import ip_address

from calico.analysis.boxes import NOTHING, Box, Region, canonical
from calico.ir.fixed import ICMP_OF
from calico.ir.match import IcmpMatch, Match
from calico.ir.packet import Packet, Place
from calico.model.rule import Protocol
from calico.netset import Address, Family, PortSet, ProtocolSet, Ranges
from calico.netset.ranges import contains

Header = tuple[int, int, int]
"""Protocol, and its two fields."""

WITH_PORTS = ProtocolSet.of(Protocol.TCP.number, Protocol.UDP.number)

_ZERO: Ranges = ((0, 0),)
_BYTE: Ranges = ((0, 255),)
_PORTS = PortSet.everything().ranges


def icmp_of(family: Family) -> ProtocolSet:
    """Return the one protocol that has an ICMP type and code in a family."""
    return ProtocolSet.of(ICMP_OF[family])


def without_fields(family: Family) -> ProtocolSet:
    """Return the protocols that have neither ports nor an ICMP header."""
    return ~(WITH_PORTS | icmp_of(family))


def every_header(family: Family) -> Region:
    """Return all headers that a packet of a family can have."""
    return canonical(
        (
            (WITH_PORTS.ranges, _PORTS, _PORTS),
            (icmp_of(family).ranges, _BYTE, _BYTE),
            (without_fields(family).ranges, _ZERO, _ZERO),
        )
    )


def headers_of(match: Match) -> Region:
    """Return the headers that a match admits, whatever the addresses.

    A field that a packet does not have counts as 0, as in `Packet`.
    """
    family = match.family
    types, codes = _icmp_fields(match.icmp)
    sources, destinations = match.source_ports.ranges, match.destination_ports.ranges
    has_no_ports = contains(sources, 0) and contains(destinations, 0)
    has_no_icmp = contains(types, 0) and contains(codes, 0)
    boxes: list[Box] = []
    if has_no_icmp:
        protocols = match.protocols & WITH_PORTS
        boxes.append((protocols.ranges, sources, destinations))
    if has_no_ports:
        protocols = match.protocols & icmp_of(family)
        boxes.append((protocols.ranges, types, codes))
    if has_no_ports and has_no_icmp:
        protocols = match.protocols & without_fields(family)
        boxes.append((protocols.ranges, _ZERO, _ZERO))
    return canonical(boxes)


def packets_between(family: Family, sources: Ranges, destinations: Ranges) -> Region:
    """Return all packets of a family with these addresses."""
    if not sources or not destinations:
        return NOTHING
    return tuple((*box, sources, destinations) for box in every_header(family))


def packet_at(
    point: Sequence[int], family: Family, enters: Place, leaves: Place
) -> Packet:
    """Return the packet of a new flow that a point stands for.

    Args:
        point: Header and addresses; what follows is not looked at.
        family: The family of the addresses.
        enters: Where it comes from.
        leaves: Where it goes.
    """
    protocol, first, second, source, destination = point[:5]
    has_ports = protocol in WITH_PORTS
    has_icmp = protocol == ICMP_OF[family]
    return Packet(
        enters=enters,
        leaves=leaves,
        source=address_at(family, source),
        destination=address_at(family, destination),
        protocol=protocol,
        source_port=first if has_ports else 0,
        destination_port=second if has_ports else 0,
        icmp_type=first if has_icmp else 0,
        icmp_code=second if has_icmp else 0,
    )


def address_at(family: Family, number: int) -> Address:
    """Return the address of a family that a number stands for."""
    return ip_address(number.to_bytes(family.n_bits // 8, "big"))


def header_of(packet: Packet) -> Header:
    """Return the header of a packet."""
    if packet.protocol in WITH_PORTS:
        return packet.protocol, packet.source_port, packet.destination_port
    if packet.protocol == ICMP_OF[packet.family]:
        return packet.protocol, packet.icmp_type, packet.icmp_code
    return packet.protocol, 0, 0


def point_of(packet: Packet) -> tuple[int, ...]:
    """Return the header and the addresses of a packet as one point."""
    return *header_of(packet), int(packet.source), int(packet.destination)


def _icmp_fields(icmp: IcmpMatch | None) -> tuple[Ranges, Ranges]:
    if icmp is None:
        return _BYTE, _BYTE
    one_type = ((icmp.icmp_type, icmp.icmp_type),)
    if icmp.icmp_code is None:
        return one_type, _BYTE
    return one_type, ((icmp.icmp_code, icmp.icmp_code),)
