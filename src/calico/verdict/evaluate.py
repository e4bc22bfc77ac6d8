"""Judge a packet by a desired state: pure and total, and the meaning of policy.

The order is that of the kernel's hooks:

    from a workload     its source, before everything else
    within a packet     whether a host of the cluster has sent it
    to its own host     connection state, pinholes, outbound policy
    forwarded           connection state, outbound policy of the sender;
                        connection state, inbound policy of the receiver
    from its own host   nothing, unless the workload is switched off

The two sides of a forwarded packet are judged on their own, one after the
other, and a packet that enters or leaves by no workload's interface passes
that side untouched.
"""

from collections.abc import Iterable, Iterator

from calico.ir.fixed import ICMP_OF, host_pinholes, source_exceptions
from calico.ir.match import CompiledRule
from calico.ir.origin import (
    EndOfProfiles,
    Fault,
    FaultOrigin,
    Fixed,
    FixedOrigin,
    InactiveEndpoint,
    Origin,
    RuleOrigin,
    SourceCheck,
)
from calico.ir.packet import ConnectionState, Elsewhere, Packet
from calico.ir.state import (
    CompiledProfile,
    DesiredState,
    LocalEndpoint,
    NeverMatches,
    Pipeline,
    PipelineKey,
)
from calico.ir.tunnel import carrier_of
from calico.model.names import EndpointKey, ProfileId
from calico.model.network import EndpointToHostAction
from calico.model.rule import Action, Direction
from calico.netset import Family
from calico.verdict.miss import find_miss
from calico.verdict.trace import Miss, Stage, Step, Trace, Trial

_STAGE_OF = {Direction.INBOUND: Stage.INBOUND, Direction.OUTBOUND: Stage.OUTBOUND}


def evaluate(state: DesiredState, packet: Packet) -> Trace:
    """Decide what happens to `packet` on this host, and show the way there."""
    steps: list[Step] = []
    origin: Origin = FixedOrigin(Fixed.NOT_OURS)
    for step in _way(state, packet):
        steps.append(step)
        origin = step.origin or origin
        if step.outcome is Action.DENY:
            return Trace(allowed=False, origin=origin, steps=tuple(steps))
    return Trace(allowed=True, origin=origin, steps=tuple(steps))


def _way(state: DesiredState, packet: Packet) -> Iterator[Step]:
    """Yield the steps of a packet that nothing denies."""
    enters, leaves = packet.enters, packet.leaves
    if _stays_inside(state, packet):
        yield _unjudged(Fixed.SAME_ENDPOINT)
        return
    yield from _check_sender(state, packet)
    if isinstance(enters, EndpointKey):
        if leaves is Elsewhere.OWN_HOST:
            yield from _to_host(state, enters, packet)
            return
        yield from _judge_side(state, enters, packet, Direction.OUTBOUND)
    if isinstance(leaves, EndpointKey):
        receiver = state.endpoints.get(leaves)
        if receiver is not None and not receiver.is_active:
            origin = InactiveEndpoint(leaves)
            yield Step(Stage.INBOUND, leaves, Action.DENY, origin)
        if enters is Elsewhere.OWN_HOST:
            yield _unjudged(Fixed.OWN_HOST)
            return
        yield from _judge_side(state, leaves, packet, Direction.INBOUND)
    elif not isinstance(enters, EndpointKey):
        yield _unjudged(Fixed.NOT_OURS)


def _check_sender(state: DesiredState, packet: Packet) -> Iterator[Step]:
    if isinstance(packet.enters, EndpointKey):
        yield _check_source(state, packet.enters, packet)
    if _is_foreign_tunnel(state, packet):
        origin = FixedOrigin(Fixed.FOREIGN_TUNNEL)
        yield Step(Stage.TUNNEL, None, Action.DENY, origin)


def _stays_inside(state: DesiredState, packet: Packet) -> bool:
    if packet.enters != packet.leaves or not isinstance(packet.enters, EndpointKey):
        return False
    endpoint = state.endpoints.get(packet.enters)
    return endpoint is not None and packet.destination.packed in endpoint.addresses


def _is_foreign_tunnel(state: DesiredState, packet: Packet) -> bool:
    """Say whether a tunnel would take a packet that no host has sent."""
    guard = state.guard
    if packet.enters is Elsewhere.OWN_HOST or packet.source in guard.senders:
        return False
    if carrier_of(packet) not in guard.carriers:
        return False
    # On its way to another host it would leave with the address of this one,
    # where that masquerades.
    return packet.leaves is Elsewhere.OWN_HOST or packet.destination in guard.senders


def _unjudged(place: Fixed) -> Step:
    return Step(Stage.UNJUDGED, None, Action.ALLOW, FixedOrigin(place))


def _check_source(state: DesiredState, key: EndpointKey, packet: Packet) -> Step:
    """Say whether interface, MAC and source address belong together."""
    stage = Stage.SOURCE_CHECK
    endpoint = state.endpoints.get(key)
    if endpoint is None:
        origin = FixedOrigin(Fixed.UNKNOWN_INTERFACE)
        return Step(stage, key, Action.DENY, origin)
    if not endpoint.is_active:
        return Step(stage, key, Action.DENY, InactiveEndpoint(key))
    if _is_known_source(endpoint, packet):
        return Step(stage, key, Action.ALLOW)
    for rule in source_exceptions(packet.family):
        if find_miss(rule.match, packet, state.tag_sets) is None:
            trial = Trial(rule, None)
            return Step(stage, key, Action.ALLOW, rule.origin, trials=(trial,))
    return Step(stage, key, Action.DENY, SourceCheck(key))


