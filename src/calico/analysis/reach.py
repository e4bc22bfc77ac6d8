"""Who can talk to whom: the headers of new flows, for every pair of parties.

A packet from one endpoint to another is judged twice: outbound at the host of
its sender, inbound at the host of its receiver, each by the policy of that
endpoint and by both addresses. The addresses of a party are alike for every
rule, so which rules of a list apply is one answer for a pair of parties, and
the headers that these rules allow are computed once for all pairs with the same
rules. What both sides allow is the answer.

It is that of `verdict.evaluate` for a packet that enters by an interface of the
sender and leaves by one of the receiver. Where routing takes an address that
two endpoints share is not asked.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from calico.analysis.boxes import NOTHING, Region, canonical, intersect_regions
from calico.analysis.parties import Judge, Party, States, find_parties
from calico.analysis.partition import MAX_BOXES, rules_in_order, split
from calico.analysis.space import every_header, headers_of
from calico.ir.match import AddressMatch, CompiledRule
from calico.ir.state import PipelineKey
from calico.model.rule import Action, Direction
from calico.netset import Address, Family

RegionId = int
"""The place of an answer in `Matrix.regions`."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """What is allowed between the parties of one family.

    Attributes:
        family: The family.
        parties: Those of endpoints first, then those outside.
        cells: `cells[i][j]` is about packets from party i to party j. Between
            two parties outside nothing is judged, and the cell is empty.
        regions: The headers that a cell allows, canonical; `None` where the
            bound on the work was reached. The first is empty.
    """

    family: Family
    parties: tuple[Party, ...]
    cells: tuple[tuple[RegionId, ...], ...]
    regions: tuple[Region | None, ...]

    def allowed(self, source: int, destination: int) -> Region | None:
        """Return what a cell allows."""
        return self.regions[self.cells[source][destination]]


def reach(
    states: States,
    taken: Iterable[Address],
    family: Family,
    *,
    max_boxes: int = MAX_BOXES,
) -> Matrix:
    """Compute what every party can send to every other.

    Args:
        states: What each host must do, of every host that has an endpoint.
        taken: Every address that an endpoint has, usable or not: what is left
            is outside.
        family: The family of the packets.
        max_boxes: The bound on the work for one cell.
    """
    parties = find_parties(states, taken, family)
    answers = _Answers(family, max_boxes)
    policies = _Policies(states, parties, answers)
    numbers = range(len(parties))
    sent = [policies.row(number, Direction.OUTBOUND) for number in numbers]
    received = [policies.row(number, Direction.INBOUND) for number in numbers]
    cells = tuple(
        tuple(map(answers.both, row, column))
        for row, column in zip(sent, zip(*received, strict=True), strict=True)
    )
    return Matrix(family, parties, cells, tuple(answers.regions))


class _Applied(NamedTuple):
    """A rule as it bears on the parties; a set of parties is a number's bits.

    Attributes:
        headers: What it matches of a packet whose addresses fit.
        is_allow: Whether it allows that.
        own: The parties that may be at the end whose policy this is.
        peer: The parties that may be at the other end.
    """

    headers: RegionId
    is_allow: bool
    own: int
    peer: int


_Deciders = tuple[tuple[RegionId, bool], ...]
"""The rules that fit two addresses: what each matches, and whether it allows."""


@dataclass(slots=True)
class _Answers:
    """Every answer so far, each computed and kept once."""

    family: Family
    max_boxes: int
    regions: list[Region | None] = field(default_factory=list[Region | None])
    _ids: dict[Region | None, RegionId] = field(
        default_factory=dict[Region | None, RegionId]
    )
    _allowed: dict[_Deciders, RegionId] = field(
        default_factory=dict[_Deciders, RegionId]
    )
    _both: dict[tuple[RegionId, RegionId], RegionId] = field(
        default_factory=dict[tuple[RegionId, RegionId], RegionId]
    )

    def __post_init__(self) -> None:
        self.keep(NOTHING)

    def keep(self, region: Region | None) -> RegionId:
        """Give an answer its place; equal ones have the same."""
        known = self._ids.setdefault(region, len(self.regions))
        if known == len(self.regions):
            self.regions.append(region)
        return known

    def both(self, left: RegionId, right: RegionId) -> RegionId:
        """Return what two answers have in common."""
        if left == right:
            return left
        found = self._both.get((left, right))
        if found is None:
            found = self._both[left, right] = self.keep(self._common(left, right))
        return found

    def allowed(self, rules: _Deciders) -> RegionId:
        """Return what rules that fit both addresses allow, a deny at the end."""
        found = self._allowed.get(rules)
        if found is None:
            found = self._allowed[rules] = self.keep(self._compute(rules))
        return found

    def _compute(self, rules: _Deciders) -> Region | None:
        takers = (
            (is_allow, self.regions[headers] or ()) for headers, is_allow in rules
        )
        whole = every_header(self.family)
        found = split(whole, takers, max_boxes=self.max_boxes)
        if found is None:
            return None
        parts = (boxes for is_allow, boxes in found.parts if is_allow)
        return canonical(box for boxes in parts for box in boxes)

    def _common(self, left: RegionId, right: RegionId) -> Region | None:
        one, other = self.regions[left], self.regions[right]
        if NOTHING in {one, other}:
            return NOTHING  # whatever the undecided side is
        if one is None or other is None or len(one) * len(other) > self.max_boxes:
            return None
        return intersect_regions(one, other)


@dataclass(slots=True)
class _Policies:
    """What each party's policy allows with every other party."""

    states: States
    parties: tuple[Party, ...]
    answers: _Answers
    _everything: RegionId = field(init=False)
    _rules: dict[tuple[Judge, Direction], tuple[_Applied, ...]] = field(
        default_factory=dict[tuple[Judge, Direction], tuple[_Applied, ...]]
    )
    _fitting: dict[AddressMatch, int] = field(default_factory=dict[AddressMatch, int])

    def __post_init__(self) -> None:
        self._everything = self.answers.keep(every_header(self.answers.family))

    def row(self, number: int, direction: Direction) -> list[RegionId]:
        """Return what the policy of a party allows with each party as its peer."""
        judge = self.parties[number].judge
        n_parties = len(self.parties)
        if judge is None:
            # Between two outside nothing is judged, and the cell is empty.
            judged = (party.judge is not None for party in self.parties)
            return [self._everything if each else 0 for each in judged]
        # Peers that the same rules fit are a group, split by each further rule.
        groups: dict[_Deciders, int] = {(): (1 << n_parties) - 1}
        done: list[tuple[_Deciders, int]] = []
        for rule in self._rules_of(judge, direction):
            if not rule.own >> number & 1:
                continue
            groups = _divide(groups, rule)
            if rule.headers == self._everything:
                # Nothing after it can decide what it fits.
                done += [g for g in groups.items() if g[1] & rule.peer]
                groups = {
                    k: peers for k, peers in groups.items() if not peers & rule.peer
                }
        row = [0] * n_parties
        for deciders, peers in (*done, *groups.items()):
            answer = self.answers.allowed(deciders)
            for peer in _bits(peers):
                row[peer] = answer
        return row

    def _rules_of(self, judge: Judge, direction: Direction) -> tuple[_Applied, ...]:
        known = self._rules.get((judge, direction))
        if known is None:
            key = PipelineKey(judge.profiles, direction)
            family = self.answers.family
            rules, _ = rules_in_order(self.states[judge.host], key, family)
            known = tuple(self._apply(rule, direction) for rule in rules)
            self._rules[judge, direction] = known
        return known

    def _apply(self, rule: CompiledRule, direction: Direction) -> _Applied:
        own, peer = rule.match.source, rule.match.destination
        if direction is Direction.INBOUND:
            own, peer = peer, own
        headers = self.answers.keep(headers_of(rule.match))
        is_allow = rule.action is Action.ALLOW
        return _Applied(headers, is_allow, self._fits(own), self._fits(peer))

    def _fits(self, match: AddressMatch) -> int:
        """Return the parties that a condition holds for."""
        known = self._fitting.get(match)
        if known is None:
            known = 0
            for number, party in enumerate(self.parties):
                known |= party.fits(match) << number
            self._fitting[match] = known
        return known


def _divide(groups: dict[_Deciders, int], rule: _Applied) -> dict[_Deciders, int]:
    """Divide groups into peers that a rule fits and peers that it does not."""
    decider = (rule.headers, rule.is_allow)
    divided: dict[_Deciders, int] = {}
    for deciders, peers in groups.items():
        for key, part in (
            ((*deciders, decider), peers & rule.peer),
            (deciders, peers & ~rule.peer),
        ):
            if part:
                divided[key] = divided.get(key, 0) | part
    return divided


def _bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
