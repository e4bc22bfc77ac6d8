"""Full equals incremental, whatever the order; no event costs an answer."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    HOST,
    OTHER,
    PROFILES,
    RESOURCE_KEYS,
    events,
    resources,
    snapshot_of,
    snapshots,
)

from calico.compiler.host import Kept, compile_host
from calico.compiler.incremental import HostCompiler
from calico.ir.delta import diff
from calico.ir.match import TagSetId
from calico.ir.state import DesiredState
from calico.model.names import ProfileId, Revision
from calico.model.rule import Action, ProfileRules, Rule
from calico.model.snapshot import ProfileRulesKey, Resource, ResourceKey, Snapshot

Event = tuple[ResourceKey, Resource | None]
turns = st.lists(st.lists(events, max_size=12), min_size=1, max_size=6)
starts = st.fixed_dictionaries(
    {key: st.none() | resources(key) for key in RESOURCE_KEYS}
)


def held_by(told: list[Event]) -> dict[ResourceKey, Resource]:
    """Apply events to a mapping, the plainest way."""
    held: dict[ResourceKey, Resource] = {}
    for key, value in told:
        held.pop(key, None)
        if value is not None:
            held[key] = value
    return held


@given(starts, turns)
def test_incremental_equals_full_after_every_turn(
    start: dict[ResourceKey, Resource | None], later: list[list[Event]]
) -> None:
    compiler, told, applied = HostCompiler(HOST), list[Event](), DesiredState()
    for number, batch in enumerate([list(start.items()), *later], start=1):
        for key, value in batch:
            compiler.set_resource(key, value, Revision(number))
        told += batch
        newest = number if batch else compiler.state().revision
        full = compile_host(snapshot_of(held_by(told), newest), HOST)
        delta = compiler.turn()
        assert compiler.state() == full
        assert delta == diff(applied, full)
        applied = delta.apply(applied)
        assert applied == full


@given(starts, turns, st.randoms(use_true_random=False))
def test_order_repetition_and_detours_change_nothing(
    start: dict[ResourceKey, Resource | None],
    later: list[list[Event]],
    random: Random,
) -> None:
    straight, winding = HostCompiler(HOST), HostCompiler(HOST)
    final = list(start.items())
    for key, value in final:
        straight.set_resource(key, value, Revision(1))
    straight.turn()
    for batch in later:
        for key, value in batch:
            winding.set_resource(key, value, Revision(1))
        winding.turn()
    random.shuffle(final)
    for key, value in [*final, *final]:
        winding.set_resource(key, value, Revision(1))
    winding.turn()
    assert winding.state() == straight.state()
    assert winding.turn().is_empty()
    assert set(winding.keys()) == {key for key, value in final if value is not None}


@given(starts, st.sampled_from(PROFILES))
def test_refused_profile_denies_until_its_rules_change(
    start: dict[ResourceKey, Resource | None], profile: ProfileId
) -> None:
    compiler, held = HostCompiler(HOST), held_by(list(start.items()))
    for key, value in start.items():
        compiler.set_resource(key, value, Revision(1))
    before = compiler.turn().apply(DesiredState())
    compiler.refuse(profile, "no")
    after = compiler.turn().apply(before)
    assert after == compile_host(snapshot_of(held), HOST, refused={profile: "no"})
    key = ProfileRulesKey(profile)
    compiler.set_resource(key, held.get(key), Revision(1))
    assert compiler.turn().is_empty()
    mended_rules = ProfileRules((Rule(Action.ALLOW, icmp_type=254),))
    compiler.set_resource(key, mended_rules, Revision(1))
    held[key] = mended_rules
    mended = compiler.turn().apply(after)
    assert mended == compiler.state() == compile_host(snapshot_of(held), HOST)


@given(snapshots())
def test_state_holds_exactly_what_its_parts_refer_to(snapshot: Snapshot) -> None:
    state = compile_host(snapshot, HOST)
    stages = {s for each in state.pipelines.values() for s in each.stages}
    assert state.profiles.keys() == {
        stage for stage in stages if isinstance(stage, str)
    }
    lists = {each.profiles for each in state.endpoints.values() if each.is_active}
    assert {key.profiles for key in state.pipelines} == lists
    named: set[TagSetId] = set()
    for profile in state.profiles.values():
        for compiled in profile.rules.values():
            for rule in compiled:
                for side in (rule.match.source, rule.match.destination):
                    named |= set() if side.tag_set is None else {side.tag_set}
    assert state.tag_sets.keys() == named
    interfaces = [each.interface for each in state.endpoints.values()]
    assert len(interfaces) == len(set(interfaces))
    again = compile_host(snapshot, HOST)
    assert diff(state, again).is_empty()
    assert not compile_host(snapshot, OTHER).endpoints.keys() & state.endpoints.keys()


@given(snapshots())
def test_profiles_kept_for_other_hosts_are_those_of_each(snapshot: Snapshot) -> None:
    kept: Kept = {}
    for host in (HOST, OTHER, HOST):
        assert compile_host(snapshot, host, kept=kept) == compile_host(snapshot, host)
