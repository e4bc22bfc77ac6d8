"""Sets of packets that leave open who is in which tag set.

For each tag set and each side of a packet there is one more dimension, which is
1 when the address on that side is in the set and 0 when it is not. What holds
for all points of such a space holds for any members. Only a packet from an
address to itself has to be in the same sets on both sides.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from calico.analysis.boxes import Box, Region
from calico.analysis.space import headers_of
from calico.ir.match import AddressMatch, CompiledRule, TagSetId
from calico.model.rule import Direction
from calico.netset import AddressSet, Family, Ranges

N_PLAIN = 5
"""The dimensions before those of the tag sets: header and addresses."""

_IN: Ranges = ((1, 1),)
_OUT: Ranges = ((0, 0),)
_EITHER: Ranges = ((0, 1),)


@dataclass(frozen=True, slots=True)
class Openness:
    """The tag sets whose members are left open, one dimension for each.

    Attributes:
        at_source: Those that rules ask of a source.
        at_destination: Those that rules ask of a destination; these dimensions
            come last.
    """

    at_source: tuple[TagSetId, ...]
    at_destination: tuple[TagSetId, ...]

    @classmethod
    def of(cls, rules: Iterable[CompiledRule]) -> "Openness":
        """Leave open every tag set that the rules name."""
        sources: dict[TagSetId, None] = {}
        destinations: dict[TagSetId, None] = {}
        for rule in rules:
            for side, found in (
                (rule.match.source, sources),
                (rule.match.destination, destinations),
            ):
                if side.tag_set is not None:
                    found[side.tag_set] = None
        return cls(tuple(sources), tuple(destinations))

    def boxes_of(self, rule: CompiledRule) -> Region:
        """Return the packets that a rule matches."""
        source, destination = rule.match.source, rule.match.destination
        tail = (
            source.networks.ranges,
            destination.networks.ranges,
            *_bits(source, self.at_source),
            *_bits(destination, self.at_destination),
        )
        return tuple((*box, *tail) for box in headers_of(rule.match))

    def everything(self, family: Family, headers: Iterable[Box]) -> Region:
        """Return the packets with these headers, from and to anywhere."""
        addresses = AddressSet.everything(family).ranges
        n_open = len(self.at_source) + len(self.at_destination)
        tail = (addresses, addresses, *([_EITHER] * n_open))
        return tuple((*box, *tail) for box in headers)

    def possible(self, boxes: Iterable[Box]) -> Iterator[Box]:
        """Leave out the boxes without a packet.

        Such a box has one address on both sides, in a set and not in it.
        """
        for box in boxes:
            source, destination = box[3], box[4]
            is_one = len(source) == 1 and source[0][0] == source[0][1]
            if not (is_one and source == destination and self._is_torn(box)):
                yield box

    def members(self, point: Sequence[int]) -> dict[TagSetId, frozenset[int]]:
        """Return the tag sets, with those addresses of a point that are in them."""
        found: dict[TagSetId, set[int]] = {}
        start = N_PLAIN
        for tag_sets, address in (
            (self.at_source, point[3]),
            (self.at_destination, point[4]),
        ):
            for tag_set, is_in in zip(tag_sets, point[start:], strict=False):
                found.setdefault(tag_set, set()).update({address} if is_in else ())
            start += len(tag_sets)
        return {tag_set: frozenset(those) for tag_set, those in found.items()}

    def _is_torn(self, box: Box) -> bool:
        middle = N_PLAIN + len(self.at_source)
        at_source = dict(zip(self.at_source, box[N_PLAIN:middle], strict=True))
        at_destination = zip(self.at_destination, box[middle:], strict=True)
        return any(
            {bits, at_source.get(tag_set)} == {_IN, _OUT}
            for tag_set, bits in at_destination
        )


def _bits(match: AddressMatch, tag_sets: tuple[TagSetId, ...]) -> list[Ranges]:
    return [_IN if each == match.tag_set else _EITHER for each in tag_sets]


def own_dimension(direction: Direction) -> int:
    """Return the dimension of the address whose endpoint's policy is asked."""
    return 3 if direction is Direction.OUTBOUND else 4
