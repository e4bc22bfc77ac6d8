"""Split a set of packets by what decides each of them.

The first rule that matches decides, through the profiles of a list in order,
and what none matches is denied at the end. So each rule takes from what the
ones before it left, and the parts do not overlap. Everything is read from the
desired state as `verdict.evaluate` reads it: of a packet of a new flow, from or
to an address of an endpoint with that list, both name the same origin.

The work is bounded: a list of rules can cut a set into more boxes than anybody
waits for, and beyond `MAX_BOXES` of them there is no answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from calico.analysis.boxes import NOTHING, Box, Region, intersect, subtract
from calico.analysis.space import headers_of
from calico.ir.match import AddressMatch, CompiledRule
from calico.ir.origin import EndOfProfiles, Fault, FaultOrigin, Origin
from calico.ir.state import DesiredState, PipelineKey
from calico.model.rule import Action
from calico.netset import Family, Ranges
from calico.netset.ranges import intersection, normalise

MAX_BOXES = 4000
"""How many boxes one question may have at a time."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Split(Generic[_T]):
    """A set of packets, cut up.

    Attributes:
        parts: Who takes what, in order; those that take nothing are left out.
        rest: What nobody takes.
    """

    parts: tuple[tuple[_T, Region], ...]
    rest: Region


@dataclass(frozen=True, slots=True)
class Part:
    """The packets that one origin decides.

    Attributes:
        origin: What decides them.
        action: What becomes of them.
        packets: Boxes over protocol, its two fields, source and destination.
    """

    origin: Origin
    action: Action
    packets: Region


def split(
    whole: Iterable[Box],
    takers: Iterable[tuple[_T, Sequence[Box]]],
    *,
    max_boxes: int = MAX_BOXES,
) -> Split[_T] | None:
    """Give each point of a set to the first taker that has it.

    Args:
        whole: Boxes that do not overlap.
        takers: In order; the boxes of one do not overlap each other.
        max_boxes: The bound on the work.

    Returns:
        The parts, or `None` when there would be more boxes than the bound.
    """
    rest = list(whole)
    parts: list[tuple[_T, Region]] = []
    n_taken = 0
    for who, wanted in takers:
        if not rest:
            break
        taken: list[Box] = []
        for box in wanted:
            taken += [c for each in rest if (c := intersect(each, box)) is not None]
            rest = [piece for each in rest for piece in subtract(each, box)]
            if len(rest) + len(taken) + n_taken > max_boxes:
                return None
        if taken:
            n_taken += len(taken)
            parts.append((who, tuple(taken)))
    return Split(tuple(parts), tuple(rest))


def rules_in_order(
    state: DesiredState, key: PipelineKey, family: Family
) -> tuple[tuple[CompiledRule, ...], Origin]:
    """List the rules that a list of profiles asks, and what denies after them."""
    pipeline = state.pipelines.get(key)
    if pipeline is None:
        return (), EndOfProfiles(key.profiles, key.direction)
    rules: list[CompiledRule] = []
    for stage in pipeline.stages:
        if isinstance(stage, FaultOrigin):
            return tuple(rules), stage
        profile = state.profiles.get(stage)
        if profile is None:
            return tuple(rules), FaultOrigin(stage, Fault.MISSING)
        rules.extend(profile.rules[key.direction, family])
    return tuple(rules), pipeline.end


def boxes_of(rule: CompiledRule, state: DesiredState) -> Region:
    """Return the packets that a rule matches with the tag sets as they are."""
    match = rule.match
    source = _addresses(match.source, state)
    destination = _addresses(match.destination, state)
    if not source or not destination:
        return NOTHING
    return tuple((*box, source, destination) for box in headers_of(match))


def partition(
    state: DesiredState,
    key: PipelineKey,
    family: Family,
    packets: Iterable[Box],
    *,
    max_boxes: int = MAX_BOXES,
) -> tuple[Part, ...] | None:
    """Split packets of a family by what decides them in a list of profiles.

    Args:
        state: Of the host that judges.
        key: The list, and the direction.
        family: The family of the packets.
        packets: Boxes over header and addresses that do not overlap.
        max_boxes: The bound on the work.

    Returns:
        The parts in the order of the rules, together `packets` and none
        overlapping; `None` beyond the bound.
    """
    rules, end = rules_in_order(state, key, family)
    takers = ((rule, boxes_of(rule, state)) for rule in rules)
    found = split(packets, takers, max_boxes=max_boxes)
    if found is None:
        return None
    parts = [Part(rule.origin, rule.action, region) for rule, region in found.parts]
    if found.rest:
        parts.append(Part(end, Action.DENY, found.rest))
    return tuple(parts)


def _addresses(match: AddressMatch, state: DesiredState) -> Ranges:
    admitted = match.networks.ranges
    if match.tag_set is None:
        return admitted
    members = state.tag_sets.get(match.tag_set, frozenset())
    numbers = (int.from_bytes(member, "big") for member in members)
    return intersection(admitted, normalise((n, n) for n in numbers))
