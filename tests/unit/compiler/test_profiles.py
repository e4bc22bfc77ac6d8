import pytest

from calico.compiler.profiles import (
    ProfileSources,
    Stages,
    assemble_stages,
    make_pipelines,
)
from calico.ir.origin import EndOfProfiles, Fault, FaultOrigin
from calico.ir.state import Pipeline, PipelineKey
from calico.model.names import ProfileId, TagName
from calico.model.rule import Direction, ProfileRules
from calico.model.snapshot import Undecodable

BROKEN = Undecodable("/key", "why")
(GOOD, ALSO, GONE, BARE, TAGGED, BAD_RULES, BAD_TAGS, REFUSED) = (
    ProfileId(name) for name in ("G", "A", "M", "L", "T", "BR", "BT", "R")
)
SOURCES = ProfileSources(
    tags={TAGGED: (TagName("red"),), BAD_TAGS: BROKEN, GOOD: ()},
    rules={
        GOOD: ProfileRules(),
        ALSO: ProfileRules(),
        REFUSED: ProfileRules(),
        BAD_RULES: BROKEN,
        BAD_TAGS: ProfileRules(),
    },
    labels={BARE: {}},
    refused={REFUSED: "no", GONE: "no longer there"},
)


@pytest.mark.parametrize(
    ("profile", "fault"),
    [
        (GOOD, None),
        (ALSO, None),
        (GONE, Fault.MISSING),
        (BARE, Fault.NO_RULES),
        (TAGGED, Fault.NO_RULES),
        (BAD_RULES, Fault.UNDECODABLE_RULES),
        (BAD_TAGS, Fault.UNDECODABLE_TAGS),
        (REFUSED, Fault.REFUSED_BY_KERNEL),
    ],
)
def test_profile_says_what_is_wrong_with_it(
    profile: ProfileId, fault: Fault | None
) -> None:
    assert SOURCES.fault_of(profile) is fault


@pytest.mark.parametrize(
    ("profiles", "stages"),
    [
        ((), ()),
        ((GOOD, ALSO), (GOOD, ALSO)),
        ((ALSO, GOOD), (ALSO, GOOD)),
        ((GONE, GOOD), (FaultOrigin(GONE, Fault.MISSING),)),
        ((GOOD, BARE, ALSO), (GOOD, FaultOrigin(BARE, Fault.NO_RULES))),
        ((GOOD, BAD_TAGS), (FaultOrigin(BAD_TAGS, Fault.UNDECODABLE_TAGS),)),
        ((GONE, BAD_TAGS), (FaultOrigin(BAD_TAGS, Fault.UNDECODABLE_TAGS),)),
    ],
)
def test_list_ends_at_the_first_fault(
    profiles: tuple[ProfileId, ...], stages: Stages
) -> None:
    assert assemble_stages(profiles, SOURCES) == stages


def test_both_directions_share_the_stages() -> None:
    profiles = GOOD, ALSO
    made = make_pipelines(profiles, profiles)
    assert made == {
        PipelineKey(profiles, direction): Pipeline(
            PipelineKey(profiles, direction),
            profiles,
            EndOfProfiles(profiles, direction),
        )
        for direction in Direction
    }
