from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from calico.analysis.boxes import (
    NOTHING,
    Box,
    canonical,
    holds,
    intersect,
    intersect_regions,
    subtract,
)
from calico.netset.ranges import normalise

LAST = 4
pairs = st.tuples(st.integers(0, LAST), st.integers(0, LAST)).map(
    lambda ends: (min(ends), max(ends))
)
sides = st.lists(pairs, min_size=1, max_size=3).map(normalise)
boxes = st.tuples(sides, sides, sides)
unions = st.lists(boxes, max_size=4)


def points(union: list[Box]) -> set[tuple[int, ...]]:
    everywhere = product(range(LAST + 1), repeat=3)
    return {point for point in everywhere if holds(union, point)}


@given(boxes, boxes)
def test_intersection_holds_what_both_hold(one: Box, other: Box) -> None:
    common = intersect(one, other)
    assert points([] if common is None else [common]) == points([one]) & points([other])


@given(boxes, boxes)
def test_difference_holds_the_rest_once(one: Box, other: Box) -> None:
    left = list(subtract(one, other))
    assert points(left) == points([one]) - points([other])
    assert sum(len(points([box])) for box in left) == len(points(left))
    assert len(left) <= 3


@given(unions)
def test_canonical_form_has_the_same_points_once(union: list[Box]) -> None:
    region = canonical(union)
    assert points(list(region)) == points(union)
    assert sum(len(points([box])) for box in region) == len(points(union))


@given(unions, unions)
def test_equal_sets_have_equal_canonical_forms(
    union: list[Box], other: list[Box]
) -> None:
    assert (canonical(union) == canonical(other)) == (points(union) == points(other))
    cut = [((each,),) for each in product(range(LAST + 1), repeat=3)]
    single = [tuple(((n, n),) for n in cell[0][0]) for cell in cut]
    assert canonical(union) == canonical(b for b in single if intersects(b, union))


def intersects(box: Box, union: list[Box]) -> bool:
    return any(intersect(box, each) for each in union)


@given(unions, unions)
def test_regions_are_intersected(union: list[Box], other: list[Box]) -> None:
    common = intersect_regions(canonical(union), canonical(other))
    assert points(list(common)) == points(union) & points(other)
    assert common == canonical(common)


def test_box_with_an_empty_side_is_nothing() -> None:
    assert canonical([((), ((1, 2),))]) == NOTHING
