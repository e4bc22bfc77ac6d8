"""Print a desired state, or a delta, as a ruleset of one nftables table.

Each entity of the desired state owns chains, sets and elements that no other
entity owns, so a delta is printed by printing the changed entities before and
after; `diff_rulesets` then finds the steps.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from hashlib import sha256
from typing import TypeVar

from calico.ir.delta import Change, Delta, TagSetChange
from calico.ir.drop_name import DropName
from calico.ir.match import CompiledRule, TagSetId
from calico.ir.origin import InactiveEndpoint, Origin, SourceCheck
from calico.ir.state import (
    CompiledProfile,
    DesiredState,
    LocalEndpoint,
    PackedAddress,
    Pipeline,
    PipelineKey,
    Translation,
)
from calico.ir.tunnel import TunnelGuard
from calico.model.names import ProfileId
from calico.model.network import HostSettings
from calico.model.rule import Action, Direction
from calico.netset import Family
from calico.render.base import (
    BASE_SETS,
    INACTIVE,
    INACTIVE_CHAINS,
    INBOUND,
    INTERFACES,
    NOT_YET,
    OUTBOUND,
    SOURCE_DROPS,
    SOURCES,
    SOURCES_WITH_MAC,
    is_family,
    render_base,
)
from calico.render.drops import with_log
from calico.render.objects import (
    Chain,
    Count,
    Field,
    Hook,
    HookPoint,
    HookType,
    InSet,
    MapElement,
    Masquerade,
    NftRule,
    Ruleset,
    SetSpec,
    Verdict,
    VerdictKind,
)
from calico.render.parts import Parts
from calico.render.rules import (
    DROP,
    SOURCE_FIELD,
    render_drop,
    render_rule,
    tag_set_name,
)
from calico.render.tunnel import render_guard_of

_SOURCE_NAT_PRIORITY = 100
_WORDS = {Direction.INBOUND: "in", Direction.OUTBOUND: "out"}
_MASQUERADED = SetSpec("masqueraded", (Field.IP4_SOURCE,), is_interval=True)
_POOLS = SetSpec("pools", (Field.IP4_DESTINATION,), is_interval=True)
_N_PACKED_BYTES = {4: Family.V4, 16: Family.V6}
_N_REGISTER_BYTES = 4


def render_guard(prefixes: tuple[str, ...], *, drop_log: bool = True) -> Ruleset:
    """Print the table that lets nothing new from or to a workload pass."""
    settings = HostSettings(
        interface_prefixes=prefixes,
        workload_dns=False,
        workload_dhcp=False,
        drop_log=drop_log,
    )
    return render_base(settings, NOT_YET)


def render_state(state: DesiredState) -> Ruleset:
    """Print the whole table of one host."""
    parts = Parts()
    _put_base(parts, state.settings)
    _put_translation(parts, state.translation)
    _put_guard(parts, state.guard)
    for key, members in state.tag_sets.items():
        _put_tag_set(parts, key, members)
    for profile in state.profiles.values():
        _put_profile(parts, profile)
    for pipeline in state.pipelines.values():
        _put_pipeline(parts, pipeline)
    for endpoint in state.endpoints.values():
        _put_endpoint(parts, endpoint)
    return parts.ruleset()


def render_delta(delta: Delta) -> tuple[Ruleset, Ruleset]:
    """Print the part of the table that a delta touches, before and after."""
    both = Parts(), Parts()
    for parts in both:
        parts.add(Ruleset(sets={spec.name: spec for spec in BASE_SETS}))
    _put_tag_set_changes(both, delta.tag_sets)
    if delta.settings is not None:
        _put_change(both, delta.settings, _put_base)
    if delta.translation is not None:
        _put_change(both, delta.translation, _put_translation)
    if delta.guard is not None:
        _put_change(both, delta.guard, _put_guard)
    for profile in delta.profiles.values():
        _put_change(both, profile, _put_profile)
    for pipeline in delta.pipelines.values():
        _put_change(both, pipeline, _put_pipeline)
    for endpoint in delta.endpoints.values():
        _put_change(both, endpoint, _put_endpoint)
    before, after = both
    return before.ruleset(), after.ruleset()


_V = TypeVar("_V")


def _put_change(
    both: tuple[Parts, Parts], change: Change[_V], put: Callable[[Parts, _V], None]
) -> None:
    before, after = both
    if change.before is not None:
        put(before, change.before)
    if change.after is not None:
        put(after, change.after)


def _put_tag_set_changes(
    both: tuple[Parts, Parts], changes: Mapping[TagSetId, TagSetChange]
) -> None:
    before, after = both
    for key, change in changes.items():
        if change.existed:
            _put_tag_set(before, key, change.removed)
        if change.exists:
            _put_tag_set(after, key, change.added)


def _put_base(parts: Parts, settings: HostSettings) -> None:
    parts.add(render_base(settings))


def _put_guard(parts: Parts, guard: TunnelGuard) -> None:
    parts.add(render_guard_of(guard))


def _put_translation(parts: Parts, translation: Translation) -> None:
    if not translation.sources:
        return
    rule = NftRule(
        (
            is_family(Family.V4),
            InSet(_MASQUERADED.key, _MASQUERADED.name),
            InSet(_POOLS.key, _POOLS.name, is_negated=True),
            Count(),
            Masquerade(),
        ),
        "masquerade",
    )
    hook = Hook(HookType.NAT, HookPoint.POSTROUTING, _SOURCE_NAT_PRIORITY)
    parts.add(
        Ruleset(
            chains={"postrouting": Chain("postrouting", (rule,), hook)},
            sets={spec.name: spec for spec in (_MASQUERADED, _POOLS)},
            ranges={
                _MASQUERADED.name: translation.sources.ranges,
                _POOLS.name: translation.pools.ranges,
            },
        )
    )


def _put_tag_set(
    parts: Parts, key: TagSetId, members: AbstractSet[PackedAddress]
) -> None:
    # The same set serves sources and destinations: only the type of its key
    # counts, and that is the family's address in both.
    spec = SetSpec(tag_set_name(key), (SOURCE_FIELD[key.family],))
    parts.add(Ruleset(sets={spec.name: spec}, members={spec.name: members}))


def _put_profile(parts: Parts, profile: CompiledProfile) -> None:
    chains: dict[str, Chain] = {}
    for (direction, family), rules in profile.rules.items():
        name = profile_chain_name(profile.profile, direction, family)
        chains[name] = Chain(
            name,
            tuple(
                each
                for rule in rules
                for each in _rules_of(rule, direction, is_logged=profile.logs_drops)
            ),
        )
    parts.add(Ruleset(chains=chains))


def _rules_of(
    rule: CompiledRule, direction: Direction, *, is_logged: bool
) -> tuple[NftRule, ...]:
    printed = render_rule(rule)
    if rule.action is Action.ALLOW:
        return (printed,)
    return with_log(printed, DropName(direction, rule.origin), is_logged=is_logged)


def _put_pipeline(parts: Parts, pipeline: Pipeline) -> None:
    chains: dict[str, Chain] = {}
    for family in Family:
        name = pipeline_chain_name(pipeline.key, family)
        chains[name] = Chain(name, _pipeline_rules(pipeline, family))
    parts.add(Ruleset(chains=chains))


def _pipeline_rules(pipeline: Pipeline, family: Family) -> tuple[NftRule, ...]:
    rules: list[NftRule] = []
    for stage in pipeline.stages:
        if not isinstance(stage, str):
            # A fault denies everything that reaches it: nothing can follow.
            return (*rules, *_drops_of(pipeline, stage))
        chain = profile_chain_name(stage, pipeline.key.direction, family)
        rules.append(NftRule((Verdict(VerdictKind.JUMP, chain),)))
    return (*rules, *_drops_of(pipeline, pipeline.end))


def _drops_of(pipeline: Pipeline, origin: Origin) -> tuple[NftRule, ...]:
    name = DropName(pipeline.key.direction, origin)
    return with_log(render_drop(origin), name, is_logged=pipeline.logs_drops)


def profile_chain_name(profile: ProfileId, direction: Direction, family: Family) -> str:
    """Name the chain that holds a profile's rules of one direction and family."""
    return f"profile-{_WORDS[direction]}{family.value}-{profile}"


