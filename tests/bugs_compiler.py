"""Bugs of the compiler: what the user said is understood wrongly."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from cases import HOST
from planting import Bug, Function, first_argument, result, second_argument

from calico.compiler.profiles import ProfileSources
from calico.ir.match import AddressMatch, CompiledRule, TagSetId
from calico.ir.origin import RuleOrigin
from calico.ir.state import CompiledProfile, LocalEndpoint, NeverMatches, PackedAddress
from calico.model.endpoint import WorkloadEndpoint
from calico.model.network import EndpointToHostAction, HostSettings
from calico.model.rule import (
    Action,
    Peer,
    PortRange,
    ProfileRules,
    Protocol,
    Rule,
)
from calico.model.snapshot import Snapshot, Undecodable
from calico.netset import AddressSet, Family, PortSet, ProtocolSet, Ranges

RULE = "calico.compiler.rules:compile_rule"
ENDPOINT = "calico.compiler.local:compile_endpoint"


def swap_ports(rule: Rule) -> Rule:
    source = replace(rule.source, ports=rule.destination.ports)
    destination = replace(rule.destination, ports=rule.source.ports)
    return replace(rule, source=source, destination=destination)


def swap_tags(rule: Rule) -> Rule:
    source = replace(rule.source, tag=rule.destination.tag)
    destination = replace(rule.destination, tag=rule.source.tag)
    return replace(rule, source=source, destination=destination)


def ignore_families(original: Function) -> Function:
    """Let a network of the other family stand for no network at all."""

    def own(peer: Peer, family: Family) -> Peer:
        foreign = peer.cidr and peer.cidr.network.version != family.value
        return replace(peer, cidr=None) if foreign else peer

    def planted(rule: Rule, origin: RuleOrigin, family: Family) -> object:
        source, destination = own(rule.source, family), own(rule.destination, family)
        stripped = replace(rule, source=source, destination=destination)
        return original(stripped, origin, family)

    return planted


def match_any_icmp(original: Function) -> Function:
    own = {Family.V4: Protocol.ICMP, Family.V6: Protocol.ICMPV6}

    def planted(rule: Rule, origin: RuleOrigin, family: Family) -> object:
        if rule.protocol is not None and rule.protocol.is_icmp:
            rule = replace(rule, protocol=own[family])
        return original(rule, origin, family)

    return planted


def networks(change: Callable[[int, int], tuple[int, int]]) -> Callable[..., object]:
    """Change the ends of every network that is no single address."""

    def changed(match: AddressMatch) -> AddressMatch:
        whole = match.networks
        if whole.is_everything():
            return match
        ranges = tuple(change(a, b) if a < b else (a, b) for a, b in whole.ranges)
        return replace(match, networks=AddressSet(whole.family, ranges))

    return changed


def ports(change: Callable[[Ranges], Ranges]) -> Callable[..., object]:
    """Change the ranges of every port set that is no full one."""

    def changed(whole: PortSet) -> PortSet:
        return whole if whole.is_everything() else PortSet(change(whole.ranges))

    return changed


def confuse_protocols(found: ProtocolSet) -> ProtocolSet:
    tcp, udp = ProtocolSet.of(6), ProtocolSet.of(17)
    return udp if found == tcp else found


def forget_code(found: CompiledRule | NeverMatches) -> CompiledRule | NeverMatches:
    if isinstance(found, NeverMatches) or found.match.icmp is None:
        return found
    icmp = replace(found.match.icmp, icmp_code=None)
    return replace(found, match=replace(found.match, icmp=icmp))


def shift_type(rule: Rule) -> Rule:
    if rule.icmp_type is None:
        return rule
    return replace(rule, icmp_type=min(rule.icmp_type + 1, 254))


def keep_first_ports(rule: Rule) -> Rule:
    def first(ports: tuple[PortRange, ...] | None) -> tuple[PortRange, ...] | None:
        return ports and ports[:1]

    source = replace(rule.source, ports=first(rule.source.ports))
    destination = replace(rule.destination, ports=first(rule.destination.ports))
    return replace(rule, source=source, destination=destination)


def allow_all_denied(rule: Rule) -> Rule:
    return replace(rule, action=Action.ALLOW)


def count_from_zero(origin: RuleOrigin) -> RuleOrigin:
    return replace(origin, number=origin.number - 1)


def swap_directions(rules: ProfileRules) -> ProfileRules:
    return ProfileRules(rules.outbound, rules.inbound)


def forget_last_rule(profile: CompiledProfile) -> CompiledProfile:
    return replace(profile, rules={k: each[:-1] for k, each in profile.rules.items()})


def forget_other_hosts(snapshot: Snapshot) -> Snapshot:
    own = {k: each for k, each in snapshot.endpoints.items() if k.host == HOST}
    return replace(snapshot, endpoints=own)


def forget_inactive(snapshot: Snapshot) -> Snapshot:
    active = {
        key: each
        for key, each in snapshot.endpoints.items()
        if isinstance(each, Undecodable) or each.state.value == "active"
    }
    return replace(snapshot, endpoints=active)


TagSets = Mapping[TagSetId, frozenset[PackedAddress]]


def forget_a_member(found: TagSets) -> TagSets:
    return {key: frozenset(sorted(each)[1:]) for key, each in found.items()}


def keep_first_profile(endpoint: WorkloadEndpoint) -> WorkloadEndpoint:
    return replace(endpoint, profile_ids=endpoint.profile_ids[:1])


def count_last_place(endpoint: WorkloadEndpoint) -> WorkloadEndpoint:
    last = dict.fromkeys(reversed(endpoint.profile_ids))
    return replace(endpoint, profile_ids=tuple(reversed(last)))


def reverse_profiles(endpoint: WorkloadEndpoint) -> WorkloadEndpoint:
    return replace(endpoint, profile_ids=endpoint.profile_ids[::-1])


def empty_when(fault: str) -> Callable[..., object]:
    """Take a profile with this fault for one with no rules."""

    def changed(found: object) -> object:
        return ProfileRules() if getattr(found, "name", "") == fault else found

    return changed


def forget_broken_tags(sources: ProfileSources) -> ProfileSources:
    tags = {k: t for k, t in sources.tags.items() if not isinstance(t, Undecodable)}
    return replace(sources, tags=tags)


def activate(endpoint: LocalEndpoint) -> LocalEndpoint:
    return replace(endpoint, is_active=True)


def forget_mac(endpoint: LocalEndpoint) -> LocalEndpoint:
    return replace(endpoint, mac=None)


def keep_first_address(endpoint: LocalEndpoint) -> LocalEndpoint:
    return replace(endpoint, addresses=endpoint.addresses[:1])


Settings = tuple[HostSettings, dict[str, str]]


def keep_pinhole(found: Settings) -> Settings:
    return replace(found[0], workload_dns=True), found[1]


def ask_policy_always(found: Settings) -> Settings:
    action = EndpointToHostAction.RETURN
    return replace(found[0], endpoint_to_host=action), found[1]


BUGS = (
    Bug("source and destination ports are confused", RULE, first_argument(swap_ports)),
    Bug("source and destination tags are confused", RULE, first_argument(swap_tags)),
    Bug("a network of the other family counts for nothing", RULE, ignore_families),
    Bug("ICMP of one family matches the other's", RULE, match_any_icmp),
    Bug(
        "a network ends one address early",
        "calico.compiler.rules:_address_match",
        result(networks(lambda first, last: (first, last - 1))),
    ),
    Bug(
        "a network begins one address late",
        "calico.compiler.rules:_address_match",
        result(networks(lambda first, last: (first + 1, last))),
    ),
    Bug(
        "a range of ports ends one early",
        "calico.compiler.rules:_ports",
        result(ports(lambda all_: tuple((a, max(a, b - 1)) for a, b in all_))),
    ),
    Bug(
        "a range of ports begins one late",
        "calico.compiler.rules:_ports",
        result(ports(lambda all_: tuple((min(a + 1, b), b) for a, b in all_))),
    ),
    Bug(
        "ranges of ports are joined over their gaps",
        "calico.compiler.rules:_ports",
        result(ports(lambda all_: ((all_[0][0], all_[-1][1]),))),
    ),
    Bug(
        "only the first of several ports counts",
        RULE,
        first_argument(keep_first_ports),
    ),
    Bug(
        "TCP is taken for UDP",
        "calico.compiler.rules:_protocols",
        result(confuse_protocols),
    ),
    Bug("the ICMP code is forgotten", RULE, result(forget_code)),
    Bug("the ICMP type is one too high", RULE, first_argument(shift_type)),
    Bug("a deny is compiled as an allow", RULE, first_argument(allow_all_denied)),
    Bug("rules are counted from nought", RULE, second_argument(count_from_zero)),
    Bug(
        "inbound and outbound rules are confused",
        "calico.compiler.rules:compile_profile",
        second_argument(swap_directions),
    ),
    Bug(
        "the last rule of a profile is forgotten",
        "calico.compiler.rules:compile_profile",
        result(forget_last_rule),
    ),
    Bug(
        "tags of workloads on other hosts are forgotten",
        "calico.compiler.host:_tag_sets",
        second_argument(forget_other_hosts),
    ),
    Bug(
        "inactive workloads lose their tags",
        "calico.compiler.host:_tag_sets",
        second_argument(forget_inactive),
    ),
    Bug(
        "one member of each tag is forgotten",
        "calico.compiler.host:_tag_sets",
        result(forget_a_member),
    ),
    Bug(
        "only the first profile gives its tags",
        "calico.compiler.host:_tags_of",
        first_argument(keep_first_profile),
    ),
    Bug(
        "a repeated profile counts at its last place",
        ENDPOINT,
        first_argument(count_last_place),
    ),
    Bug(
        "profiles are asked in reverse order",
        ENDPOINT,
        first_argument(reverse_profiles),
    ),
    Bug(
        "only the first profile is asked", ENDPOINT, first_argument(keep_first_profile)
    ),
    Bug("only the first address counts", ENDPOINT, result(keep_first_address)),
    Bug("inactive endpoints are active", ENDPOINT, result(activate)),
    Bug("the MAC is not policed", ENDPOINT, result(forget_mac)),
    *(
        Bug(
            f"a profile is passed over whose fault is {fault}",
            "calico.compiler.profiles:ProfileSources.usable_rules",
            result(empty_when(fault)),
        )
        for fault in ("UNDECODABLE_RULES", "MISSING", "NO_RULES")
    ),
    Bug(
        "undecodable tags are no tags",
        "calico.compiler.profiles:assemble_stages",
        second_argument(forget_broken_tags),
    ),
    Bug(
        "WorkloadDns cannot be switched off",
        "calico.compiler.settings:compile_settings",
        result(keep_pinhole),
    ),
    Bug(
        "DefaultEndpointToHostAction DROP lets policy decide",
        "calico.compiler.settings:compile_settings",
        result(ask_policy_always),
    ),
)
