"""Steps that turn one ruleset into another, in an order the kernel accepts.

Every step of one transaction takes effect at once. The order matters only for
what may refer to what while the kernel checks the steps one by one.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from calico.netset import Ranges
from calico.render.objects import Chain, MapElement, NftRule, Ruleset, SetSpec


@dataclass(frozen=True, slots=True)
class AddChain:
    """Make a chain, or leave an existing one as it is; rules come apart."""

    chain: Chain


@dataclass(frozen=True, slots=True)
class DeleteChain:
    """Take a chain out with its rules; nothing may refer to it any more."""

    name: str


@dataclass(frozen=True, slots=True)
class FlushChain:
    """Take all rules out of a chain."""

    name: str


@dataclass(frozen=True, slots=True)
class AddRule:
    """Append a rule to a chain."""

    chain: str
    rule: NftRule


@dataclass(frozen=True, slots=True)
class AddSet:
    """Make a set or a verdict map."""

    spec: SetSpec


@dataclass(frozen=True, slots=True)
class DeleteSet:
    """Take a set out with its elements; no rule may refer to it any more."""

    name: str


@dataclass(frozen=True, slots=True)
class FlushSet:
    """Take all elements out of a set."""

    name: str


@dataclass(frozen=True, slots=True)
class AddMembers:
    """Add keys to a plain set."""

    spec: SetSpec
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class DeleteMembers:
    """Take keys, each of them present, out of a plain set."""

    spec: SetSpec
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AddRanges:
    """Add inclusive ranges to an interval set."""

    spec: SetSpec
    ranges: Ranges


@dataclass(frozen=True, slots=True)
class AddElements:
    """Add elements to a verdict map."""

    spec: SetSpec
    elements: tuple[tuple[bytes, MapElement], ...]


@dataclass(frozen=True, slots=True)
class DeleteElements:
    """Take elements, each of them present, out of a verdict map.

    Attributes:
        spec: The map.
        elements: As they are now: the kernel wants the verdict too.
    """

    spec: SetSpec
    elements: tuple[tuple[bytes, MapElement], ...]


Step = (
    AddChain
    | DeleteChain
    | FlushChain
    | AddRule
    | AddSet
    | DeleteSet
    | FlushSet
    | AddMembers
    | DeleteMembers
    | AddRanges
    | AddElements
    | DeleteElements
)


def diff_rulesets(before: Ruleset, after: Ruleset) -> tuple[Step, ...]:
    """List the steps that turn `before` into `after`.

    Both may be parts of a table: what is in neither stays. A set that is in
    `sets` of neither may still gain and lose members, when its spec is in
    both.
    """
    return (
        *_new_sets(before, after),
        *_new_chains(before, after),
        *_element_steps(before, after),
        *_rule_steps(before, after),
        *_gone(before, after),
    )


def _new_sets(before: Ruleset, after: Ruleset) -> list[Step]:
    return [
        AddSet(spec) for name, spec in after.sets.items() if name not in before.sets
    ]


def _new_chains(before: Ruleset, after: Ruleset) -> list[Step]:
    return [
        AddChain(chain)
        for name, chain in after.chains.items()
        if name not in before.chains
    ]


def _element_steps(before: Ruleset, after: Ruleset) -> list[Step]:
    return [
        step
        for spec in after.sets.values()
        for part in (removals(spec, before, after), additions(spec, before, after))
        for step in part
    ]


def removals(spec: SetSpec, before: Ruleset, after: Ruleset) -> Iterator[Step]:
    """List the steps that take out of one set what it should not hold."""
    name = spec.name
    if spec.is_verdict_map:
        gone = _only_in_first(before, after, name)
        if gone:
            yield DeleteElements(spec, gone)
    elif spec.is_interval:
        # Interval sets hold a handful of pools: refilling is cheap and exact.
        old = before.ranges.get(name, ())
        if old and old != after.ranges.get(name, ()):
            yield FlushSet(name)
    elif removed := _members(before, name) - _members(after, name):
        yield DeleteMembers(spec, tuple(removed))


def additions(spec: SetSpec, before: Ruleset, after: Ruleset) -> Iterator[Step]:
    """List the steps that put into one set what it lacks after `removals`."""
    name = spec.name
    if spec.is_verdict_map:
        come = _only_in_first(after, before, name)
        if come:
            yield AddElements(spec, come)
    elif spec.is_interval:
        new = after.ranges.get(name, ())
        if new and new != before.ranges.get(name, ()):
            yield AddRanges(spec, new)
    elif added := _members(after, name) - _members(before, name):
        yield AddMembers(spec, tuple(added))


def _members(ruleset: Ruleset, name: str) -> AbstractSet[bytes]:
    return ruleset.members.get(name, frozenset[bytes]())


def _only_in_first(
    first: Ruleset, second: Ruleset, name: str
) -> tuple[tuple[bytes, MapElement], ...]:
    """List the elements of a map that are not, or differ, in another ruleset."""
    others = second.elements.get(name, {})
    found = first.elements.get(name, {})
    return tuple((k, e) for k, e in found.items() if others.get(k) != e)


def _rule_steps(before: Ruleset, after: Ruleset) -> list[Step]:
    steps: list[Step] = []
    for name, chain in after.chains.items():
        old = before.chains.get(name)
        if old is not None and old.rules == chain.rules:
            continue
        if old is not None:
            steps.append(FlushChain(name))
        steps.extend(AddRule(name, rule) for rule in chain.rules)
    return steps


def _gone(before: Ruleset, after: Ruleset) -> list[Step]:
    # Verdict maps of a removed set would refer to chains, and rules of removed
    # chains to sets and other chains: empty everything first.
    chains = [name for name in before.chains if name not in after.chains]
    sets = [name for name in before.sets if name not in after.sets]
    return [
        *(FlushSet(name) for name in sets if before.sets[name].is_verdict_map),
        *(FlushChain(name) for name in chains),
        *(DeleteChain(name) for name in chains),
        *(DeleteSet(name) for name in sets),
    ]
