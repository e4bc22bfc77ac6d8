"""An answered question, in words for people and as JSON for programs."""

from collections.abc import Iterator
from dataclasses import dataclass

from calico.cli.cluster import Cluster
from calico.cli.endpoint_names import endpoint_name, short_name
from calico.cli.question import Answer, Question
from calico.codec.json_text import Json
from calico.codec.words import show_rule
from calico.compiler.problems import address_problem, interface_problem
from calico.ir.origin import (
    EndOfProfiles,
    Fault,
    FaultOrigin,
    FixedOrigin,
    InactiveEndpoint,
    Origin,
    RuleOrigin,
    SourceCheck,
)
from calico.ir.state import DesiredState
from calico.model.names import EndpointKey, HostName, Revision
from calico.model.rule import Action, ProfileRules
from calico.model.snapshot import Undecodable
from calico.verdict.journey import Journey, Leg
from calico.verdict.miss import explain_miss
from calico.verdict.trace import Stage, Step, Trial

_N_SHOWN_PAIRS = 8
_VERDICTS = {True: "allowed", False: "denied"}
_KINDS: dict[type, str] = {
    RuleOrigin: "rule",
    FaultOrigin: "fault",
    EndOfProfiles: "end of profiles",
    SourceCheck: "source check",
    InactiveEndpoint: "inactive endpoint",
    FixedOrigin: "fixed",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """A question with its answer.

    Attributes:
        cluster: What was asked.
        question: The question.
        answer: The answer.
    """

    cluster: Cluster
    question: Question
    answer: Answer

    @property
    def is_allowed(self) -> bool:
        """Whether the packet is allowed between each two addresses."""
        return self.answer.is_allowed

    @property
    def verdict(self) -> str:
        """The answer as a word."""
        return _VERDICTS[self.is_allowed]

    def remarks(self) -> tuple[str, ...]:
        """Say what the user should know beside the verdict."""
        found = [self.question.source.remark, self.question.destination.remark]
        for journey in self.answer.journeys:
            for leg in journey.legs:
                found += _problems(self.answer.states[leg.host], leg)
        return tuple(dict.fromkeys(each for each in found if each))


def _problems(state: DesiredState, leg: Leg) -> Iterator[str]:
    """Find what is wrong with the ends of a leg, as the compiler says it."""
    problems = state.problems
    ends = (leg.packet.enters, leg.packet.leaves)
    for end in ends:
        if isinstance(end, EndpointKey):
            yield problems.get(interface_problem(end), "")
    for address in (leg.packet.source, leg.packet.destination):
        yield problems.get(address_problem(address.packed), "")


def describe(found: Explanation) -> Iterator[str]:
    """Write an explanation as lines, the verdict first, what is in force last."""
    yield from describe_verdict(found)
    yield ""
    yield from _describe_force(found)


def describe_verdict(found: Explanation) -> Iterator[str]:
    """Write the verdict and the way to it as lines."""
    question = found.question
    yield (
        f"{question.source.text} → {question.destination.text}"
        f" {question.headers}: {_headline(found)}"
    )
    yield from (f"note: {each}" for each in found.remarks())
    for lines, journeys in _grouped(found).items():
        yield ""
        for journey in journeys[:_N_SHOWN_PAIRS]:
            flow = journey.flow
            yield (
                f"IPv{flow.source.version} {flow.source} → {flow.destination}:"
                f" {_VERDICTS[journey.is_allowed]} by {journey.origin.text}"
            )
        if len(journeys) > _N_SHOWN_PAIRS:
            yield f"and {len(journeys) - _N_SHOWN_PAIRS} more pairs of addresses"
        yield from lines


def _grouped(found: Explanation) -> dict[tuple[str, ...], list[Journey]]:
    """Put together the journeys of which the same is to be said."""
    groups: dict[tuple[str, ...], list[Journey]] = {}
    for journey in found.answer.journeys:
        lines = tuple(
            line for leg in journey.legs for line in _describe_leg(found, leg)
        )
        groups.setdefault(lines, []).append(journey)
    return groups


def _headline(found: Explanation) -> str:
    by_version: dict[int, set[bool]] = {}
    for journey in found.answer.journeys:
        allowed = by_version.setdefault(journey.flow.source.version, set())
        allowed.add(journey.is_allowed)
    words = {
        version: _VERDICTS[allowed == {True}] for version, allowed in by_version.items()
    }
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return ", ".join(f"{word} for IPv{version}" for version, word in words.items())


def _describe_leg(found: Explanation, leg: Leg) -> Iterator[str]:
    before: tuple[Stage, EndpointKey | None] | None = None
    for step in leg.trace.steps:
        if (step.stage, step.endpoint) != before:
            before = (step.stage, step.endpoint)
            whose = "" if step.endpoint is None else f" of {short_name(step.endpoint)}"
            yield f"  {leg.host}: {step.stage.value}{whose}"
        yield from _describe_step(found, leg, step)


def _describe_step(found: Explanation, leg: Leg, step: Step) -> Iterator[str]:
    indent = "    "
    if step.profile is not None and not isinstance(step.origin, FaultOrigin):
        yield f"{indent}profile {step.profile}"
        indent = "      "
        if not step.trials:
            yield f"{indent}has no rules in this direction"
    for trial in step.trials:
        yield indent + _describe_trial(found.cluster, leg, trial)
    if step.outcome is None or any(trial.miss is None for trial in step.trials):
        return
    words = _reason(found, leg, step)
    verdict = _OUTCOMES[step.outcome]
    yield f"    {verdict}: {words}" if words else f"    {verdict}"


_OUTCOMES = {Action.ALLOW: "allowed", Action.DENY: "denied"}


def _describe_trial(cluster: Cluster, leg: Leg, trial: Trial) -> str:
    origin = trial.rule.origin
    name = f"rule {origin.number}" if isinstance(origin, RuleOrigin) else ""
    words = _words(cluster, origin)
    shown = f"{name:8}{words}" if name else words
    reason = explain_miss(trial, leg.packet)
    if reason:
        return f"{shown}: {reason}"
    action = getattr(trial.rule, "action", None)
    return f"{shown}: matches{'' if action is None else f', {_OUTCOMES[action]}'}"


def _words(cluster: Cluster, origin: Origin) -> str:
    """Spell the rule that an origin stands for, or what else it is."""
    if isinstance(origin, RuleOrigin):
        rules = cluster.snapshot.rules.get(origin.profile)
        if isinstance(rules, ProfileRules):
            return show_rule(rules.of(origin.direction)[origin.number - 1])
    return origin.text


def _reason(found: Explanation, leg: Leg, step: Step) -> str:
    """Say in words why a step that is no rule decided; empty when it did not."""
    match step.origin:
        case FaultOrigin():
            return _fault(found.cluster, step.origin)
        case EndOfProfiles():
            is_empty = not step.origin.profiles
            return _NO_PROFILE if is_empty else _NO_MATCH
        case SourceCheck():
            return _spoofed(found.answer.states[leg.host], leg, step.origin.endpoint)
        case InactiveEndpoint():
            return "the endpoint is inactive"
        case RuleOrigin() | FixedOrigin():
            return step.origin.text
        case None:
            return ""


_NO_PROFILE = "the endpoint lists no profile"
_NO_MATCH = "no rule of its profiles matches (end of profiles)"


def _fault(cluster: Cluster, origin: FaultOrigin) -> str:
    found = {
        Fault.UNDECODABLE_RULES: cluster.snapshot.rules.get(origin.profile),
        Fault.UNDECODABLE_TAGS: cluster.snapshot.tags.get(origin.profile),
    }.get(origin.fault)
    why = f" ({found.reason})" if isinstance(found, Undecodable) else ""
    return f"profile {origin.profile} {origin.fault.value}{why}"


def _spoofed(state: DesiredState, leg: Leg, key: EndpointKey) -> str:
    endpoint = state.endpoints.get(key)
    own = None if endpoint is None else endpoint.mac
    if own is not None and own != leg.packet.source_mac:
        mac = leg.packet.source_mac.hex(":")
        return f"the source MAC {mac} is not its own, {own.hex(':')} (spoofed)"
    return f"the source {leg.packet.source} is not its own (spoofed)"


def _describe_force(found: Explanation) -> Iterator[str]:
    revision, statuses = found.cluster.revision, found.cluster.statuses
    if statuses is None:
        yield f"Policy revision {revision}, as exported."
        return
    for host in found.answer.states:
        at = _revision_of(found, host)
        if at is None:
            yield f"Policy revision {revision}; {host} has no live agent."
        elif at >= revision:
            yield f"Policy revision {revision} is in force on {host}."
        else:
            yield f"Policy revision {revision} is not in force on {host}: it has {at}."


def _revision_of(found: Explanation, host: HostName) -> Revision | None:
    status = (found.cluster.statuses or {}).get(host)
    return None if status is None else status.revision


def explain_as_json(found: Explanation) -> dict[str, Json]:
    """Write an explanation as `-o json` prints it."""
    headers = found.question.headers
    return {
        "verdict": found.verdict,
        "revision": found.cluster.revision,
        "question": {
            "source": found.question.source.text,
            "destination": found.question.destination.text,
            "protocol": headers.protocol.value,
            "source_port": headers.source_port,
            "destination_port": headers.destination_port,
            "icmp_type": headers.icmp_type,
            "icmp_code": headers.icmp_code,
        },
        "hosts": [
            {
                "host": host,
                "revision": at,
                "in_force": at is not None and at >= found.cluster.revision,
            }
            for host in found.answer.states
            for at in (_revision_of(found, host),)
        ],
        "remarks": list(found.remarks()),
        "journeys": [_journey_json(found, each) for each in found.answer.journeys],
    }


def _journey_json(found: Explanation, journey: Journey) -> Json:
    return {
        "family": journey.flow.source.version,
        "source": str(journey.flow.source),
        "destination": str(journey.flow.destination),
        "verdict": _VERDICTS[journey.is_allowed],
        "origin": origin_json(journey.origin),
        "steps": [
            _step_json(found.cluster, leg, step)
            for leg in journey.legs
            for step in leg.trace.steps
        ],
    }


def _step_json(cluster: Cluster, leg: Leg, step: Step) -> Json:
    return {
        "host": leg.host,
        "stage": step.stage.value,
        "endpoint": None if step.endpoint is None else endpoint_name(step.endpoint),
        "profile": step.profile,
        "outcome": None if step.outcome is None else step.outcome.value,
        "origin": None if step.origin is None else origin_json(step.origin),
        "rules": [
            {
                "origin": origin_json(trial.rule.origin),
                "words": _words(cluster, trial.rule.origin),
                "matches": trial.miss is None,
                "miss": None if trial.miss is None else trial.miss.value,
                "reason": explain_miss(trial, leg.packet),
            }
            for trial in step.trials
        ],
    }


def origin_json(origin: Origin) -> Json:
    """Write where a verdict was written: its kind, its text and its parts."""
    made: dict[str, Json] = {"kind": _KINDS[type(origin)], "text": origin.text}
    match origin:
        case RuleOrigin():
            made["profile"] = origin.profile
            made["direction"] = origin.direction.value
            made["number"] = origin.number
        case FaultOrigin():
            made["profile"] = origin.profile
        case EndOfProfiles():
            made["profiles"] = list(origin.profiles)
            made["direction"] = origin.direction.value
        case SourceCheck() | InactiveEndpoint():
            made["endpoint"] = endpoint_name(origin.endpoint)
        case FixedOrigin():
            pass
    return made
