"""A change that is cut opens no more on its way than the whole does."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from strategies import HOST, RESOURCE_KEYS, events, packets, resources, snapshot_of

from calico.agent.phases import split_delta, split_moves
from calico.agent.uses import Uses
from calico.compiler.host import compile_host
from calico.ir.delta import Delta, TagSetChange, diff
from calico.ir.packet import Packet
from calico.ir.state import DesiredState
from calico.model.snapshot import Resource, ResourceKey, Snapshot
from calico.verdict.evaluate import evaluate

Held = dict[ResourceKey, Resource]
starts = st.fixed_dictionaries(
    {key: st.none() | resources(key) for key in RESOURCE_KEYS}
)


@st.composite
def changes(draw: st.DrawFn) -> tuple[Snapshot, Snapshot]:
    """Draw a snapshot and one that differs from it in a few places."""
    start = draw(starts)
    held: Held = {key: value for key, value in start.items() if value is not None}
    before = snapshot_of(held)
    for key, value in draw(st.lists(events, min_size=1, max_size=5)):
        held.pop(key, None)
        if value is not None:
            held[key] = value
    return before, snapshot_of(held, 2)


def _states(both: tuple[Snapshot, Snapshot]) -> tuple[DesiredState, DesiredState]:
    one, other = (compile_host(each, HOST) for each in both)
    return one, other


def _drawn(data: st.DataObject, both: tuple[Snapshot, Snapshot]) -> list[Packet]:
    return [data.draw(packets(both[n % 2])) for n in range(8)]


def _halfway(delta: Delta) -> Delta:
    """Return a part of a change of which only half of the members are in."""

    def half(change: TagSetChange) -> TagSetChange:
        return replace(
            change,
            added=frozenset(sorted(change.added)[::2]),
            removed=frozenset(sorted(change.removed)[::2]),
        )

    return replace(
        delta, tag_sets={key: half(change) for key, change in delta.tag_sets.items()}
    )


@given(changes())
def test_phases_come_to_the_whole(both: tuple[Snapshot, Snapshot]) -> None:
    before, after = _states(both)
    state = before
    for phase in split_delta(diff(before, after), Uses.of(before), Uses.of(after)):
        state = phase.delta.apply(state)
    assert replace(state, revision=after.revision, problems=after.problems) == after


@given(changes(), st.data())
def test_no_phase_opens_more_than_before_and_after(
    both: tuple[Snapshot, Snapshot], data: st.DataObject
) -> None:
    before, after = _states(both)
    drawn = _drawn(data, both)
    state = before
    for phase in split_delta(diff(before, after), Uses.of(before), Uses.of(after)):
        if not phase.is_whole:
            _assert_not_wider(before, _halfway(phase.delta).apply(state), after, drawn)
        state = phase.delta.apply(state)
        _assert_not_wider(before, state, after, drawn)


@given(changes(), st.data())
def test_moved_members_are_in_one_of_their_sets_at_any_time(
    both: tuple[Snapshot, Snapshot], data: st.DataObject
) -> None:
    before, after = _states(both)
    delta = diff(before, after)
    parts = split_moves(delta, Uses.of(before))
    state = before
    for part in parts:
        state = part.apply(state)
    assert state == after
    if len(parts) > 1:
        drawn = _drawn(data, both)
        _assert_not_wider(before, parts[0].apply(before), after, drawn)


def _assert_not_wider(
    before: DesiredState,
    middle: DesiredState,
    after: DesiredState,
    drawn: list[Packet],
) -> None:
    for packet in drawn:
        if evaluate(middle, packet).allowed:
            assert evaluate(before, packet).allowed or evaluate(after, packet).allowed
