"""What policy tests leave open: rules no case exercises, changes none notices.

A rule is exercised when it decided something of a case. Only then can taking
it out, or turning it round, change what the case finds; so of each change only
the cases that the rule decided are asked again, until one of them notices.
The changes are made to what is compiled: the other rules keep their numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import assert_never

from calico.cli.policy_cases import Suite, find
from calico.codec.words import show_rule
from calico.ir.match import CompiledRule
from calico.ir.origin import RuleOrigin
from calico.ir.state import CompiledProfile, DesiredState
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import HostName
from calico.model.rule import Action, Direction, ProfileRules, Rule

MAX_ASKED_AGAIN = 2_000_000
"""The most cases that are asked again for all changes together."""

_OPPOSITE = {Action.ALLOW: Action.DENY, Action.DENY: Action.ALLOW}


class Mutation(Enum):
    """A change of one rule; the value is what people read."""

    REMOVE = "removed"
    FLIP = "flipped"


@dataclass(frozen=True, slots=True)
class KnownRule:
    """A rule that the tests could be about.

    Attributes:
        origin: Which one.
        words: As `rule show` spells it.
    """

    origin: RuleOrigin
    words: str


@dataclass(frozen=True, slots=True)
class Unnoticed:
    """A rule with the changes that no case notices.

    Attributes:
        rule: The rule.
        mutations: At least one.
    """

    rule: KnownRule
    mutations: tuple[Mutation, ...]


@dataclass(frozen=True, slots=True)
class Mutations:
    """What the changes of all rules have shown.

    Attributes:
        unnoticed: The rules that can be changed unnoticed.
        undecided: The changes that were not tried: there were too many cases.
    """

    unnoticed: tuple[Unnoticed, ...]
    undecided: tuple[tuple[KnownRule, Mutation], ...]


def list_rules(suites: Sequence[Suite]) -> tuple[KnownRule, ...]:
    """List the rules of the profiles that an endpoint lists.

    Endpoints are those of the datastore and of the documents.
    """
    # The documents' clusters differ in their hypothetical endpoints alone.
    listed = {
        profile
        for suite in suites
        for endpoint in suite.cluster.snapshot.endpoints.values()
        if isinstance(endpoint, WorkloadEndpoint)
        for profile in endpoint.profile_ids
    }
    rules = suites[0].cluster.snapshot.rules
    return tuple(
        KnownRule(RuleOrigin(profile, direction, number), show_rule(rule))
        for profile in sorted(listed)
        for direction, number, rule in _numbered(rules.get(profile))
    )


def _numbered(rules: object) -> Iterator[tuple[Direction, int, Rule]]:
    if isinstance(rules, ProfileRules):
        for direction in Direction:
            for number, rule in enumerate(rules.of(direction), start=1):
                yield direction, number, rule


def find_unexercised(
    suites: Sequence[Suite], rules: Sequence[KnownRule]
) -> tuple[KnownRule, ...]:
    """List the rules that decided nothing of any case."""
    return tuple(
        each
        for each in rules
        if not any(each.origin in suite.deciders for suite in suites)
    )


def try_mutations(
    suites: Sequence[Suite],
    rules: Sequence[KnownRule],
    max_asked: int = MAX_ASKED_AGAIN,
) -> Mutations:
    """Change one rule after the other, and look which changes a case notices.

    A case notices when the verdict between any two addresses is another one, or
    when the test names a rule and that decides no longer, or only then.

    Args:
        suites: The documents, asked.
        rules: The rules to change.
        max_asked: The most cases to ask again; what is left then is undecided.
    """
    unnoticed: list[Unnoticed] = []
    undecided: list[tuple[KnownRule, Mutation]] = []
    budget = _Budget(max_asked)
    for rule in rules:
        left: list[Mutation] = []
        for mutation in Mutation:
            is_noticed = _is_noticed(suites, rule.origin, mutation, budget)
            if is_noticed is None:
                undecided.append((rule, mutation))
            elif not is_noticed:
                left.append(mutation)
        if left:
            unnoticed.append(Unnoticed(rule, tuple(left)))
    return Mutations(tuple(unnoticed), tuple(undecided))


@dataclass(slots=True)
class _Budget:
    """How many cases may still be asked again."""

    left: int


def _is_noticed(
    suites: Sequence[Suite], origin: RuleOrigin, mutation: Mutation, budget: _Budget
) -> bool | None:
    """Report whether a case notices a change; `None` when too much is to ask."""
    for suite in suites:
        states = _MutatedStates(suite.states, origin, mutation)
        for index in suite.deciders.get(origin, ()):
            if budget.left == 0:
                return None
            budget.left -= 1
            if _notices(suite, index, states):
                return True
    return False


def _notices(suite: Suite, index: int, states: "_MutatedStates") -> bool:
    case = suite.cases[index]
    if case.inquiry is None:
        return False
    changed = {host: states.of(host) for host in case.inquiry.hosts}
    journeys = case.inquiry.follow(changed, case.port)
    return find(case.test, journeys) != case.finding


@dataclass(slots=True)
class _MutatedStates:
    """What hosts would have to do with one rule changed."""

    states: Mapping[HostName, DesiredState]
    origin: RuleOrigin
    mutation: Mutation
    _made: dict[HostName, DesiredState] = field(
        default_factory=dict[HostName, DesiredState]
    )

    def of(self, host: HostName) -> DesiredState:
        """Return what one host would have to do."""
        made = self._made.get(host)
        if made is None:
            made = self._made[host] = self._mutate(self.states[host])
        return made

    def _mutate(self, state: DesiredState) -> DesiredState:
        profile = state.profiles.get(self.origin.profile)
        if profile is None:
            return state
        changed = mutate_profile(profile, self.origin, self.mutation)
        return replace(state, profiles={**state.profiles, profile.profile: changed})


def mutate_profile(
    profile: CompiledProfile, origin: RuleOrigin, mutation: Mutation
) -> CompiledProfile:
    """Change one rule of a compiled profile, and nothing else."""
    return replace(
        profile,
        rules={
            side: tuple(
                made
                for rule in rules
                for made in (
                    _mutated(rule, mutation) if rule.origin == origin else (rule,)
                )
            )
            for side, rules in profile.rules.items()
        },
    )


def _mutated(rule: CompiledRule, mutation: Mutation) -> tuple[CompiledRule, ...]:
    match mutation:
        case Mutation.REMOVE:
            return ()
        case Mutation.FLIP:
            return (replace(rule, action=_OPPOSITE[rule.action]),)
        case _:
            assert_never(mutation)
