"""The analysis answers for all packets what the evaluator answers for each."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

from analysed import (
    addresses_in,
    corners,
    ends_of,
    packets_at_corners,
    passes,
    states_of,
)
from hypothesis import event, given
from hypothesis import strategies as st
from strategies import HOST, packets, snapshots

from calico.analysis.boxes import canonical, holds
from calico.analysis.cells import rows_of
from calico.analysis.partition import Part, partition
from calico.analysis.reach import Matrix, reach
from calico.analysis.shadow import Scope, find_shadows
from calico.analysis.space import (
    every_header,
    header_of,
    packet_at,
    packets_between,
    point_of,
)
from calico.compiler.host import compile_host
from calico.compiler.rules import compile_profile
from calico.ir.packet import ConnectionState, Elsewhere, Packet
from calico.ir.state import DesiredState, LocalEndpoint, PipelineKey
from calico.model.names import ProfileId
from calico.model.rule import Action, Direction, ProfileRules
from calico.model.snapshot import Snapshot
from calico.netset import AddressSet, Family, family_of
from calico.verdict.evaluate import evaluate
from calico.verdict.miss import find_miss

MAX_PACKETS = 20


def new_flow(packet: Packet) -> Packet:
    return replace(packet, state=ConnectionState.NEW)


@given(snapshots(), st.data())
def test_partition_agrees_with_evaluate(
    snapshot: Snapshot, data: st.DataObject
) -> None:
    state = compile_host(snapshot, HOST)
    usable = [each for each in state.endpoints.values() if each.is_active]
    if not usable:
        return
    endpoint = data.draw(st.sampled_from(usable))
    for direction in Direction:
        for family in Family:
            _check_partition(state, endpoint, direction, family)
    for packet in data.draw(st.lists(packets(snapshot), max_size=MAX_PACKETS)):
        _check_packet(state, endpoint, new_flow(packet))


def _check_partition(
    state: DesiredState, endpoint: LocalEndpoint, direction: Direction, family: Family
) -> None:
    """Judge packets at the corners of every part; the parts are everything."""
    anywhere = AddressSet.everything(family).ranges
    for packed in endpoint.addresses:
        address = ip_address(packed)
        if family_of(address) is not family:
            continue
        own = ((int(address), int(address)),)
        ends = (own, anywhere) if direction is Direction.OUTBOUND else (anywhere, own)
        whole = packets_between(family, *ends)
        key = PipelineKey(endpoint.profiles, direction)
        parts = partition(state, key, family, whole)
        assert parts is not None
        everything = canonical(box for part in parts for box in part.packets)
        assert everything == canonical(whole)
        for part in parts:
            event(f"{type(part.origin).__name__} {part.action.value}")
            for box in part.packets:
                for point in corners(box):
                    packet = _place(packet_at(point, family, HOME, HOME), endpoint)
                    trace = evaluate(state, packet[direction])
                    assert trace.origin == part.origin
                    assert trace.allowed == (part.action is Action.ALLOW)
                    assert sum(holds(p.packets, point) for p in parts) == 1


HOME = Elsewhere.OUTSIDE


def _place(packet: Packet, endpoint: LocalEndpoint) -> dict[Direction, Packet]:
    """Send a packet from an endpoint to outside, and the other way round."""
    mac = endpoint.mac or b""
    outside = Elsewhere.OUTSIDE
    return {
        Direction.OUTBOUND: replace(
            packet, enters=endpoint.key, leaves=outside, source_mac=mac
        ),
        Direction.INBOUND: replace(packet, enters=outside, leaves=endpoint.key),
    }


def _check_packet(state: DesiredState, endpoint: LocalEndpoint, packet: Packet) -> None:
    """Find a packet in just one part, that of the origin which decides it."""
    family = packet.family
    anywhere = AddressSet.everything(family).ranges
    whole = packets_between(family, anywhere, anywhere)
    for direction, placed in _place(packet, endpoint).items():
        is_outbound = direction is Direction.OUTBOUND
        own = placed.source if is_outbound else placed.destination
        if own.packed not in endpoint.addresses:
            continue
        key = PipelineKey(endpoint.profiles, direction)
        parts = partition(state, key, family, whole)
        assert parts is not None
        deciding = [p for p in parts if holds(p.packets, point_of(placed))]
        assert [p.origin for p in deciding] == [evaluate(state, placed).origin]


@given(snapshots(), st.data())
def test_reach_agrees_with_evaluate(snapshot: Snapshot, data: st.DataObject) -> None:
    states = states_of(snapshot)
    drawn = [
        new_flow(packet)
        for packet in data.draw(st.lists(packets(snapshot), max_size=MAX_PACKETS))
    ]
    for family in Family:
        matrix = reach(states, addresses_in(snapshot), family)
        _check_rows(matrix)
        numbers = st.integers(0, len(matrix.parties) - 1)
        for i, j in data.draw(st.lists(st.tuples(numbers, numbers), max_size=6)):
            source, start = data.draw(st.sampled_from(ends_of(matrix.parties[i])))
            destination, goal = data.draw(st.sampled_from(ends_of(matrix.parties[j])))
            if source == destination:
                continue
            region = matrix.allowed(i, j)
            assert region is not None
            event("allows something" if region else "allows nothing")
            near = [
                replace(each, source=start, destination=goal)
                for each in drawn
                if each.family is family
            ]
            edges = packets_at_corners(family, region, start, goal)
            ends = packets_at_corners(family, every_header(family), start, goal)
            for packet in (*near, *edges, *ends):
                is_allowed = passes(states, packet, source, destination)
                assert is_allowed == holds(region, header_of(packet))


def _check_rows(matrix: Matrix) -> None:
    """Find each cell that allows something in one row, except with itself."""
    numbers = range(len(matrix.parties))
    found = [
        ((i, j), row.allowed)
        for row in rows_of(matrix, numbers, numbers)
        for i in row.sources
        for j in row.destinations
    ]
    ends = [{key for key, _ in ends_of(party)} for party in matrix.parties]
    cells = {
        (i, j): matrix.allowed(i, j)
        for i in numbers
        for j in numbers
        if matrix.allowed(i, j)
    }
    assert len(found) == len(dict(found))
    assert dict(found).items() <= cells.items()
    missing = cells.keys() - dict(found).keys()
    assert all(len(ends[i] | ends[j]) == 1 for i, j in missing)


@given(snapshots())
def test_every_address_of_a_usable_endpoint_is_in_one_party(
    snapshot: Snapshot,
) -> None:
    states = states_of(snapshot)
    found = [
        end
        for family in Family
        for party in reach(states, addresses_in(snapshot), family).parties
        for end in ends_of(party)
        if end[0] is not None
    ]
    expected = {
        (key, ip_address(packed))
        for state in states.values()
        for key, endpoint in state.endpoints.items()
        for packed in (endpoint.addresses if endpoint.is_active else ())
    }
    assert len(found) == len(set(found))
    assert set(found) == expected


@given(snapshots())
def test_witness_of_shadow_matches_the_rule_and_another_decides(
    snapshot: Snapshot,
) -> None:
    states = states_of(snapshot)
    for name, rules in snapshot.rules.items():
        if not isinstance(rules, ProfileRules):
            continue
        profile = compile_profile(name, rules)
        answer = find_shadows(profile, states)
        assert answer.undecided == ()
        for each in answer.shadowed:
            event(f"{each.scope.value} {each.witness is not None}")
            assert (each.witness is None) == (each.hidden_by == ())
            if each.witness is None:
                continue
            packet = each.witness.packet
            assert each.witness.decided_by == each.hidden_by[0]
            [rule] = [
                rule
                for rule in profile.rules[each.rule.direction, packet.family]
                if rule.origin == each.rule
            ]
            tag_sets = {
                side.tag_set: {
                    address.packed
                    for address, tags in (
                        (packet.source, each.witness.source_tags),
                        (packet.destination, each.witness.destination_tags),
                    )
                    if side.tag_set.tag in tags
                }
                for side in (rule.match.source, rule.match.destination)
                if side.tag_set is not None
            }
            assert find_miss(rule.match, packet, tag_sets) is None


def without(
    snapshot: Snapshot, name: ProfileId, direction: Direction, number: int
) -> Snapshot:
    """Leave one rule out."""
    rules = snapshot.rules[name]
    assert isinstance(rules, ProfileRules)
    kept = tuple(
        rule for n, rule in enumerate(rules.of(direction), start=1) if n != number
    )
    changed = (
        ProfileRules(kept, rules.outbound)
        if direction is Direction.INBOUND
        else ProfileRules(rules.inbound, kept)
    )
    return replace(snapshot, rules={**snapshot.rules, name: changed})


@given(snapshots(), st.data())
def test_removing_a_shadowed_rule_changes_no_verdict(
    snapshot: Snapshot, data: st.DataObject
) -> None:
    states = states_of(snapshot)
    drawn = data.draw(st.lists(packets(snapshot), max_size=MAX_PACKETS))
    for name, rules in snapshot.rules.items():
        if not isinstance(rules, ProfileRules):
            continue
        for each in find_shadows(compile_profile(name, rules), states).shadowed:
            less = without(snapshot, name, each.rule.direction, each.rule.number)
            changed = less
            if each.scope is not Scope.TODAY:
                # The claim holds for any members: give the tags to others.
                tags = dict(
                    zip(
                        snapshot.tags,
                        reversed(list(snapshot.tags.values())),
                        strict=True,
                    )
                )
                changed = replace(less, tags=tags)
                before = compile_host(replace(snapshot, tags=tags), HOST)
            else:
                before = states[HOST] if HOST in states else DesiredState()
            after = compile_host(changed, HOST)
            for packet in drawn:
                assert evaluate(before, packet).allowed == (
                    evaluate(after, packet).allowed
                )


@given(snapshots())
def test_rule_not_claimed_decides_a_packet(snapshot: Snapshot) -> None:
    states = states_of(snapshot)
    for name, rules in snapshot.rules.items():
        if not isinstance(rules, ProfileRules):
            continue
        profile = compile_profile(name, rules)
        claimed = {each.rule for each in find_shadows(profile, states).shadowed}
        in_use = [
            (state, endpoint)
            for state in states.values()
            for endpoint in state.endpoints.values()
            if endpoint.is_active and name in endpoint.profiles
        ]
        decided = {
            part.origin
            for state, endpoint in in_use
            for direction in Direction
            for part in _parts_of(state, endpoint, direction)
        }
        everyone = {r.origin for each in profile.rules.values() for r in each}
        if in_use:
            assert everyone - claimed == everyone & decided


def _parts_of(
    state: DesiredState, endpoint: LocalEndpoint, direction: Direction
) -> Iterator[Part]:
    for packed in endpoint.addresses:
        address = ip_address(packed)
        family = family_of(address)
        anywhere = AddressSet.everything(family).ranges
        own = ((int(address), int(address)),)
        ends = (own, anywhere) if direction is Direction.OUTBOUND else (anywhere, own)
        key = PipelineKey(endpoint.profiles, direction)
        parts = partition(state, key, family, packets_between(family, *ends))
        assert parts is not None
        yield from parts
