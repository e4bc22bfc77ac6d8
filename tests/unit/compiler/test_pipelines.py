from calico.compiler.pipelines import PipelineTable, PolicyChanges
from calico.compiler.profiles import ProfileSources, make_pipelines
from calico.compiler.rules import compile_profile
from calico.ir.delta import Change
from calico.ir.match import TagSetId
from calico.ir.origin import Fault, FaultOrigin
from calico.model.names import ProfileId, TagName
from calico.model.rule import Action, Peer, ProfileRules, Rule
from calico.netset import Family

P, Q = ProfileId("P"), ProfileId("Q")
RED = TagName("red")
RED_SETS = frozenset(TagSetId(RED, family) for family in Family)
PLAIN = ProfileRules((Rule(Action.ALLOW),))
TAGGED = ProfileRules((Rule(Action.ALLOW, source=Peer(tag=RED)),))
NOTHING = PolicyChanges({}, {})


class Known:
    """A table and the sources underneath it."""

    def __init__(self) -> None:
        self.rules: dict[ProfileId, ProfileRules] = {}
        self.table = PipelineTable(ProfileSources({}, self.rules, {}))

    def put(self, profile: ProfileId, rules: ProfileRules | None) -> None:
        self.rules.pop(profile, None)
        if rules is not None:
            self.rules[profile] = rules
        self.table.touch(profile)


def test_list_exists_while_somebody_uses_it() -> None:
    known = Known()
    known.put(P, PLAIN)
    assert known.table.take_changes() == NOTHING
    known.table.use((P,))
    known.table.use((P,))
    compiled, pipelines = compile_profile(P, PLAIN), make_pipelines((P,), (P,))
    assert known.table.take_changes() == PolicyChanges(
        {P: Change(None, compiled)},
        {key: Change(None, each) for key, each in pipelines.items()},
    )
    assert known.table.profiles == {P: compiled}
    assert known.table.pipelines == pipelines
    known.table.release((P,))
    assert known.table.take_changes() == NOTHING
    known.table.release((P,))
    assert known.table.take_changes() == PolicyChanges(
        {P: Change(compiled, None)},
        {key: Change(each, None) for key, each in pipelines.items()},
    )
    assert known.table.profiles == {}
    assert known.table.pipelines == {}


def test_switching_the_log_changes_each_profile_and_list_once() -> None:
    known = Known()
    known.put(P, PLAIN)
    known.table.use((P,))
    known.table.take_changes()
    known.table.log_drops(logs_drops=True)
    quiet, told = (compile_profile(P, PLAIN, logs_drops=on) for on in (False, True))
    before = make_pipelines((P,), (P,))
    after = make_pipelines((P,), (P,), logs_drops=True)
    assert known.table.take_changes() == PolicyChanges(
        {P: Change(quiet, told)},
        {key: Change(before[key], after[key]) for key in before},
    )
    known.table.log_drops(logs_drops=True)
    assert known.table.take_changes() == NOTHING
    assert known.table.profiles == {P: told}
    assert known.table.pipelines == after


def test_list_used_and_released_at_once_leaves_nothing() -> None:
    known = Known()
    known.table.use((P,))
    known.table.release((P,))
    assert known.table.take_changes() == NOTHING


def test_new_rules_touch_their_profile_alone() -> None:
    known = Known()
    known.put(P, PLAIN)
    known.put(Q, PLAIN)
    known.table.use((P, Q))
    known.table.take_changes()
    known.put(P, TAGGED)
    before, after = compile_profile(P, PLAIN), compile_profile(P, TAGGED)
    assert known.table.take_changes() == PolicyChanges(
        {P: Change(before, after)}, {}, named=RED_SETS
    )


def test_same_rules_object_is_not_compiled_again() -> None:
    known = Known()
    known.put(P, PLAIN)
    known.table.use((P,))
    known.table.take_changes()
    compiled = known.table.profiles[P]
    known.table.touch(P)
    assert known.table.take_changes() == NOTHING
    assert known.table.profiles[P] is compiled


def test_profile_that_goes_ends_the_list_where_it_stood() -> None:
    known = Known()
    for profile in (P, Q):
        known.put(profile, TAGGED)
    known.table.use((P, Q))
    known.table.use((Q,))
    assert known.table.take_changes().named == RED_SETS
    known.put(P, None)
    changes = known.table.take_changes()
    fault = FaultOrigin(P, Fault.MISSING)
    assert changes.profiles == {P: Change(compile_profile(P, TAGGED), None)}
    assert {change.after for change in changes.pipelines.values()} == set(
        make_pipelines((P, Q), (fault,)).values()
    )
    # Q looks at the same tag sets and stays.
    assert changes.named == RED_SETS
    assert changes.unnamed == frozenset()
    known.table.release((Q,))
    assert known.table.take_changes().unnamed == RED_SETS
    known.table.release((P, Q))
    assert known.table.take_changes().profiles == {}
