from ipaddress import ip_address

import pytest
from policies import profile

from calico.analysis.boxes import Box
from calico.analysis.symbolic import Openness
from calico.analysis.uses import alone
from calico.analysis.witness import PROBE, choose_point, prove, tag_sets_at
from calico.compiler.rules import compile_profile
from calico.ir.match import TagSetId
from calico.ir.origin import RuleOrigin
from calico.ir.packet import Elsewhere
from calico.model.names import ProfileId, TagName
from calico.model.rule import Direction
from calico.netset import AddressSet, Family, Ranges

ANY4 = AddressSet.everything(Family.V4).ranges
ANY6 = AddressSet.everything(Family.V6).ranges
PORTS: Ranges = ((0, 65535),)
DOC4, DOC6 = int(ip_address("192.0.2.1")), int(ip_address("2001:db8::1"))
WEB = ProfileId("WEB")
RED = TagSetId(TagName("red"), Family.V4)


def one(*numbers: int) -> Ranges:
    return tuple((number, number) for number in numbers)


@pytest.mark.parametrize(
    ("box", "family", "point"),
    [
        (
            (one(6, 17), PORTS, PORTS, ANY4, ANY4),
            Family.V4,
            (6, 40000, 80, DOC4, DOC4 + 1),
        ),
        (
            (one(58), one(128), ((0, 255),), ANY6, ANY6),
            Family.V6,
            (58, 128, 80, DOC6, DOC6 + 1),
        ),
        (
            (one(17), PORTS, one(53), one(5), one(5, 9)),
            Family.V4,
            (17, 40000, 53, 5, 9),
        ),
        ((one(47), one(0), one(0), one(5, 9), one(5)), Family.V4, (47, 0, 0, 9, 5)),
        ((one(47), one(0), one(0), one(5), one(5)), Family.V4, (47, 0, 0, 5, 5)),
        (
            (one(6), one(7), one(8), one(1), one(2), one(1), ((0, 1),)),
            Family.V4,
            (6, 7, 8, 1, 2, 1, 0),
        ),
    ],
)
def test_point_is_one_that_people_expect(
    box: Box, family: Family, point: tuple[int, ...]
) -> None:
    assert choose_point((box,), family) == point


def test_point_is_one_of_tcp_where_there_is_one() -> None:
    other = (one(47), one(0), one(0), one(1), one(2))
    tcp = (one(6), one(7), one(8), one(1), one(2))
    assert choose_point((other, tcp), Family.V4) == (6, 7, 8, 1, 2)


def test_tag_sets_have_the_members_that_a_point_asks_for() -> None:
    openness = Openness((RED,), ())
    assert tag_sets_at(openness, (6, 1, 2, 10, 11, 1), Family.V4) == {
        RED: {bytes((0, 0, 0, 10))}
    }


@pytest.mark.parametrize("direction", Direction)
def test_evaluator_says_what_decides_a_witness(direction: Direction) -> None:
    side = "from" if direction is Direction.INBOUND else "to"
    texts = ["deny udp", f"allow tcp {side} tag red"]
    rules = profile(texts, texts)
    use = alone(compile_profile(WEB, rules))
    point = (6, 40000, 80, 10, 11)
    member = 10 if direction is Direction.INBOUND else 11
    state = use.state
    tag_sets = {RED: frozenset({bytes((0, 0, 0, member))})}
    state = type(state)(
        profiles=state.profiles, pipelines=state.pipelines, tag_sets=tag_sets
    )
    found = prove(state, use.key(direction), point, Family.V4)
    assert found.decided_by == RuleOrigin(WEB, direction, 2)
    assert found.is_allowed
    is_outbound = direction is Direction.OUTBOUND
    assert found.source_tags == (() if is_outbound else ("red",))
    assert found.destination_tags == (("red",) if is_outbound else ())
    ends = (found.packet.enters, found.packet.leaves)
    assert ends == (
        (PROBE, Elsewhere.OUTSIDE) if is_outbound else (Elsewhere.OUTSIDE, PROBE)
    )
