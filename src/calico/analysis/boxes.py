"""Sets of points as unions of boxes, each box a product of sets of integers.

A box has one set per dimension, and a point is in it when each coordinate is in
its set. Sets, not single intervals: a rule for two ports is one box. Taking one
box out of another leaves at most one box per dimension, so what is left of a
packet set after a list of rules is a list of boxes that do not overlap.

The same set of points can be cut into boxes in many ways. `canonical` chooses
one: along the first dimension those coordinates are put together that have the
same rest, and so on inwards. Equal sets then are equal values.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from calico.netset.ranges import Ranges, complement, contains, intersection, normalise

Box = tuple[Ranges, ...]
"""One set per dimension, none of them empty."""

Region = tuple[Box, ...]
"""A union of boxes; what `canonical` returns is the one way to write it."""

NOTHING: Region = ()


def intersect(left: Box, right: Box) -> Box | None:
    """Return the points in both boxes, or `None` when there are none."""
    common: list[Ranges] = []
    for mine, theirs in zip(left, right, strict=True):
        both = mine if mine == theirs else intersection(mine, theirs)
        if not both:
            return None
        common.append(both)
    return tuple(common)


def subtract(box: Box, other: Box) -> Iterator[Box]:
    """Yield boxes that together are `box` without `other`, none overlapping."""
    if intersect(box, other) is None:
        yield box
        return
    inside: tuple[Ranges, ...] = ()
    for position, (mine, theirs) in enumerate(zip(box, other, strict=True)):
        outside = intersection(mine, complement(theirs, mine[-1][1]))
        if outside:
            yield (*inside, outside, *box[position + 1 :])
        inside = (*inside, intersection(mine, theirs))


def canonical(boxes: Iterable[Box]) -> Region:
    """Write a union of boxes, which may overlap, in its one canonical form."""
    boxes = [box for box in boxes if all(box)]
    if not boxes:
        return NOTHING
    if len(boxes[0]) == 1:
        return ((normalise(pair for box in boxes for pair in box[0]),),)
    ends = {end for box in boxes for first, last in box[0] for end in (first, last + 1)}
    slabs: dict[Region, list[tuple[int, int]]] = {}
    for first, after in pairwise(sorted(ends)):
        rest = canonical(box[1:] for box in boxes if contains(box[0], first))
        if rest:
            slabs.setdefault(rest, []).append((first, after - 1))
    return tuple(
        sorted(
            (normalise(pairs), *box) for rest, pairs in slabs.items() for box in rest
        )
    )


def intersect_regions(left: Region, right: Region) -> Region:
    """Return the points in both regions, in canonical form."""
    pairs = (intersect(one, other) for one in left for other in right)
    return canonical(box for box in pairs if box is not None)


def holds(region: Iterable[Box], point: Sequence[int]) -> bool:
    """Report whether a point is in one of the boxes."""
    return any(all(map(contains, box, point)) for box in region)
