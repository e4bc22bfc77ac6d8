"""The chains, sets and maps that every host has, whatever its policy is.

A packet's way through the table, with the hook and its priority:

    prerouting raw   source-check  → check-source → check-source4|6
    forward 0        forward-from  → from-workload → outbound4|6 → list → profiles
    forward 1        forward-to    → to-workload → inbound4|6 → list → profiles
    input 0          input         → to-host → outbound4|6 → list → profiles
    output 0         output
    postrouting nat  postrouting   (only with pools that are masqueraded)

Outbound and inbound are judged in two base chains, so an allow is `accept` in
both and in the input hook too, and no profile's chain refers to another place:
a kernel that checks every path of a table on each commit then has the sum of
both directions to check and not their product.
"""

from typing import assert_never

from calico.ir.fixed import ICMP_OF, host_pinholes, source_exceptions
from calico.ir.origin import Fixed, FixedOrigin
from calico.model.network import EndpointToHostAction, HostSettings
from calico.netset import Family
from calico.render.objects import (
    Chain,
    Compare,
    CtState,
    CtStateIs,
    Field,
    Hook,
    HookPoint,
    HookType,
    InSet,
    LookUpVerdict,
    NftRule,
    Ruleset,
    SetSpec,
    Statement,
    Verdict,
    VerdictKind,
)
from calico.render.rules import (
    ACCEPT,
    DESTINATION_FIELD,
    SOURCE_FIELD,
    render_drop,
    render_rule,
)

RAW_PRIORITY = -300
FILTER_PRIORITY = 0

INTERFACES = SetSpec("interfaces", (Field.IIFNAME,))
SOURCE_DROPS = SetSpec(
    "source-drops", (Field.IIFNAME,), is_verdict_map=True, has_counters=True
)
INACTIVE = SetSpec("inactive", (Field.OIFNAME,), is_verdict_map=True, has_counters=True)
SOURCES_WITH_MAC = {
    family: SetSpec(
        f"source{family.value}-mac",
        (Field.IIFNAME, Field.ETHER_SOURCE, SOURCE_FIELD[family]),
    )
    for family in Family
}
SOURCES = {
    family: SetSpec(f"source{family.value}", (Field.IIFNAME, SOURCE_FIELD[family]))
    for family in Family
}
OUTBOUND = {
    family: SetSpec(
        f"outbound{family.value}-dispatch",
        (Field.IIFNAME, SOURCE_FIELD[family]),
        is_verdict_map=True,
    )
    for family in Family
}
INBOUND = {
    family: SetSpec(
        f"inbound{family.value}-dispatch",
        (Field.OIFNAME, DESTINATION_FIELD[family]),
        is_verdict_map=True,
    )
    for family in Family
}
BASE_SETS = (
    INTERFACES,
    SOURCE_DROPS,
    INACTIVE,
    *SOURCES_WITH_MAC.values(),
    *SOURCES.values(),
    *OUTBOUND.values(),
    *INBOUND.values(),
)

# The kernel's NFPROTO_IPV4 and NFPROTO_IPV6.
_NFPROTO = {Family.V4: b"\x02", Family.V6: b"\x0a"}


def render_base(settings: HostSettings) -> Ruleset:
    """Print everything that does not depend on policy, with empty maps."""
    chains = [*_base_chains(settings), *_source_check_chains(), *_judging_chains()]
    chains.append(Chain("to-host", _to_host_rules(settings)))
    return Ruleset(
        chains={chain.name: chain for chain in chains},
        sets={spec.name: spec for spec in BASE_SETS},
    )


def is_family(family: Family) -> Compare:
    """Say that the packet is of this family, as an inet chain must."""
    return Compare(Field.NFPROTO, _NFPROTO[family])


def _base_chains(settings: HostSettings) -> list[Chain]:
    output = NftRule((LookUpVerdict((Field.OIFNAME,), INACTIVE.name),))
    return [
        _entry(
            "source-check",
            _filter(HookPoint.PREROUTING, RAW_PRIORITY),
            _workloads(settings, Field.IIFNAME, "check-source"),
        ),
        _entry(
            "forward-from",
            _filter(HookPoint.FORWARD, FILTER_PRIORITY),
            _workloads(settings, Field.IIFNAME, "from-workload"),
        ),
        _entry(
            "forward-to",
            _filter(HookPoint.FORWARD, FILTER_PRIORITY + 1),
            _workloads(settings, Field.OIFNAME, "to-workload"),
        ),
        _entry(
            "input",
            _filter(HookPoint.INPUT, FILTER_PRIORITY),
            _workloads(settings, Field.IIFNAME, "to-host"),
        ),
        _entry("output", _filter(HookPoint.OUTPUT, FILTER_PRIORITY), (output,)),
    ]