def _is_known_source(endpoint: LocalEndpoint, packet: Packet) -> bool:
    if endpoint.mac not in {None, packet.source_mac}:
        return False
    source = packet.source.packed
    return source in endpoint.addresses or source == endpoint.link_local


def _to_host(state: DesiredState, key: EndpointKey, packet: Packet) -> Iterator[Step]:
    connection = _known_flow(packet)
    if connection is not None:
        yield connection
        return
    pinholes = host_pinholes(state.settings, packet.family)
    trials, matched = _try_rules(pinholes, state, packet)
    if matched is not None:
        origin, outcome = matched.origin, matched.action
        yield Step(Stage.PINHOLES, key, outcome, origin, trials=trials)
        return
    yield Step(Stage.PINHOLES, key, trials=trials)
    if state.settings.endpoint_to_host is EndpointToHostAction.DROP:
        origin = FixedOrigin(Fixed.ENDPOINT_TO_HOST)
        yield Step(Stage.TO_HOST, key, Action.DENY, origin)
    yield from _judge_policy(state, key, packet, Direction.OUTBOUND)


def _judge_side(
    state: DesiredState, key: EndpointKey, packet: Packet, direction: Direction
) -> Iterator[Step]:
    connection = _known_flow(packet)
    if connection is None:
        yield from _judge_policy(state, key, packet, direction)
    else:
        yield connection


def _known_flow(packet: Packet) -> Step | None:
    """Decide by the connection state alone, if that is enough."""
    is_icmp = packet.protocol == ICMP_OF[packet.family]
    match packet.state:
        case ConnectionState.ESTABLISHED:
            return _by_connection(Action.ALLOW, Fixed.ESTABLISHED)
        case ConnectionState.RELATED if is_icmp:
            return _by_connection(Action.ALLOW, Fixed.RELATED)
        case ConnectionState.INVALID if not is_icmp:
            return _by_connection(Action.DENY, Fixed.INVALID)
        case _:
            return None


def _by_connection(outcome: Action, place: Fixed) -> Step:
    return Step(Stage.CONNECTION, None, outcome, FixedOrigin(place))


def _judge_policy(
    state: DesiredState, key: EndpointKey, packet: Packet, direction: Direction
) -> Iterator[Step]:
    """Walk the pipeline of an endpoint; the last step has an outcome."""
    stage = _STAGE_OF[direction]
    endpoint = state.endpoints.get(key)
    is_outbound = direction is Direction.OUTBOUND
    address = packet.source if is_outbound else packet.destination
    end: Origin = FixedOrigin(Fixed.NO_OUTBOUND if is_outbound else Fixed.NO_INBOUND)
    if endpoint is not None and address.packed in endpoint.addresses:
        pipeline = _pipeline(state, PipelineKey(endpoint.profiles, direction))
        end = pipeline.end
        for name in pipeline.stages:
            step = (
                _ask_profile(state, key, packet, (name, direction))
                if isinstance(name, str)
                else Step(stage, key, Action.DENY, name, name.profile)
            )
            yield step
            if step.outcome is not None:
                return
    yield Step(stage, key, Action.DENY, end)


def _pipeline(state: DesiredState, key: PipelineKey) -> Pipeline:
    """Find a pipeline; a state without it is not ours, and denies."""
    absent = Pipeline(key, (), EndOfProfiles(key.profiles, key.direction))
    return state.pipelines.get(key, absent)


def _ask_profile(
    state: DesiredState,
    key: EndpointKey,
    packet: Packet,
    asked: tuple[ProfileId, Direction],
) -> Step:
    name, direction = asked
    stage = _STAGE_OF[direction]
    profile = state.profiles.get(name)
    if profile is None:
        origin = FaultOrigin(name, Fault.MISSING)
        return Step(stage, key, Action.DENY, origin, name)
    in_order = _in_order(profile, direction, packet.family)
    trials, matched = _try_rules(in_order, state, packet)
    if matched is None:
        return Step(stage, key, profile=name, trials=trials)
    return Step(stage, key, matched.action, matched.origin, name, trials)


def _in_order(
    profile: CompiledProfile, direction: Direction, family: Family
) -> tuple[CompiledRule | NeverMatches, ...]:
    """List a profile's rules as written, also those that can never match."""
    compiled = profile.rules[direction, family]
    never = tuple(
        each
        for each in profile.never
        if each.family is family and _side(each.origin) is direction
    )
    both: tuple[CompiledRule | NeverMatches, ...] = (*compiled, *never)
    return tuple(sorted(both, key=_number)) if never else compiled


def _try_rules(
    rules: Iterable[CompiledRule | NeverMatches], state: DesiredState, packet: Packet
) -> tuple[tuple[Trial, ...], CompiledRule | None]:
    """Try rules up to the first that matches, and return it too."""
    trials: list[Trial] = []
    for rule in rules:
        if isinstance(rule, NeverMatches):
            trials.append(Trial(rule, Miss.FAMILY))
            continue
        miss = find_miss(rule.match, packet, state.tag_sets)
        trials.append(Trial(rule, miss))
        if miss is None:
            return tuple(trials), rule
    return tuple(trials), None


def _side(origin: Origin) -> Direction | None:
    return origin.direction if isinstance(origin, RuleOrigin) else None


def _number(rule: CompiledRule | NeverMatches) -> int:
    return rule.origin.number if isinstance(rule.origin, RuleOrigin) else 0
