"""Where the rules of a profile are asked: the lists in use, as boxes to take from.

A rule is asked after the rules before it in its list. A fault before it takes
everything, and then the rule is never asked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from calico.analysis.boxes import Region, intersect
from calico.analysis.parties import States
from calico.analysis.partition import boxes_of, rules_in_order
from calico.analysis.space import every_header, packets_between
from calico.analysis.symbolic import Openness, own_dimension
from calico.ir.match import CompiledRule
from calico.ir.origin import EndOfProfiles, Origin
from calico.ir.state import CompiledProfile, DesiredState, Pipeline, PipelineKey
from calico.model.names import ProfileId
from calico.model.rule import Direction
from calico.netset import AddressSet, Family, Ranges, family_of
from calico.netset.ranges import normalise

Taker = tuple[Origin, Region]
"""What decides, and the packets that it matches."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A rule at its place in a list.

    Attributes:
        packets: What it matches.
        before: What comes first, in order.
    """

    packets: Region
    before: tuple[Taker, ...]


@dataclass(frozen=True, slots=True)
class _Course:
    """The rules of a list for one direction and family, and what ends them."""

    rules: tuple[CompiledRule, ...]
    end: Origin
    openness: Openness
    any_members: tuple[Taker, ...]
    of_today: tuple[Taker, ...]


@dataclass(slots=True)
class Use:
    """A list of profiles in use.

    Attributes:
        state: Of the host that uses it.
        profiles: The list.
        profile: The profile whose rules are asked about.
        addresses: Those of the endpoints that have the list, by family.
    """

    state: DesiredState
    profiles: tuple[ProfileId, ...]
    profile: CompiledProfile
    addresses: Mapping[Family, Ranges]
    _courses: dict[tuple[Direction, Family], _Course] = field(
        default_factory=dict[tuple[Direction, Family], _Course]
    )

    def key(self, direction: Direction) -> PipelineKey:
        """Return the key of the list's pipeline."""
        return PipelineKey(self.profiles, direction)

    def openness(self, direction: Direction, family: Family) -> Openness:
        """Return the tag sets that the rules name."""
        return self._course(direction, family).openness

    def with_any_members(
        self, rule: CompiledRule, direction: Direction, family: Family
    ) -> Asked:
        """Return a rule of the profile at its place, whoever carries which tag."""
        course = self._course(direction, family)
        openness = course.openness
        everything = openness.everything(family, every_header(family))
        packets = tuple(openness.possible(openness.boxes_of(rule)))
        return Asked(packets, _before(course, course.any_members, rule, everything))

    def with_members_of_today(
        self, rule: CompiledRule, direction: Direction, family: Family
    ) -> Asked:
        """Return the same for the endpoints that there are, and their tags."""
        course = self._course(direction, family)
        anywhere = AddressSet.everything(family).ranges
        everything = packets_between(family, anywhere, anywhere)
        own = own_dimension(direction)
        here = [anywhere if n != own else self.addresses[family] for n in (3, 4)]
        packets = [
            common
            for box in boxes_of(rule, self.state)
            if (common := intersect(box, (*box[:3], *here))) is not None
        ]
        before = _before(course, course.of_today, rule, everything)
        return Asked(tuple(packets), before)

    def _course(self, direction: Direction, family: Family) -> _Course:
        known = self._courses.get((direction, family))
        if known is None:
            rules, end = rules_in_order(self.state, self.key(direction), family)
            own = self.profile.rules[direction, family]
            openness = Openness.of((*rules, *own))
            known = self._courses[direction, family] = _Course(
                rules=rules,
                end=end,
                openness=openness,
                any_members=tuple((r.origin, openness.boxes_of(r)) for r in rules),
                of_today=tuple((r.origin, boxes_of(r, self.state)) for r in rules),
            )
        return known


def _before(
    course: _Course, takers: tuple[Taker, ...], rule: CompiledRule, everything: Region
) -> tuple[Taker, ...]:
    for position, each in enumerate(course.rules):
        if each.origin == rule.origin:
            return takers[:position]
    return (*takers, (course.end, everything))


def alone(profile: CompiledProfile) -> Use:
    """Return the list that consists of a profile only, which nobody need have."""
    names = (profile.profile,)
    keys = [PipelineKey(names, direction) for direction in Direction]
    state = DesiredState(
        profiles={profile.profile: profile},
        pipelines={
            key: Pipeline(key, names, EndOfProfiles(names, key.direction))
            for key in keys
        },
    )
    return Use(state, names, profile, dict.fromkeys(Family, ()))


def uses_of(profile: CompiledProfile, states: States) -> Iterator[Use]:
    """Yield the lists with a profile that active endpoints have, host by host."""
    for state in states.values():
        numbers: dict[tuple[ProfileId, ...], dict[Family, list[int]]] = {}
        for endpoint in state.endpoints.values():
            if endpoint.is_active and profile.profile in endpoint.profiles:
                by_family = numbers.setdefault(
                    endpoint.profiles, {family: [] for family in Family}
                )
                for packed in endpoint.addresses:
                    family = family_of(ip_address(packed))
                    by_family[family].append(int.from_bytes(packed, "big"))
        for profiles, by_family in numbers.items():
            addresses = {
                family: normalise((n, n) for n in those)
                for family, those in by_family.items()
            }
            yield Use(state, profiles, profile, addresses)