def _entry(name: str, hook: Hook, rules: tuple[NftRule, ...]) -> Chain:
    return Chain(name, rules, hook)


def _filter(point: HookPoint, priority: int) -> Hook:
    return Hook(HookType.FILTER, point, priority)


def _workloads(
    settings: HostSettings, look_at: Field, chain: str
) -> tuple[NftRule, ...]:
    return tuple(
        NftRule((Compare(look_at, prefix.encode()), _goto(chain)))
        for prefix in settings.interface_prefixes
    )


def _goto(chain: str) -> Verdict:
    return Verdict(VerdictKind.GOTO, chain)


def _by_family(stem: str) -> tuple[NftRule, ...]:
    return tuple(
        NftRule((is_family(family), _goto(f"{stem}{family.value}")))
        for family in Family
    )


def _source_check_chains() -> list[Chain]:
    drops = (
        NftRule((LookUpVerdict((Field.IIFNAME,), SOURCE_DROPS.name),)),
        render_drop(FixedOrigin(Fixed.UNKNOWN_INTERFACE)),
    )
    return [
        Chain("check-source", (*_by_family("check-source"), *drops)),
        *(_source_check_of(family, drops) for family in Family),
    ]


def _source_check_of(family: Family, drops: tuple[NftRule, ...]) -> Chain:
    known = SOURCES_WITH_MAC[family], SOURCES[family]
    active = InSet((Field.IIFNAME,), INTERFACES.name)
    return Chain(
        f"check-source{family.value}",
        (
            *(NftRule((InSet(spec.key, spec.name), ACCEPT)) for spec in known),
            *(render_rule(rule, active) for rule in source_exceptions(family)),
            *drops,
        ),
    )


def _judging_chains() -> list[Chain]:
    inactive = NftRule((LookUpVerdict((Field.OIFNAME,), INACTIVE.name),))
    chains = [
        Chain("from-workload", (*_known_flow_rules(), *_by_family("outbound"))),
        Chain("to-workload", (inactive, *_known_flow_rules(), *_by_family("inbound"))),
    ]
    for stem, dispatch, nobody in (
        ("outbound", OUTBOUND, Fixed.NO_OUTBOUND),
        ("inbound", INBOUND, Fixed.NO_INBOUND),
    ):
        for family, spec in dispatch.items():
            look_up = NftRule((LookUpVerdict(spec.key, spec.name),))
            drop = render_drop(FixedOrigin(nobody))
            chains.append(Chain(f"{stem}{family.value}", (look_up, drop)))
    return chains


def _known_flow_rules() -> tuple[NftRule, ...]:
    def is_icmp(family: Family, *, is_negated: bool = False) -> tuple[Statement, ...]:
        protocol = bytes((ICMP_OF[family],))
        compare = Compare(Field.L4PROTO, protocol, is_negated=is_negated)
        return (is_family(family), compare)

    established = NftRule(
        (CtStateIs(CtState.ESTABLISHED), ACCEPT), FixedOrigin(Fixed.ESTABLISHED).text
    )
    related = tuple(
        NftRule(
            (CtStateIs(CtState.RELATED), *is_icmp(family), ACCEPT),
            FixedOrigin(Fixed.RELATED).text,
        )
        for family in Family
    )
    invalid = tuple(
        render_drop(
            FixedOrigin(Fixed.INVALID),
            CtStateIs(CtState.INVALID),
            *is_icmp(family, is_negated=True),
        )
        for family in Family
    )
    return (established, *related, *invalid)


def _to_host_rules(settings: HostSettings) -> tuple[NftRule, ...]:
    pinholes = tuple(
        render_rule(rule, is_family(family))
        for family in Family
        for rule in host_pinholes(settings, family)
    )
    return (*_known_flow_rules(), *pinholes, *_beyond_pinholes(settings))


def _beyond_pinholes(settings: HostSettings) -> tuple[NftRule, ...]:
    match settings.endpoint_to_host:
        case EndpointToHostAction.DROP:
            return (render_drop(FixedOrigin(Fixed.ENDPOINT_TO_HOST)),)
        case EndpointToHostAction.RETURN | EndpointToHostAction.ACCEPT:
            return _by_family("outbound")
        case _:
            assert_never(settings.endpoint_to_host)
