from ipaddress import ip_network

import pytest

from calico.ir.match import AddressMatch, CompiledRule, IcmpMatch, Match, TagSetId
from calico.ir.origin import Fixed, FixedOrigin, RuleOrigin
from calico.model.names import ProfileId, TagName
from calico.model.rule import Action, Direction
from calico.netset import AddressSet, Family, PortSet, ProtocolSet
from calico.render.objects import (
    Compare,
    Count,
    CtState,
    CtStateIs,
    Field,
    InRanges,
    InSet,
    NftRule,
    Statement,
)
from calico.render.rules import ACCEPT, DROP, render_drop, render_rule, tag_set_name

ORIGIN = RuleOrigin(ProfileId("WEB"), Direction.INBOUND, 3)
TEXT = "profile WEB inbound rule 3"


def match(
    family: Family = Family.V4,
    *,
    protocols: ProtocolSet | None = None,
    source: str | None = None,
    source_tag: str | None = None,
    destination_ports: PortSet | None = None,
    source_ports: PortSet | None = None,
    icmp: IcmpMatch | None = None,
) -> Match:
    networks = (
        AddressSet.everything(family)
        if source is None
        else AddressSet.of(family, [ip_network(n) for n in source.split()])
    )
    tag_set = None if source_tag is None else TagSetId(TagName(source_tag), family)
    return Match(
        family=family,
        protocols=protocols or ProtocolSet.everything(),
        source=AddressMatch(networks, tag_set),
        destination=AddressMatch(AddressSet.everything(family)),
        source_ports=source_ports or PortSet.everything(),
        destination_ports=destination_ports or PortSet.everything(),
        icmp=icmp,
    )


@pytest.mark.parametrize(
    ("matched", "statements"),
    [
        (match(), ()),
        (match(protocols=ProtocolSet.of(6)), (Compare(Field.L4PROTO, b"\x06"),)),
        (
            match(protocols=ProtocolSet.of(6, 17)),
            (InRanges(Field.L4PROTO, ((6, 6), (17, 17))),),
        ),
        (
            match(source="10.0.0.1/32"),
            (Compare(Field.IP4_SOURCE, bytes((10, 0, 0, 1))),),
        ),
        (
            match(source="10.1.0.0/16"),
            (Compare(Field.IP4_SOURCE, b"\x0a\x01\0\0", b"\xff\xff\0\0"),),
        ),
        (
            match(source="10.0.0.0/32 10.0.0.2/32"),
            (
                InRanges(
                    Field.IP4_SOURCE,
                    ((0x0A000000, 0x0A000000), (0x0A000002, 0x0A000002)),
                ),
            ),
        ),
        (
            match(Family.V6, source="2001:db8::/32"),
            (
                Compare(
                    Field.IP6_SOURCE,
                    bytes.fromhex("20010db8") + bytes(12),
                    b"\xff\xff\xff\xff" + bytes(12),
                ),
            ),
        ),
        (
            match(protocols=ProtocolSet.of(1), icmp=IcmpMatch(8)),
            (Compare(Field.L4PROTO, b"\x01"), Compare(Field.ICMP_TYPE, b"\x08")),
        ),
        (
            match(protocols=ProtocolSet.of(1), icmp=IcmpMatch(3, 4)),
            (
                Compare(Field.L4PROTO, b"\x01"),
                Compare(Field.ICMP_TYPE, b"\x03"),
                Compare(Field.ICMP_CODE, b"\x04"),
            ),
        ),
    ],
)
def test_match_prints_as_statements(
    matched: Match, statements: tuple[Statement, ...]
) -> None:
    rule = CompiledRule(matched, Action.ALLOW, ORIGIN)
    assert render_rule(rule) == NftRule((*statements, Count(), ACCEPT), TEXT)


def test_ports_come_before_networks_and_the_set_lookup_comes_last() -> None:
    rule = CompiledRule(
        match(
            protocols=ProtocolSet.of(6),
            source="10.0.0.1/32",
            source_tag="OPS",
            destination_ports=PortSet.of(80),
            source_ports=PortSet.of(1024),
        ),
        Action.DENY,
        ORIGIN,
    )
    assert render_rule(rule).statements == (
        Compare(Field.L4PROTO, b"\x06"),
        InRanges(Field.DESTINATION_PORT, ((80, 80),)),
        InRanges(Field.SOURCE_PORT, ((1024, 1024),)),
        Compare(Field.IP4_SOURCE, bytes((10, 0, 0, 1))),
        InSet((Field.IP4_SOURCE,), "tag4-OPS"),
        Count(),
        DROP,
    )


def test_guards_of_the_place_come_first() -> None:
    guard = CtStateIs(CtState.NEW)
    rule = render_rule(CompiledRule(match(), Action.ALLOW, ORIGIN), guard)
    assert rule.statements == (guard, Count(), ACCEPT)


def test_drop_is_counted_and_named() -> None:
    origin = FixedOrigin(Fixed.INVALID)
    condition = CtStateIs(CtState.INVALID)
    assert render_drop(origin, condition) == NftRule(
        (condition, Count(), DROP), "connection state invalid"
    )


def test_tag_sets_of_two_families_have_two_names() -> None:
    names = {tag_set_name(TagSetId(TagName("A"), family)) for family in Family}
    assert names == {"tag4-A", "tag6-A"}
