import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.netset.ranges import (
    Ranges,
    complement,
    contains,
    intersection,
    normalise,
    union,
)

LAST = 15
pairs = st.tuples(st.integers(0, LAST), st.integers(0, LAST)).map(
    lambda ends: (min(ends), max(ends))
)
ranges = st.lists(pairs, max_size=5).map(normalise)


def members(of: Ranges) -> set[int]:
    return {member for first, last in of for member in range(first, last + 1)}


@pytest.mark.parametrize(
    ("given_pairs", "expected"),
    [
        ([], ()),
        ([(5, 5)], ((5, 5),)),
        ([(7, 9), (1, 2)], ((1, 2), (7, 9))),
        ([(1, 2), (3, 4)], ((1, 4),)),
        ([(1, 9), (2, 3)], ((1, 9),)),
        ([(1, 2), (4, 5)], ((1, 2), (4, 5))),
    ],
)
def test_normal_form_is_sorted_and_merged(
    given_pairs: list[tuple[int, int]], expected: Ranges
) -> None:
    assert normalise(given_pairs) == expected


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ((), ((0, LAST),)),
        (((0, LAST),), ()),
        (((0, 3),), ((4, LAST),)),
        (((4, LAST),), ((0, 3),)),
        (((2, 3), (6, 6)), ((0, 1), (4, 5), (7, LAST))),
    ],
)
def test_complement_is_the_gaps(of: Ranges, expected: Ranges) -> None:
    assert complement(of, LAST) == expected


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ((), ((1, 2),), ()),
        (((1, 2),), ((3, 4),), ()),
        (((3, 4),), ((1, 2),), ()),
        (((1, 5),), ((2, 3), (5, 9)), ((2, 3), (5, 5))),
    ],
)
def test_intersection_is_what_overlaps(
    left: Ranges, right: Ranges, expected: Ranges
) -> None:
    assert intersection(left, right) == expected


@given(ranges, ranges)
def test_algebra_is_that_of_sets_in_normal_form(left: Ranges, right: Ranges) -> None:
    everything = set(range(LAST + 1))
    for result, wanted in (
        (union(left, right), members(left) | members(right)),
        (intersection(left, right), members(left) & members(right)),
        (complement(left, LAST), everything - members(left)),
    ):
        assert members(result) == wanted
        assert normalise(result) == result


@given(ranges, st.integers(0, LAST))
def test_contains_exactly_the_members(of: Ranges, member: int) -> None:
    assert contains(of, member) == (member in members(of))
