"""Print compiled rules as nftables rules.

Cheap tests come first and the set lookup last: on a rule that does not match,
a port comparison costs half of what a set lookup does.
"""

from calico.ir.match import AddressMatch, CompiledRule, Match, TagSetId
from calico.ir.origin import Origin
from calico.model.rule import Action
from calico.netset import AddressSet, Family, ProtocolSet
from calico.render.objects import (
    Compare,
    Count,
    Field,
    InRanges,
    InSet,
    NftRule,
    Statement,
    Verdict,
    VerdictKind,
)

ACCEPT = Verdict(VerdictKind.ACCEPT)
DROP = Verdict(VerdictKind.DROP)

SOURCE_FIELD = {Family.V4: Field.IP4_SOURCE, Family.V6: Field.IP6_SOURCE}
DESTINATION_FIELD = {
    Family.V4: Field.IP4_DESTINATION,
    Family.V6: Field.IP6_DESTINATION,
}


def tag_set_name(key: TagSetId) -> str:
    """Name the set that holds a tag's addresses of one family."""
    return f"tag{key.family.value}-{key.tag}"


def render_rule(rule: CompiledRule, *guards: Statement) -> NftRule:
    """Print one rule.

    Args:
        rule: For a chain that only sees packets of its family.
        guards: Conditions that the place adds in front.
    """
    verdict = ACCEPT if rule.action is Action.ALLOW else DROP
    statements = (*guards, *_render_match(rule.match), Count(), verdict)
    return NftRule(statements, rule.origin.text)


def render_drop(origin: Origin, *conditions: Statement) -> NftRule:
    """Print a drop that is not a user's rule, counted and named."""
    return NftRule((*conditions, Count(), DROP), origin.text)


def _render_match(match: Match) -> tuple[Statement, ...]:
    source, destination = SOURCE_FIELD[match.family], DESTINATION_FIELD[match.family]
    statements = [*_render_protocols(match.protocols)]
    for look_at, ports in (
        (Field.DESTINATION_PORT, match.destination_ports),
        (Field.SOURCE_PORT, match.source_ports),
    ):
        if not ports.is_everything():
            statements.append(InRanges(look_at, ports.ranges))
    if match.icmp is not None:
        statements.append(Compare(Field.ICMP_TYPE, bytes((match.icmp.icmp_type,))))
        if match.icmp.icmp_code is not None:
            statements.append(Compare(Field.ICMP_CODE, bytes((match.icmp.icmp_code,))))
    statements.extend(_render_networks(source, match.source.networks))
    statements.extend(_render_networks(destination, match.destination.networks))
    statements.extend(_render_tag_set(source, match.source))
    statements.extend(_render_tag_set(destination, match.destination))
    return tuple(statements)


def _render_protocols(protocols: ProtocolSet) -> tuple[Statement, ...]:
    if protocols.is_everything():
        return ()
    first, last = protocols.ranges[0]
    if len(protocols.ranges) == 1 and first == last:
        return (Compare(Field.L4PROTO, bytes((first,))),)
    return (InRanges(Field.L4PROTO, protocols.ranges),)


def _render_networks(look_at: Field, networks: AddressSet) -> tuple[Statement, ...]:
    if networks.is_everything():
        return ()
    cover = networks.networks()
    if len(cover) != 1:
        return (InRanges(look_at, networks.ranges),)
    network = cover[0]
    value = network.network_address.packed
    if network.prefixlen == network.max_prefixlen:
        return (Compare(look_at, value),)
    return (Compare(look_at, value, network.netmask.packed),)


def _render_tag_set(look_at: Field, match: AddressMatch) -> tuple[Statement, ...]:
    if match.tag_set is None:
        return ()
    return (InSet((look_at,), tag_set_name(match.tag_set)),)
