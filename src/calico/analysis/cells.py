"""Put cells of a matrix together: equal rows, and all members of a group.

Not here: the names of endpoints, profiles and tags; who asks knows them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from calico.analysis.boxes import NOTHING, Region, canonical, intersect_regions
from calico.analysis.parties import Outside
from calico.analysis.reach import Matrix, RegionId
from calico.model.names import EndpointKey


@dataclass(frozen=True, slots=True)
class Row:
    """Equal cells of a matrix.

    Attributes:
        sources: Numbers of parties, ascending.
        destinations: Likewise.
        allowed: What any of the sources can send to any of the destinations;
            `None` when that is not decided. Never empty.
    """

    sources: tuple[int, ...]
    destinations: tuple[int, ...]
    allowed: Region | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What members of one group can send to members of another.

    Attributes:
        by_all: What each of them can send to each other one.
        by_some: What at least one can send to one; `None` when one of the
            answers is not decided, and then `by_all` is `None` too.
    """

    by_all: Region | None
    by_some: Region | None


def rows_of(
    matrix: Matrix, sources: Sequence[int], destinations: Sequence[int]
) -> tuple[Row, ...]:
    """Put the cells between some parties together where they are equal.

    Args:
        matrix: The cells.
        sources: Numbers of parties, ascending.
        destinations: Likewise.

    Returns:
        Rows that hold each cell once: an answer, the destinations for which a
        source has it, and all sources with just these. Cells that allow nothing
        are left out, and those of an endpoint with itself.
    """
    alike: dict[tuple[RegionId, ...], list[int]] = {}
    for source in sources:
        cells = matrix.cells[source]
        alike.setdefault(tuple(cells[n] for n in destinations), []).append(source)
    lone = _lone_endpoints(matrix)
    empty = matrix.regions.index(NOTHING)
    found: dict[tuple[tuple[int, ...], RegionId], list[int]] = {}
    for cells, those in alike.items():
        itself = {lone[source] for source in those}
        own = next(iter(itself)) if len(itself) == 1 else None
        by_answer: dict[RegionId, list[int]] = {}
        for number, answer in zip(destinations, cells, strict=True):
            if answer != empty and (own is None or lone[number] != own):
                by_answer.setdefault(answer, []).append(number)
        for answer, numbers in by_answer.items():
            found.setdefault((tuple(numbers), answer), []).extend(those)
    return tuple(
        Row(tuple(sorted(those)), numbers, matrix.regions[answer])
        for (numbers, answer), those in found.items()
    )


@dataclass(slots=True)
class Summaries:
    """Summaries of the cells of a matrix.

    Args:
        matrix: The cells.
    """

    matrix: Matrix
    _lone: tuple[EndpointKey | None, ...] = field(init=False)
    _known: dict[frozenset[RegionId], Summary] = field(
        default_factory=dict[frozenset[RegionId], Summary]
    )

    def __post_init__(self) -> None:
        self._lone = _lone_endpoints(self.matrix)

    def between(
        self, sources: Iterable[int], destinations: Sequence[int]
    ) -> Summary | None:
        """Summarise the cells between two groups.

        Args:
            sources: Numbers of parties.
            destinations: Likewise.

        Returns:
            The summary; `None` when there are no two different endpoints, one
            in each group.
        """
        answers: set[RegionId] = set()
        for source in sources:
            cells, own = self.matrix.cells[source], self._lone[source]
            answers.update(
                cells[number]
                for number in destinations
                if own is None or own != self._lone[number]
            )
        if not answers:
            return None
        key = frozenset(answers)
        if key not in self._known:
            self._known[key] = self._summarise(key)
        return self._known[key]

    def _summarise(self, answers: frozenset[RegionId]) -> Summary:
        regions: list[Region] = []
        for answer in sorted(answers):
            region = self.matrix.regions[answer]
            if region is None:
                return Summary(None, None)
            regions.append(region)
        by_all = regions[0]
        for region in regions[1:]:
            by_all = intersect_regions(by_all, region)
        return Summary(by_all, canonical(box for region in regions for box in region))


def _lone_endpoints(matrix: Matrix) -> tuple[EndpointKey | None, ...]:
    """Return for each party its endpoint, if all its addresses are of one."""
    found: list[EndpointKey | None] = []
    for party in matrix.parties:
        if isinstance(party.members, Outside):
            found.append(None)
            continue
        first = party.members[0].endpoint
        is_lone = all(spot.endpoint == first for spot in party.members)
        found.append(first if is_lone else None)
    return tuple(found)
