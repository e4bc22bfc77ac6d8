"""Algebra of canonical ranges of integers, shared by every kind of set."""

from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]
"""Inclusive (first, last) pairs, ascending, neither overlapping nor touching."""


def normalise(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """Bring inclusive pairs, in any order and overlapping, into canonical form.

    Args:
        pairs: (first, last) with first <= last.
    """
    merged: list[tuple[int, int]] = []
    for first, last in sorted(pairs):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def union(left: Ranges, right: Ranges) -> Ranges:
    """Return the members of either."""
    return normalise((*left, *right))


def intersection(left: Ranges, right: Ranges) -> Ranges:
    """Return the members of both."""
    common: list[tuple[int, int]] = []
    i = j = 0
    while i < len(left) and j < len(right):
        first = max(left[i][0], right[j][0])
        last = min(left[i][1], right[j][1])
        if first <= last:
            common.append((first, last))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return tuple(common)


def complement(ranges: Ranges, last: int) -> Ranges:
    """Return the members of 0..`last` that are not in `ranges`."""
    gaps: list[tuple[int, int]] = []
    start = 0
    for first, end in ranges:
        if start < first:
            gaps.append((start, first - 1))
        start = end + 1
    if start <= last:
        gaps.append((start, last))
    return tuple(gaps)


def contains(ranges: Ranges, member: int) -> bool:
    """Report whether `member` lies in one of the ranges."""
    # A loop, not `any` of a generator: every rule that is tried asks three times.
    for first, last in ranges:  # noqa: SIM110 -- see above
        if first <= member <= last:
            return True
    return False
