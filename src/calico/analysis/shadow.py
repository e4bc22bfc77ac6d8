"""Rules that can never decide anything, and what hides them.

What a rule matches is given to the rules before it, one after the other; when
nothing is left, the rule never decides. That is asked in three ways, each wider
than the one before, and the narrowest that holds is the claim:

    PROFILE  by the rules of the profile alone, whoever carries which tag: it
             holds wherever the profile is listed
    LISTS    in every list of profiles that an active endpoint has, whoever
             carries which tag
    TODAY    in every such list, for the addresses of these endpoints and the
             members that the tags have now

Each claim is exact: there is no packet, not merely none that was tried. Where
that would take more boxes than the bound, the rule is not decided.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from calico.analysis.parties import States
from calico.analysis.partition import MAX_BOXES, split
from calico.analysis.uses import Use, alone, uses_of
from calico.analysis.witness import Witness, choose_point, prove, tag_sets_at
from calico.ir.match import CompiledRule
from calico.ir.origin import Origin, RuleOrigin
from calico.ir.state import CompiledProfile
from calico.netset import Family


class Scope(Enum):
    """What a claim depends on; the value is the word for it."""

    PROFILE = "profile"
    LISTS = "lists"
    TODAY = "today"


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A rule that never decides.

    Attributes:
        rule: The rule.
        scope: What the claim depends on.
        hidden_by: What decides the packets that it matches, in order; empty
            when it matches none.
        witness: One of those packets; `None` when it matches none.
        reasons: Why it matches nothing, in the user's words.
    """

    rule: RuleOrigin
    scope: Scope
    hidden_by: tuple[Origin, ...] = ()
    witness: Witness | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shadows:
    """The answer for a profile.

    Attributes:
        shadowed: The rules that never decide, in order.
        undecided: Rules for which the bound on the work was reached.
    """

    shadowed: tuple[Shadowed, ...]
    undecided: tuple[RuleOrigin, ...]


@dataclass(frozen=True, slots=True)
class _Hiding:
    """How a rule fares in one place and family.

    Attributes:
        is_hidden: Whether nothing is left of it; `None` beyond the bound.
        by: What takes it, in order.
        witness: A packet that the first of these takes, if there is one.
    """

    is_hidden: bool | None
    by: tuple[Origin, ...] = ()
    witness: Witness | None = None


def find_shadows(
    profile: CompiledProfile, states: States, *, max_boxes: int = MAX_BOXES
) -> Shadows:
    """Find the rules of a profile that can never decide.

    Args:
        profile: The profile, in use or not.
        states: What each host must do.
        max_boxes: The bound on the work for each rule and list.
    """
    by_itself = alone(profile)
    uses = tuple(uses_of(profile, states))
    shadowed: list[Shadowed] = []
    undecided: list[RuleOrigin] = []
    for origin in _origins(profile):
        found = _judge_rule(_Question(profile, origin, max_boxes), by_itself, uses)
        if isinstance(found, Shadowed):
            shadowed.append(found)
        elif found is _NoClaim.UNDECIDED:
            undecided.append(origin)
    return Shadows(tuple(shadowed), tuple(undecided))


class _NoClaim(Enum):
    """Why a rule is not said to be hidden."""

    DECIDES = "it decides some packet"
    UNDECIDED = "the bound on the work was reached"


@dataclass(frozen=True, slots=True)
class _Question:
    """A rule of a profile, and the bound on the work."""

    profile: CompiledProfile
    origin: RuleOrigin
    max_boxes: int

    def rules(self) -> Iterator[tuple[Family, CompiledRule]]:
        """Yield the rule as it is in each family in which it can match."""
        for family in Family:
            for rule in self.profile.rules[self.origin.direction, family]:
                if rule.origin == self.origin:
                    yield family, rule

    def reasons(self) -> tuple[str, ...]:
        """Say why it cannot match, in each family in which it cannot."""
        return tuple(n.reason for n in self.profile.never if n.origin == self.origin)


