from calico.ir.drop_name import FIXED_NAMES, DropName, OfInterface, drop_names
from calico.ir.fixed import source_exceptions
from calico.ir.match import CompiledRule
from calico.ir.origin import (
    EndOfProfiles,
    Fault,
    FaultOrigin,
    Fixed,
    FixedOrigin,
    Origin,
    RuleOrigin,
)
from calico.ir.state import CompiledProfile, DesiredState, Pipeline, PipelineKey
from calico.model.names import ProfileId
from calico.model.rule import Action, Direction
from calico.netset import Family

# What the kernel keeps of a prefix, without the NUL at its end.
MAX_PREFIX_BYTES = 127
WEB, GONE = ProfileId("WEB"), ProfileId("GONE")


def rule(number: int, action: Action) -> CompiledRule:
    match = source_exceptions(Family.V4)[0].match
    return CompiledRule(match, action, RuleOrigin(WEB, Direction.INBOUND, number))


def test_longest_origin_has_a_short_prefix() -> None:
    profiles = tuple(ProfileId("p" * 128 + str(n)) for n in range(9))
    name = DropName(Direction.INBOUND, EndOfProfiles(profiles, Direction.INBOUND))
    assert len(name.prefix.encode()) <= MAX_PREFIX_BYTES


def test_names_that_differ_have_different_prefixes() -> None:
    origins: tuple[Origin | OfInterface, ...] = (
        *(RuleOrigin(WEB, d, n) for d in Direction for n in (1, 2)),
        *(FaultOrigin(WEB, fault) for fault in Fault),
        *(FixedOrigin(place) for place in Fixed),
        *OfInterface,
    )
    names = [DropName(d, origin) for d in Direction for origin in origins]
    assert len({name.prefix for name in names}) == len(names)


def test_equal_names_have_one_prefix() -> None:
    first, second = (
        DropName(Direction.OUTBOUND, RuleOrigin(ProfileId("WEB"), d, 1))
        for d in (Direction.OUTBOUND, Direction.OUTBOUND)
    )
    assert first.prefix == second.prefix


def test_state_without_policy_has_the_fixed_names() -> None:
    assert tuple(drop_names(DesiredState())) == FIXED_NAMES


def test_every_deny_fault_and_end_has_a_name_and_no_allow() -> None:
    rules: dict[tuple[Direction, Family], tuple[CompiledRule, ...]] = {
        (direction, family): () for direction in Direction for family in Family
    }
    allowed, denied = rule(1, Action.ALLOW), rule(2, Action.DENY)
    rules[Direction.INBOUND, Family.V4] = (allowed, denied)
    key = PipelineKey((WEB, GONE), Direction.OUTBOUND)
    end = EndOfProfiles(key.profiles, key.direction)
    fault = FaultOrigin(GONE, Fault.MISSING)
    state = DesiredState(
        profiles={WEB: CompiledProfile(WEB, rules)},
        pipelines={key: Pipeline(key, (WEB, fault), end)},
    )
    assert set(drop_names(state)) - set(FIXED_NAMES) == {
        DropName(Direction.INBOUND, denied.origin),
        DropName(Direction.OUTBOUND, end),
        DropName(Direction.OUTBOUND, fault),
    }
