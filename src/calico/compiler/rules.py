"""Compile one rule for one address family, and all rules of a profile.

Whatever can be decided without a packet is decided here: both ways of writing
a port become one set, a network of the other family and ICMP of the other
family become "never matches", with the reason in the user's words.
"""

from calico.ir.fixed import ICMP_OF
from calico.ir.match import AddressMatch, CompiledRule, IcmpMatch, Match, TagSetId
from calico.ir.origin import Origin, RuleOrigin
from calico.ir.state import CompiledProfile, NeverMatches
from calico.model.names import ProfileId
from calico.model.rule import Direction, Peer, PortRange, ProfileRules, Protocol, Rule
from calico.netset import AddressSet, Family, PortSet, ProtocolSet

# Made once: most rules restrict one thing and leave the others as they are.
_EVERY_PORT = PortSet.everything()
_EVERY_PROTOCOL = ProtocolSet.everything()
_EVERYWHERE = {family: AddressSet.everything(family) for family in Family}
_WITH_PORTS = ProtocolSet.of(Protocol.TCP.number, Protocol.UDP.number)


def compile_profile(
    profile: ProfileId, rules: ProfileRules, *, logs_drops: bool = False
) -> CompiledProfile:
    """Compile both directions of a profile for both families."""
    compiled: dict[tuple[Direction, Family], tuple[CompiledRule, ...]] = {}
    never: list[NeverMatches] = []
    for direction in Direction:
        for family in Family:
            kept: list[CompiledRule] = []
            for number, rule in enumerate(rules.of(direction), start=1):
                origin = RuleOrigin(profile, direction, number)
                one = compile_rule(rule, origin, family)
                if isinstance(one, CompiledRule):
                    kept.append(one)
                else:
                    never.append(one)
            compiled[direction, family] = tuple(kept)
    return CompiledProfile(profile, compiled, tuple(never), logs_drops)


def compile_rule(
    rule: Rule, origin: Origin, family: Family
) -> CompiledRule | NeverMatches:
    """Compile one user rule for one address family.

    A rule that names no network and no ICMP applies to both families; one with
    an IPv4 network matches nothing in IPv6.

    Args:
        rule: A validated rule.
        origin: What the compiled rule is known by.
        family: The family to compile for.

    Returns:
        The compiled rule, or why it can match nothing in this family.

    Source:
        calico-containers, docs/etcdStructure.md, "JSON rules configuration".
    """
    reason = _why_never(rule, family)
    protocols = _protocols(rule, family)
    if not reason and not protocols:
        reason = "no packet has all the fields that it names"
    if reason:
        return NeverMatches(origin, family, reason)
    match = Match(
        family=family,
        protocols=protocols,
        source=_address_match(rule.source, family),
        destination=_address_match(rule.destination, family),
        source_ports=_ports(rule.source.ports),
        destination_ports=_ports(rule.destination.ports),
        icmp=(
            None
            if rule.icmp_type is None
            else IcmpMatch(rule.icmp_type, rule.icmp_code)
        ),
    )
    return CompiledRule(match, rule.action, origin)


def tag_sets_of(profile: CompiledProfile) -> frozenset[TagSetId]:
    """List the tag sets that a profile's rules look at."""
    return frozenset(
        side.tag_set
        for rules in profile.rules.values()
        for rule in rules
        for side in (rule.match.source, rule.match.destination)
        if side.tag_set is not None
    )


def _why_never(rule: Rule, family: Family) -> str:
    """Say why a rule cannot match in a family; empty when it may."""
    if (
        rule.protocol is not None
        and rule.protocol.is_icmp
        and rule.protocol.number != ICMP_OF[family]
    ):
        return f"no IPv{family.value} packet is {rule.protocol.value}"
    for word, peer in (("source", rule.source), ("destination", rule.destination)):
        if peer.cidr is not None and peer.cidr.network.version != family.value:
            return f"{word} {peer.cidr.text} is no IPv{family.value} network"
        if peer.ports == ():
            return f"{word} names no port"
    return ""


def _protocols(rule: Rule, family: Family) -> ProtocolSet:
    admitted = _EVERY_PROTOCOL
    if rule.protocol is not None:
        admitted = ProtocolSet.of(rule.protocol.number)
    if rule.source.ports is not None or rule.destination.ports is not None:
        admitted &= _WITH_PORTS
    if rule.icmp_type is not None:
        admitted &= ProtocolSet.of(ICMP_OF[family])
    return admitted


def _address_match(peer: Peer, family: Family) -> AddressMatch:
    return AddressMatch(
        networks=(
            _EVERYWHERE[family]
            if peer.cidr is None
            else AddressSet.of(family, (peer.cidr.network,))
        ),
        tag_set=None if peer.tag is None else TagSetId(peer.tag, family),
    )


def _ports(ports: tuple[PortRange, ...] | None) -> PortSet:
    if ports is None:
        return _EVERY_PORT
    return PortSet(tuple((each.first, each.last) for each in ports))
