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

from dataclasses import dataclass
from typing import assert_never

from calico.ir.drop_name import DropName, OfInterface
from calico.ir.fixed import ICMP_OF, host_pinholes, source_exceptions
from calico.ir.origin import Fixed, FixedOrigin
from calico.model.network import EndpointToHostAction, HostSettings
from calico.model.rule import Direction
from calico.netset import Family
from calico.render.drops import LIMITS, render_log, with_log
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
    DROP,
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
    *LIMITS.values(),
)

INACTIVE_CHAINS = {
    Direction.OUTBOUND: "inactive-out",
    Direction.INBOUND: "inactive-in",
}
"""Where the elements of inactive endpoints lead, which name and count them."""

# The kernel's NFPROTO_IPV4 and NFPROTO_IPV6.
_NFPROTO = {Family.V4: b"\x02", Family.V6: b"\x0a"}


@dataclass(frozen=True, slots=True)
class Nobody:
    """Why a packet is denied that belongs to no endpoint that we know.

    Attributes:
        sends: Its interface is unknown.
        may_send: Its interface is known, but not with this address.
        receives: Nobody has this interface and address.
    """

    sends: Fixed
    may_send: Fixed
    receives: Fixed


NOBODY = Nobody(Fixed.UNKNOWN_INTERFACE, Fixed.NO_OUTBOUND, Fixed.NO_INBOUND)
NOT_YET = Nobody(*(Fixed.NOT_YET_PROGRAMMED,) * 3)
"""Before policy has been programmed there are no endpoints to know."""


def render_base(settings: HostSettings, nobody: Nobody = NOBODY) -> Ruleset:
    """Print everything that does not depend on policy, with empty maps."""
    drops = _Drops(settings, nobody)
    chains = [
        *_base_chains(settings),
        *_source_check_chains(drops),
        *_judging_chains(drops),
        *_inactive_chains(drops),
    ]
    chains.append(Chain("to-host", _to_host_rules(drops)))
    return Ruleset(
        chains={chain.name: chain for chain in chains},
        sets={spec.name: spec for spec in BASE_SETS},
    )


def is_family(family: Family) -> Compare:
    """Say that the packet is of this family, as an inet chain must."""
    return Compare(Field.NFPROTO, _NFPROTO[family])


@dataclass(frozen=True, slots=True)
class _Drops:
    """How drops are printed on a host."""

    settings: HostSettings
    nobody: Nobody

    def render(
        self, direction: Direction, place: Fixed, *conditions: Statement
    ) -> tuple[NftRule, ...]:
        origin = FixedOrigin(place)
        drop = render_drop(origin, *conditions)
        name = DropName(direction, origin)
        return with_log(drop, name, is_logged=self.settings.drop_log)

    def render_log(self, name: DropName, *conditions: Statement) -> tuple[NftRule, ...]:
        return (render_log(name, *conditions),) if self.settings.drop_log else ()


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


def _source_check_chains(drops: _Drops) -> list[Chain]:
    spoofed = DropName(Direction.OUTBOUND, OfInterface.SOURCE_CHECK)
    rules = (
        # Elements that drop at once need no chain, which the kernel would have
        # to check once for each endpoint.
        *drops.render_log(spoofed, InSet(INTERFACES.key, INTERFACES.name)),
        NftRule((LookUpVerdict((Field.IIFNAME,), SOURCE_DROPS.name),)),
        *drops.render(Direction.OUTBOUND, drops.nobody.sends),
    )
    return [
        Chain("check-source", (*_by_family("check-source"), *rules)),
        *(_source_check_of(family, rules) for family in Family),
    ]


def _inactive_chains(drops: _Drops) -> list[Chain]:
    return [
        Chain(
            name,
            (
                *drops.render_log(DropName(direction, OfInterface.INACTIVE)),
                # The element that leads here has counted the packet.
                NftRule((DROP,)),
            ),
        )
        for direction, name in INACTIVE_CHAINS.items()
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


def _judging_chains(drops: _Drops) -> list[Chain]:
    inactive = NftRule((LookUpVerdict((Field.OIFNAME,), INACTIVE.name),))
    outbound, inbound = Direction.OUTBOUND, Direction.INBOUND
    of_sender = (*_known_flow_rules(drops, outbound), *_by_family("outbound"))
    of_receiver = (*_known_flow_rules(drops, inbound), *_by_family("inbound"))
    chains = [
        Chain("from-workload", of_sender),
        Chain("to-workload", (inactive, *of_receiver)),
    ]
    for direction, dispatch, nobody in (
        (outbound, OUTBOUND, drops.nobody.may_send),
        (inbound, INBOUND, drops.nobody.receives),
    ):
        for family, spec in dispatch.items():
            look_up = NftRule((LookUpVerdict(spec.key, spec.name),))
            rules = (look_up, *drops.render(direction, nobody))
            chains.append(Chain(f"{direction.value}{family.value}", rules))
    return chains


def _known_flow_rules(drops: _Drops, direction: Direction) -> tuple[NftRule, ...]:
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
        rule
        for family in Family
        for rule in drops.render(
            direction,
            Fixed.INVALID,
            CtStateIs(CtState.INVALID),
            *is_icmp(family, is_negated=True),
        )
    )
    return (established, *related, *invalid)


def _to_host_rules(drops: _Drops) -> tuple[NftRule, ...]:
    pinholes = tuple(
        render_rule(rule, is_family(family))
        for family in Family
        for rule in host_pinholes(drops.settings, family)
    )
    known = _known_flow_rules(drops, Direction.OUTBOUND)
    return (*known, *pinholes, *_beyond_pinholes(drops))


def _beyond_pinholes(drops: _Drops) -> tuple[NftRule, ...]:
    match drops.settings.endpoint_to_host:
        case EndpointToHostAction.DROP:
            return drops.render(Direction.OUTBOUND, Fixed.ENDPOINT_TO_HOST)
        case EndpointToHostAction.RETURN | EndpointToHostAction.ACCEPT:
            return _by_family("outbound")
        case _:
            assert_never(drops.settings.endpoint_to_host)