def _judge_rule(
    question: _Question, by_itself: Use, uses: Sequence[Use]
) -> Shadowed | _NoClaim:
    """Find the narrowest claim that holds."""
    if not any(question.rules()):
        return Shadowed(question.origin, Scope.PROFILE, reasons=question.reasons())
    hidings = list(_with_any_members(question, by_itself))
    if all(each.is_hidden for each in hidings):
        return _claim(question, Scope.PROFILE, hidings)
    if not uses:
        is_undecided = any(each.is_hidden is None for each in hidings)
        return _NoClaim.UNDECIDED if is_undecided else _NoClaim.DECIDES
    return _judge_uses(question, uses)


def _judge_uses(question: _Question, uses: Iterable[Use]) -> Shadowed | _NoClaim:
    scope = Scope.LISTS
    hidings: list[_Hiding] = []
    for use in uses:
        found = list(_with_any_members(question, use))
        if not all(each.is_hidden for each in found):
            scope = Scope.TODAY
            found = list(_with_members_of_today(question, use))
        if any(each.is_hidden is False for each in found):
            return _NoClaim.DECIDES
        hidings += found
    if any(each.is_hidden is None for each in hidings):
        return _NoClaim.UNDECIDED
    return _claim(question, scope, hidings)


def _claim(question: _Question, scope: Scope, hidings: Iterable[_Hiding]) -> Shadowed:
    hidings = list(hidings)
    by = dict.fromkeys(origin for each in hidings for origin in each.by)
    witnesses = (each.witness for each in hidings if each.witness is not None)
    return Shadowed(question.origin, scope, tuple(by), next(witnesses, None))


def _with_any_members(question: _Question, use: Use) -> Iterator[_Hiding]:
    """Judge a rule in a list, for each family, whoever carries which tag."""
    direction = question.origin.direction
    for family, rule in question.rules():
        openness = use.openness(direction, family)
        asked = use.with_any_members(rule, direction, family)
        found = split(asked.packets, asked.before, max_boxes=question.max_boxes)
        if found is None:
            yield _Hiding(is_hidden=None)
            continue
        parts = [(o, tuple(openness.possible(boxes))) for o, boxes in found.parts]
        parts = [(origin, boxes) for origin, boxes in parts if boxes]
        if any(openness.possible(found.rest)):
            yield _Hiding(is_hidden=False)
            continue
        # A rule that matches in a family matches some packet for some members.
        point = choose_point(parts[0][1], family)
        members = tag_sets_at(openness, point, family)
        state = replace(use.state, tag_sets=members)
        witness = prove(state, use.key(direction), point, family)
        yield _Hiding(
            is_hidden=True, by=tuple(origin for origin, _ in parts), witness=witness
        )


def _with_members_of_today(question: _Question, use: Use) -> Iterator[_Hiding]:
    """Judge a rule in a list, for each family, with all members as they are."""
    direction = question.origin.direction
    for family, rule in question.rules():
        asked = use.with_members_of_today(rule, direction, family)
        found = split(asked.packets, asked.before, max_boxes=question.max_boxes)
        if found is None:
            yield _Hiding(is_hidden=None)
        elif found.rest:
            yield _Hiding(is_hidden=False)
        else:
            witness = None
            if found.parts:
                point = choose_point(found.parts[0][1], family)
                witness = prove(use.state, use.key(direction), point, family)
            yield _Hiding(
                is_hidden=True, by=tuple(o for o, _ in found.parts), witness=witness
            )


def _origins(profile: CompiledProfile) -> list[RuleOrigin]:
    """List the rules of a profile, those that never match too, in order."""
    rules = [rule.origin for each in profile.rules.values() for rule in each]
    everyone = {*rules, *(each.origin for each in profile.never)}
    return sorted(
        (each for each in everyone if isinstance(each, RuleOrigin)),
        key=lambda each: (each.direction.value, each.number),
    )
