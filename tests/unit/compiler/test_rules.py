from ipaddress import ip_network

import pytest

from calico.compiler.rules import compile_profile, compile_rule, tag_sets_of
from calico.ir.match import AddressMatch, CompiledRule, IcmpMatch, Match, TagSetId
from calico.ir.origin import RuleOrigin
from calico.ir.state import NeverMatches
from calico.model.names import ProfileId, TagName
from calico.model.rule import (
    Action,
    Cidr,
    Direction,
    Peer,
    PortRange,
    ProfileRules,
    Protocol,
    Rule,
)
from calico.netset import AddressSet, Family, PortSet, ProtocolSet

V4, V6 = Family.V4, Family.V6
PROFILE, RED = ProfileId("P"), TagName("red")
ORIGIN = RuleOrigin(PROFILE, Direction.INBOUND, 1)


def cidr(text: str) -> Cidr:
    return Cidr(ip_network(text, strict=False), text)


def compiled(rule: Rule, family: Family) -> Match:
    found = compile_rule(rule, ORIGIN, family)
    assert isinstance(found, CompiledRule)
    assert (found.action, found.origin) == (rule.action, ORIGIN)
    return found.match


@pytest.mark.parametrize("family", Family)
def test_bare_rule_matches_everything_of_its_family(family: Family) -> None:
    anything = AddressMatch(AddressSet.everything(family))
    assert compiled(Rule(Action.DENY), family) == Match(
        family=family,
        protocols=ProtocolSet.everything(),
        source=anything,
        destination=anything,
        source_ports=PortSet.everything(),
        destination_ports=PortSet.everything(),
    )


def test_every_field_is_compiled() -> None:
    rule = Rule(
        Action.ALLOW,
        Protocol.TCP,
        source=Peer((PortRange(5, 9), PortRange(1, 4)), RED, cidr("10.0.0.7/24")),
        destination=Peer((PortRange(80, 80),), None, cidr("10.1.0.1")),
    )
    assert compiled(rule, V4) == Match(
        family=V4,
        protocols=ProtocolSet.of(6),
        source=AddressMatch(
            AddressSet.of(V4, [ip_network("10.0.0.0/24")]), TagSetId(RED, V4)
        ),
        destination=AddressMatch(AddressSet.of(V4, [ip_network("10.1.0.1")])),
        source_ports=PortSet(((1, 9),)),
        destination_ports=PortSet.of(80),
    )


@pytest.mark.parametrize(
    ("protocol", "family", "number"),
    [(Protocol.ICMP, V4, 1), (Protocol.ICMPV6, V6, 58)],
)
def test_icmp_is_of_its_own_family(
    protocol: Protocol, family: Family, number: int
) -> None:
    match = compiled(Rule(Action.ALLOW, protocol, 8, 0), family)
    assert match.protocols == ProtocolSet.of(number)
    assert match.icmp == IcmpMatch(8, 0)


def test_ports_without_protocol_are_those_of_tcp_and_udp() -> None:
    rule = Rule(Action.ALLOW, source=Peer((PortRange(1, 1),)))
    assert compiled(rule, V4).protocols == ProtocolSet.of(6, 17)


def test_type_without_protocol_is_that_of_the_family() -> None:
    assert compiled(Rule(Action.ALLOW, icmp_type=8), V6).protocols == ProtocolSet.of(58)


@pytest.mark.parametrize(
    ("rule", "family", "reason"),
    [
        (Rule(Action.ALLOW, Protocol.ICMP), V6, "no IPv6 packet is icmp"),
        (Rule(Action.ALLOW, Protocol.ICMPV6, 128), V4, "no IPv4 packet is icmpv6"),
        (
            Rule(Action.DENY, source=Peer(cidr=cidr("10.0.0.7/8"))),
            V6,
            "source 10.0.0.7/8 is no IPv6 network",
        ),
        (
            Rule(Action.ALLOW, destination=Peer(cidr=cidr("fd00::/64"))),
            V4,
            "destination fd00::/64 is no IPv4 network",
        ),
        (Rule(Action.ALLOW, Protocol.TCP, source=Peer(())), V4, "source names no port"),
        (
            Rule(Action.ALLOW, Protocol.ICMP, source=Peer((PortRange(1, 1),))),
            V4,
            "no packet has all the fields that it names",
        ),
    ],
)
def test_rule_that_can_match_nothing_says_why(
    rule: Rule, family: Family, reason: str
) -> None:
    assert compile_rule(rule, ORIGIN, family) == NeverMatches(ORIGIN, family, reason)


def test_profile_keeps_order_and_numbers_around_what_never_matches() -> None:
    rules = ProfileRules(
        inbound=(
            Rule(Action.ALLOW, Protocol.ICMP),
            Rule(Action.DENY, source=Peer(tag=RED)),
        ),
        outbound=(Rule(Action.ALLOW),),
    )
    profile = compile_profile(PROFILE, rules)
    assert profile.profile == PROFILE
    numbers = {
        key: [one.origin for one in those] for key, those in profile.rules.items()
    }
    inbound = [RuleOrigin(PROFILE, Direction.INBOUND, number) for number in (1, 2)]
    outbound = [RuleOrigin(PROFILE, Direction.OUTBOUND, 1)]
    assert numbers == {
        (Direction.INBOUND, V4): inbound,
        (Direction.INBOUND, V6): inbound[1:],
        (Direction.OUTBOUND, V4): outbound,
        (Direction.OUTBOUND, V6): outbound,
    }
    assert profile.never == (NeverMatches(inbound[0], V6, "no IPv6 packet is icmp"),)
    assert tag_sets_of(profile) == {TagSetId(RED, V4), TagSetId(RED, V6)}