def pipeline_chain_name(key: PipelineKey, family: Family) -> str:
    """Name the chain of one list of profiles, direction and family."""
    digest = sha256("\0".join(key.profiles).encode()).hexdigest()[:16]
    return f"list-{_WORDS[key.direction]}{family.value}-{digest}"


def _put_endpoint(parts: Parts, endpoint: LocalEndpoint) -> None:
    if endpoint.is_active:
        _put_active(parts, endpoint)
    else:
        name = _register(endpoint.interface.encode(), Field.IIFNAME)
        comment = InactiveEndpoint(endpoint.key).text
        for direction, spec in (
            (Direction.OUTBOUND, SOURCE_DROPS),
            (Direction.INBOUND, INACTIVE),
        ):
            closed = Verdict(VerdictKind.GOTO, INACTIVE_CHAINS[direction])
            parts.put_element(spec, name, MapElement(closed, comment))


def _put_active(parts: Parts, endpoint: LocalEndpoint) -> None:
    name = _register(endpoint.interface.encode(), Field.IIFNAME)
    parts.put_member(INTERFACES, name)
    spoofed = MapElement(DROP, SourceCheck(endpoint.key).text)
    parts.put_element(SOURCE_DROPS, name, spoofed)
    for address in endpoint.addresses:
        _put_source(parts, endpoint, address)
        family = _N_PACKED_BYTES[len(address)]
        for direction, dispatch in (
            (Direction.OUTBOUND, OUTBOUND),
            (Direction.INBOUND, INBOUND),
        ):
            key = PipelineKey(endpoint.profiles, direction)
            chain = pipeline_chain_name(key, family)
            element = MapElement(Verdict(VerdictKind.GOTO, chain))
            parts.put_element(dispatch[family], name + address, element)
    if endpoint.link_local is not None:
        _put_source(parts, endpoint, endpoint.link_local)


def _put_source(parts: Parts, endpoint: LocalEndpoint, address: PackedAddress) -> None:
    family = _N_PACKED_BYTES[len(address)]
    name = _register(endpoint.interface.encode(), Field.IIFNAME)
    if endpoint.mac is None:
        parts.put_member(SOURCES[family], name + address)
    else:
        mac = _register(endpoint.mac, Field.ETHER_SOURCE)
        parts.put_member(SOURCES_WITH_MAC[family], name + mac + address)


def _register(value: bytes, look_at: Field) -> bytes:
    length = -(-look_at.n_bytes // _N_REGISTER_BYTES) * _N_REGISTER_BYTES
    return value.ljust(length, b"\0")
