from dataclasses import replace
from ipaddress import ip_address

import pytest

from calico.analysis.boxes import Region, canonical, holds
from calico.analysis.space import (
    address_at,
    every_header,
    header_of,
    headers_of,
    packet_at,
    packets_between,
    point_of,
)
from calico.ir.match import AddressMatch, IcmpMatch, Match
from calico.ir.packet import Elsewhere, Packet
from calico.netset import AddressSet, Family, PortSet, ProtocolSet
from calico.verdict.miss import find_miss

PORTS, BYTE, ZERO = ((0, 65535),), ((0, 255),), ((0, 0),)
HOST, OUTSIDE = Elsewhere.OWN_HOST, Elsewhere.OUTSIDE
ENDS = (OUTSIDE, HOST, ip_address("0.0.0.1"), ip_address("0.0.0.2"))


def anything(family: Family) -> Match:
    anywhere = AddressMatch(AddressSet.everything(family))
    every_port = PortSet.everything()
    return Match(
        family, ProtocolSet.everything(), anywhere, anywhere, every_port, every_port
    )


V4 = anything(Family.V4)
TO_80 = replace(V4, protocols=ProtocolSet.of(6, 17), destination_ports=PortSet.of(80))
PING = replace(V4, protocols=ProtocolSet.of(1), icmp=IcmpMatch(8))


@pytest.mark.parametrize("family", Family)
def test_match_of_everything_admits_every_header(family: Family) -> None:
    assert headers_of(anything(family)) == every_header(family)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (TO_80, ((((6, 6), (17, 17)), PORTS, ((80, 80),)),)),
        (PING, ((((1, 1),), ((8, 8),), BYTE),)),
        (
            replace(PING, icmp=IcmpMatch(3, 1)),
            ((((1, 1),), ((3, 3),), ((1, 1),)),),
        ),
        (replace(V4, protocols=ProtocolSet.of(47)), ((((47, 47),), ZERO, ZERO),)),
        # In IPv4 the protocol of ICMPv6 is one without fields.
        (replace(V4, protocols=ProtocolSet.of(58)), ((((58, 58),), ZERO, ZERO),)),
    ],
)
def test_match_admits_headers(match: Match, expected: Region) -> None:
    assert headers_of(match) == canonical(expected)


FIELDS = (0, 1, 8, 80, 255)
MATCHES = (
    V4,
    TO_80,
    PING,
    replace(V4, destination_ports=PortSet.of(0, 80)),
    replace(V4, source_ports=PortSet.of(80)),
    replace(V4, icmp=IcmpMatch(0)),
    replace(V4, icmp=IcmpMatch(8, 1)),
)


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("protocol", [1, 6, 17, 47, 58])
def test_headers_are_those_that_find_miss_lets_through(
    match: Match, protocol: int
) -> None:
    region = headers_of(match)
    for first in FIELDS:
        for second in FIELDS:
            point = (protocol, first, second, 1, 2)
            packet = packet_at(point, Family.V4, OUTSIDE, HOST)
            assert holds(region, header_of(packet)) == (
                find_miss(match, packet, {}) is None
            )


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((6, 5, 80, 1, 2), Packet(*ENDS, 6, source_port=5, destination_port=80)),
        ((1, 8, 3, 1, 2), Packet(*ENDS, 1, icmp_type=8, icmp_code=3)),
        ((47, 0, 0, 1, 2), Packet(*ENDS, 47)),
    ],
)
def test_point_and_packet_are_the_same(
    point: tuple[int, ...], expected: Packet
) -> None:
    assert packet_at(point, Family.V4, OUTSIDE, HOST) == expected
    assert point_of(expected) == point


def test_number_is_an_address_of_the_family() -> None:
    assert address_at(Family.V4, 1) == ip_address("0.0.0.1")
    assert address_at(Family.V6, 1) == ip_address("::1")


def test_packets_between_addresses_have_every_header() -> None:
    one, other = ((1, 1),), ((2, 3),)
    found = packets_between(Family.V6, one, other)
    assert [box[3:] for box in found] == [(one, other)] * 3
    assert tuple(box[:3] for box in found) == every_header(Family.V6)
    assert packets_between(Family.V6, (), other) == ()
    assert packets_between(Family.V6, one, ()) == ()
