"""The differential suite proves itself: each planted renderer bug is caught."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from judge import run_cases
from namespaces import in_new_netns

from calico.render.objects import (
    Compare,
    Field,
    InRanges,
    InSet,
    NftRule,
    Ruleset,
    Statement,
)

Planted = Callable[[NftRule], NftRule]


def without(*kinds: type) -> Callable[[NftRule], NftRule]:
    """Forget the statements of some kinds."""
    return lambda rule: replace(
        rule, statements=tuple(s for s in rule.statements if type(s) not in kinds)
    )


def each_statement(change: Callable[[Statement], Statement]) -> Planted:
    return lambda rule: replace(
        rule, statements=tuple(change(s) for s in rule.statements)
    )


def confuse_sides(statement: Statement) -> Statement:
    swapped = {
        Field.SOURCE_PORT: Field.DESTINATION_PORT,
        Field.DESTINATION_PORT: Field.SOURCE_PORT,
    }
    match statement:
        case InRanges(look_at=look_at) if look_at in swapped:
            return replace(statement, look_at=swapped[look_at])
        case _:
            return statement


def shift_ports(statement: Statement) -> Statement:
    ports = {Field.SOURCE_PORT, Field.DESTINATION_PORT}
    match statement:
        case InRanges(look_at=look_at) if look_at in ports:
            shorter = tuple((a, max(a, b - 1)) for a, b in statement.ranges)
            return replace(statement, ranges=shorter)
        case _:
            return statement


def forget_mask(statement: Statement) -> Statement:
    match statement:
        case Compare(mask=bytes()):
            return replace(statement, mask=None)
        case _:
            return statement


def forget_code(rule: NftRule) -> NftRule:
    kept = tuple(
        s
        for s in rule.statements
        if not (isinstance(s, Compare) and s.look_at is Field.ICMP_CODE)
    )
    return replace(rule, statements=kept)


def in_profiles(change: Planted) -> Callable[[Ruleset], Ruleset]:
    """Plant a bug in every rule of every profile's chain."""

    def plant(ruleset: Ruleset) -> Ruleset:
        chains = {
            name: replace(chain, rules=tuple(change(rule) for rule in chain.rules))
            if name.startswith("profile-")
            else chain
            for name, chain in ruleset.chains.items()
        }
        return replace(ruleset, chains=chains)

    return plant


def in_chains(
    prefix: str, change: Callable[[tuple[NftRule, ...]], tuple[NftRule, ...]]
) -> Callable[[Ruleset], Ruleset]:
    """Plant a bug in the rule lists of the chains whose name starts so."""

    def plant(ruleset: Ruleset) -> Ruleset:
        chains = {
            name: replace(chain, rules=change(chain.rules))
            if name.startswith(prefix)
            else chain
            for name, chain in ruleset.chains.items()
        }
        return replace(ruleset, chains=chains)

    return plant


def without_members(name: str) -> Callable[[Ruleset], Ruleset]:
    return lambda ruleset: replace(
        ruleset, members={k: v for k, v in ruleset.members.items() if k != name}
    )


BUGS: dict[str, Callable[[Ruleset], Ruleset]] = {
    "tags are not looked up": in_profiles(without(InSet)),
    "ports are not compared": in_profiles(without(InRanges)),
    "source and destination ports are confused": in_profiles(
        each_statement(confuse_sides)
    ),
    "the last port of a range is missing": in_profiles(each_statement(shift_ports)),
    "a network is compared as one address": in_profiles(each_statement(forget_mask)),
    "the ICMP code is not compared": in_profiles(forget_code),
    "rules are in reverse order": in_chains("profile-", lambda rules: rules[::-1]),
    "the last rule of a profile is missing": in_chains(
        "profile-", lambda rules: rules[:-1]
    ),
    "the default drop of a list is missing": in_chains(
        "list-", lambda rules: rules[:-1]
    ),
    "only the first profile of a list is asked": in_chains(
        "list-", lambda rules: (*rules[:1], *rules[-1:])
    ),
    "established flows are not accepted": in_chains(
        "to-workload", lambda rules: (rules[0], *rules[2:])
    ),
    "the source is not checked": in_chains("source-check", lambda _: ()),
    "the host is not protected": in_chains("input", lambda _: ()),
    "inbound policy is not asked": in_chains("forward-to", lambda _: ()),
    "outbound policy is not asked": in_chains("forward-from", lambda _: ()),
    "a tag set stays empty": without_members("tag4-red"),
}


@pytest.mark.kernel
@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_caught(bug: str) -> None:
    problems, _ = in_new_netns(lambda: run_cases(20261, 400, BUGS[bug]))
    assert problems, f"nobody noticed that {bug}"
