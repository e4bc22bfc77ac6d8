import pytest
from policies import rules

from calico.analysis.boxes import NOTHING, Region, canonical
from calico.analysis.partition import (
    Part,
    boxes_of,
    partition,
    rules_in_order,
    split,
)
from calico.analysis.space import every_header, packets_between
from calico.compiler.rules import compile_profile
from calico.ir.match import TagSetId
from calico.ir.origin import EndOfProfiles, Fault, FaultOrigin, Origin, RuleOrigin
from calico.ir.state import DesiredState, Pipeline, PipelineKey
from calico.model.names import ProfileId, TagName
from calico.model.rule import Action, Direction, ProfileRules
from calico.netset import AddressSet, Family

WEB, OPS, GONE = ProfileId("WEB"), ProfileId("OPS"), ProfileId("GONE")
IN = Direction.INBOUND
KEY = PipelineKey((WEB, OPS), IN)
END = EndOfProfiles((WEB, OPS), IN)
RED = TagSetId(TagName("red"), Family.V4)
ANYWHERE = AddressSet.everything(Family.V4).ranges
WHOLE = packets_between(Family.V4, ANYWHERE, ANYWHERE)
BROKEN = FaultOrigin(OPS, Fault.UNDECODABLE_RULES)

PROFILES = {
    WEB: compile_profile(
        WEB, ProfileRules(inbound=rules("deny tcp to ports 22", "allow tcp"))
    ),
    OPS: compile_profile(
        OPS, ProfileRules(inbound=rules("allow from tag red", "deny tcp"))
    ),
}


def state_with(*stages: ProfileId | FaultOrigin) -> DesiredState:
    return DesiredState(
        profiles=PROFILES,
        pipelines={KEY: Pipeline(KEY, stages, END)},
        tag_sets={RED: frozenset({bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))})},
    )


def origin(profile: ProfileId, number: int) -> RuleOrigin:
    return RuleOrigin(profile, IN, number)


def test_first_rule_that_matches_takes_the_packets() -> None:
    parts = partition(state_with(WEB, OPS), KEY, Family.V4, WHOLE)
    assert parts is not None
    assert [(part.origin, part.action) for part in parts] == [
        (origin(WEB, 1), Action.DENY),
        (origin(WEB, 2), Action.ALLOW),
        (origin(OPS, 1), Action.ALLOW),
        (END, Action.DENY),
    ]
    assert parts[2].packets == canonical(parts[2].packets)
    assert {box[3] for box in parts[2].packets} == {((0x0A000001, 0x0A000002),)}
    everything = canonical(box for part in parts for box in part.packets)
    assert everything == canonical(WHOLE)


def test_list_without_rest_has_no_end() -> None:
    tcp = [box for box in WHOLE if box[0][0][0] == 6]
    only_tcp = [(((6, 6),), *box[1:]) for box in tcp]
    parts = partition(state_with(WEB), KEY, Family.V4, only_tcp)
    assert parts is not None
    assert [part.origin for part in parts] == [origin(WEB, 1), origin(WEB, 2)]


@pytest.mark.parametrize(
    ("state", "n_rules", "end"),
    [
        (state_with(WEB, OPS), 4, END),
        (state_with(WEB, BROKEN), 2, BROKEN),
        (state_with(GONE, WEB), 0, FaultOrigin(GONE, Fault.MISSING)),
        (DesiredState(), 0, END),
    ],
)
def test_list_ends_where_the_evaluator_ends_it(
    state: DesiredState, n_rules: int, end: Origin
) -> None:
    found, last = rules_in_order(state, KEY, Family.V4)
    assert (len(found), last) == (n_rules, end)


def test_rule_for_an_empty_tag_set_takes_nothing() -> None:
    [first, *_], _ = rules_in_order(state_with(OPS), KEY, Family.V4)
    assert boxes_of(first, state_with(OPS)) != NOTHING
    assert boxes_of(first, DesiredState()) == NOTHING


def test_bound_is_kept() -> None:
    state = state_with(WEB, OPS)
    parts = partition(state, KEY, Family.V4, WHOLE)
    assert parts is not None
    assert isinstance(parts[0], Part)
    assert partition(state, KEY, Family.V4, WHOLE, max_boxes=3) is None


def line(*pairs: tuple[int, int]) -> Region:
    """Make a region of one dimension."""
    return ((pairs,),)


def test_split_gives_each_point_to_the_first_who_has_it() -> None:
    first, second = line((6, 6)), line((1, 6))
    takers = [("one", first), ("two", second), ("idle", first)]
    found = split(line((0, 9)), takers)
    assert found is not None
    assert found.parts == (("one", line((6, 6))), ("two", line((1, 5))))
    assert canonical(found.rest) == line((0, 0), (7, 9))


def test_split_asks_nobody_for_nothing() -> None:
    found = split(
        every_header(Family.V4), [("all", every_header(Family.V4)), ("x", ())]
    )
    assert found is not None
    assert [who for who, _ in found.parts] == ["all"]
    assert found.rest == NOTHING
