from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from calico.ir.match import (
    AddressMatch,
    CompiledRule,
    IcmpMatch,
    Match,
    TagSetId,
)
from calico.ir.origin import Fixed, FixedOrigin
from calico.ir.packet import Elsewhere, Packet
from calico.ir.state import NeverMatches
from calico.model.names import TagName
from calico.model.rule import Action
from calico.netset import AddressSet, Family, PortSet, ProtocolSet
from calico.verdict.miss import explain_miss, find_miss
from calico.verdict.trace import Miss, Trial

ORIGIN = FixedOrigin(Fixed.HOST_DNS)
RED, BLUE = (TagSetId(TagName(name), Family.V4) for name in ("red", "blue"))
SOURCE, DESTINATION = ip_address("10.0.0.1"), ip_address("10.1.0.1")
TAG_SETS = {RED: {SOURCE.packed}, BLUE: {DESTINATION.packed}}
UDP = Packet(
    Elsewhere.OUTSIDE,
    Elsewhere.OUTSIDE,
    SOURCE,
    DESTINATION,
    17,
    source_port=5000,
    destination_port=53,
)
PING = replace(UDP, protocol=1, source_port=0, destination_port=0, icmp_type=8)
ANYWHERE = AddressMatch(AddressSet.everything(Family.V4))
ANYTHING = Match(
    family=Family.V4,
    protocols=ProtocolSet.everything(),
    source=ANYWHERE,
    destination=ANYWHERE,
    source_ports=PortSet.everything(),
    destination_ports=PortSet.everything(),
)


def within(text: str, tag_set: TagSetId | None = None) -> AddressMatch:
    return AddressMatch(AddressSet.of(Family.V4, [ip_network(text)]), tag_set)


ALL_PARTS = Match(
    family=Family.V4,
    protocols=ProtocolSet.of(6, 17),
    source=within("10.0.0.0/24", RED),
    destination=within("10.1.0.0/24", BLUE),
    source_ports=PortSet(((5000, 5001),)),
    destination_ports=PortSet.of(53, 80),
)


@pytest.mark.parametrize(
    ("match", "packet"),
    [
        (ANYTHING, UDP),
        (ALL_PARTS, UDP),
        (replace(ANYTHING, icmp=IcmpMatch(8)), PING),
        (replace(ANYTHING, icmp=IcmpMatch(8, 0)), PING),
    ],
)
def test_packet_with_every_part_matches(match: Match, packet: Packet) -> None:
    assert find_miss(match, packet, TAG_SETS) is None
    trial = Trial(CompiledRule(match, Action.ALLOW, ORIGIN), None)
    assert explain_miss(trial, packet) == ""


@pytest.mark.parametrize(
    ("match", "packet", "miss", "words"),
    [
        (
            ALL_PARTS,
            replace(UDP, source=ip_address("fd00::1")),
            Miss.FAMILY,
            "IPv6 is not IPv4",
        ),
        (ALL_PARTS, PING, Miss.PROTOCOL, "protocol is not tcp or udp"),
        (
            replace(ANYTHING, protocols=ProtocolSet.of(132)),
            UDP,
            Miss.PROTOCOL,
            "protocol is not 132",
        ),
        (
            ALL_PARTS,
            replace(UDP, destination_port=54),
            Miss.DESTINATION_PORT,
            "destination port 54 is not 53 or 80",
        ),
        (
            ALL_PARTS,
            replace(UDP, source_port=4999),
            Miss.SOURCE_PORT,
            "source port 4999 is not 5000:5001",
        ),
        (
            replace(ANYTHING, icmp=IcmpMatch(0)),
            PING,
            Miss.ICMP_TYPE,
            "ICMP type 8 is not 0",
        ),
        (
            replace(ANYTHING, icmp=IcmpMatch(8, 1)),
            PING,
            Miss.ICMP_CODE,
            "ICMP code 0 is not 1",
        ),
        (
            ALL_PARTS,
            replace(UDP, source=ip_address("10.0.1.0")),
            Miss.SOURCE_NETWORK,
            "source 10.0.1.0 is not in 10.0.0.0/24",
        ),
        (
            ALL_PARTS,
            replace(UDP, destination=ip_address("10.0.255.255")),
            Miss.DESTINATION_NETWORK,
            "destination 10.0.255.255 is not in 10.1.0.0/24",
        ),
        (
            ALL_PARTS,
            replace(UDP, source=ip_address("10.0.0.2")),
            Miss.SOURCE_TAG,
            "source is not in tag red",
        ),
        (
            ALL_PARTS,
            replace(UDP, destination=ip_address("10.1.0.2")),
            Miss.DESTINATION_TAG,
            "destination is not in tag blue",
        ),
    ],
)
def test_first_part_that_misses_is_named(
    match: Match, packet: Packet, miss: Miss, words: str
) -> None:
    assert find_miss(match, packet, TAG_SETS) is miss
    rule = CompiledRule(match, Action.DENY, ORIGIN)
    assert explain_miss(Trial(rule, miss), packet) == words


def test_absent_tag_set_is_empty() -> None:
    assert find_miss(ALL_PARTS, UDP, {}) is Miss.SOURCE_TAG


def test_rule_left_out_of_a_family_gives_its_own_reason() -> None:
    never = NeverMatches(ORIGIN, Family.V4, "no IPv4 packet is icmpv6")
    assert explain_miss(Trial(never, Miss.FAMILY), UDP) == never.reason
