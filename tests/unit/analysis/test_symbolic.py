import pytest
from policies import rules

from calico.analysis.boxes import Region, intersect
from calico.analysis.space import every_header
from calico.analysis.symbolic import Openness, own_dimension
from calico.compiler.rules import compile_rule
from calico.ir.match import CompiledRule, TagSetId
from calico.ir.origin import Fixed, FixedOrigin
from calico.model.names import TagName
from calico.model.rule import Direction
from calico.netset import AddressSet, Family

ANYWHERE = AddressSet.everything(Family.V4).ranges
RED, BLUE = (TagSetId(TagName(name), Family.V4) for name in ("red", "blue"))


def compiled(*texts: str) -> tuple[CompiledRule, ...]:
    found = [
        compile_rule(rule, FixedOrigin(Fixed.HOST_DNS), Family.V4)
        for rule in rules(*texts)
    ]
    return tuple(each for each in found if isinstance(each, CompiledRule))


ONE = "cidr 10.0.0.1/32"
RULES = compiled(
    "allow from tag red to tag blue",
    "allow to tag red",
    f"allow from tag red {ONE} to {ONE}",
    f"allow from {ONE} to tag red {ONE}",
)
OPEN = Openness.of(RULES)


def test_each_tag_set_is_open_on_the_sides_that_ask_for_it() -> None:
    assert Openness((RED,), (BLUE, RED)) == OPEN


def test_box_asks_for_the_tags_of_its_rule_only() -> None:
    tails = [OPEN.boxes_of(rule)[0][5:] for rule in RULES[:2]]
    yes, either = ((1, 1),), ((0, 1),)
    assert tails == [(yes, yes, either), (either, either, yes)]


def test_everything_has_every_member_and_none() -> None:
    [first, *_] = OPEN.everything(Family.V4, every_header(Family.V4))
    assert first[3:] == (ANYWHERE, ANYWHERE, *[((0, 1),)] * 3)


def torn(at_source: int, at_destination: int, destination: int = 7) -> Region:
    """Make a box from address 7, in or out of red on both sides."""
    [header, *_] = every_header(Family.V4)
    ends = ((7, 7),), ((destination, destination),)
    source_bit = ((at_source, at_source),)
    bit = ((at_destination, at_destination),)
    return ((*header, *ends, source_bit, ((0, 1),), bit),)


@pytest.mark.parametrize(
    ("boxes", "is_possible"),
    [
        (torn(1, 1), True),
        (torn(0, 0), True),
        (torn(0, 1), False),
        (torn(1, 0), False),
        (torn(1, 0, destination=8), True),
        (OPEN.boxes_of(RULES[0]), True),
    ],
)
def test_one_address_is_not_in_a_set_and_out_of_it(
    boxes: Region, *, is_possible: bool
) -> None:
    assert any(OPEN.possible(boxes)) is is_possible


def test_sides_that_ask_for_a_tag_of_one_address_meet() -> None:
    one, other = (OPEN.boxes_of(rule)[0] for rule in RULES[2:])
    common = intersect(one, other)
    assert common is not None
    assert list(OPEN.possible([common])) == [common]


def test_point_says_who_is_a_member() -> None:
    point = (6, 1, 2, 7, 8, 1, 0, 1)
    assert OPEN.members(point) == {RED: {7, 8}, BLUE: frozenset()}


def test_own_address_is_that_of_the_endpoint() -> None:
    assert own_dimension(Direction.OUTBOUND) == 3
    assert own_dimension(Direction.INBOUND) == 4
