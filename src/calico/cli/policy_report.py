"""What policy tests found, in words for people and as JSON for programs."""

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from calico.cli import output
from calico.cli.explanation import Explanation, describe_verdict, explain_as_json
from calico.cli.policy_cases import FAILURES, Case, Outcome, Sent, Suite
from calico.cli.policy_rules import KnownRule, Mutations
from calico.codec.json_text import Json

_N_SHOWN = 20
"""How many cases of a kind people are shown; programs get all."""

_VERDICTS = {True: "allowed", False: "denied"}


@dataclass(frozen=True, slots=True)
class Report:
    """All that there is to tell.

    Attributes:
        suites: The documents, asked; at least one.
        rules: The rules that the tests could be about.
        unexercised: Those of them that no case exercises.
        mutations: What changes of rules have shown; `None` when none were tried.
    """

    suites: Sequence[Suite]
    rules: Sequence[KnownRule]
    unexercised: Sequence[KnownRule]
    mutations: Mutations | None

    def n_cases(self, outcome: Outcome) -> int:
        """Count the cases with an outcome."""
        return sum(
            case.outcome is outcome for suite in self.suites for case in suite.cases
        )


def print_report(report: Report) -> None:
    """Print a report for people."""
    failures = _cases_of(report, FAILURES)
    for suite, case in failures[:_N_SHOWN]:
        word = case.outcome.value.upper()
        output.line(f"{word} {suite.file.name}: {case.name}")
        for text in explain_outcome(suite, case):
            output.line(f"  {text}".rstrip())
        output.line()
    if len(failures) > _N_SHOWN:
        left = len(failures) - _N_SHOWN
        output.line(f"and {left} more that fail: `-o name` names them.")
        output.line()
    output.line(_summary(report))
    for text in _describe_unproved(report):
        output.line(text)
    for text in (*_describe_unexercised(report), *_describe_mutations(report)):
        output.line(text)


def _cases_of(report: Report, outcomes: Container[Outcome]) -> list[tuple[Suite, Case]]:
    return [
        (suite, case)
        for suite in report.suites
        for case in suite.cases
        if case.outcome in outcomes
    ]


def _summary(report: Report) -> str:
    counts = [f"{report.n_cases(Outcome.PASSED)} passed"]
    counts.append(f"{report.n_cases(Outcome.FAILED)} failed")
    for outcome, words in _RARE.items():
        n_cases = report.n_cases(outcome)
        if n_cases:
            counts.append(f"{n_cases} {words}")
    return f"{', '.join(counts)}."


_RARE = {
    Outcome.ERROR: "could not be asked",
    Outcome.DISAGREES: "on which the kernel and the explainer disagree",
    Outcome.UNDECIDED: "sent and not decided",
    Outcome.NOT_SENT: "not sent",
}


def _describe_unproved(report: Report) -> Iterator[str]:
    """Name the cases that have neither passed nor failed."""
    for outcome in (Outcome.UNDECIDED, Outcome.NOT_SENT):
        cases = _cases_of(report, {outcome})
        for suite, case in cases[:_N_SHOWN]:
            why = "" if case.live is None else case.live.why
            yield f"{outcome.value}: {suite.file.name}: {case.name}: {why}"
        if len(cases) > _N_SHOWN:
            left = len(cases) - _N_SHOWN
            yield f"{outcome.value}: {left} more, which `-o json` names"


def explain_outcome(suite: Suite, case: Case) -> Iterator[str]:
    """Say why a case did not pass, as lines: expected, found, and the way there."""
    explanation = suite.explain(case)
    yield f"expected: {expected_words(case)}"
    if explanation is None:
        yield "found:    it cannot be asked"
        yield from case.refusal
        return
    yield f"found:    {found_words(explanation)}"
    yield ""
    yield from describe_verdict(explanation)
    if case.live is not None:
        yield ""
        yield from _describe_live(case.live)


def _describe_live(live: Sent) -> Iterator[str]:
    if live.outcome is Outcome.NOT_SENT:
        yield f"not sent: {live.why}"
    else:
        yield f"sent: {live.why or 'as expected'}"
    if live.proofs:
        # Imported late: it takes 30 ms, which only what was sent has to pay.
        from calico.cli.prove import describe_proof  # noqa: PLC0415 -- see above

        for proof in live.proofs:
            yield from describe_proof(proof)


def expected_words(case: Case) -> str:
    """Say what a case expects."""
    rule = case.test.rule
    return case.test.expected.value + ("" if rule is None else f" by {rule}")


def found_words(explanation: Explanation) -> str:
    """Say what a case found, each answer once."""
    words = Counter(
        f"{_VERDICTS[each.is_allowed]} by {each.origin.text}"
        for each in explanation.answer.journeys
    )
    return "; ".join(words)


def _describe_unexercised(report: Report) -> Iterator[str]:
    n_rules = len(report.rules)
    if not report.unexercised:
        yield f"Every rule decides a case: {n_rules} of {n_rules}."
        return
    yield ""
    yield f"Rules that no test exercises, {len(report.unexercised)} of {n_rules}:"
    yield from (f"  {_rule_words(each)}" for each in report.unexercised)


def _describe_mutations(report: Report) -> Iterator[str]:
    if report.mutations is None:
        return
    # Of a rule that no test exercises it has been said already.
    known = set(report.unexercised)
    shown = [each for each in report.mutations.unnoticed if each.rule not in known]
    yield ""
    if shown:
        yield "Rules that can be changed without any test noticing:"
        for each in shown:
            how = " or ".join(mutation.value for mutation in each.mutations)
            yield f"  {_rule_words(each.rule)}: {how}"
    elif not report.mutations.undecided:
        yield "No rule that tests exercise can be removed or flipped unnoticed."
    if report.mutations.undecided:
        yield (
            f"Not decided, because there are too many cases:"
            f" {len(report.mutations.undecided)} changes of rules."
        )
        for rule, mutation in report.mutations.undecided:
            yield f"  {_rule_words(rule)}: {mutation.value}"


def _rule_words(rule: KnownRule) -> str:
    origin = rule.origin
    name = f"{origin.profile} {origin.direction.value} {origin.number}"
    return f"{name}  {rule.words}"


def report_as_json(report: Report) -> Json:
    """Write a report as `-o json` prints it."""
    return {
        "revision": report.suites[0].cluster.revision,
        "passed": report.n_cases(Outcome.PASSED),
        "failed": report.n_cases(Outcome.FAILED),
        "errors": report.n_cases(Outcome.ERROR),
        "disagreements": report.n_cases(Outcome.DISAGREES),
        "undecided": report.n_cases(Outcome.UNDECIDED),
        "not_sent": report.n_cases(Outcome.NOT_SENT),
        "files": [
            {
                "file": suite.file.name,
                "cases": [_case_json(suite, case) for case in suite.cases],
            }
            for suite in report.suites
        ],
        "unexercised": [_rule_json(each) for each in report.unexercised],
        "mutations": _mutations_json(report.mutations),
    }


def _case_json(suite: Suite, case: Case) -> Json:
    has_failed = case.outcome in {Outcome.FAILED, Outcome.DISAGREES}
    explanation = suite.explain(case) if has_failed else None
    return {
        "name": case.name,
        "test": case.test.name,
        "from": case.test.source,
        "to": case.test.destination,
        "protocol": case.test.protocol.value,
        "port": case.port if case.test.protocol.has_ports else None,
        "expect": case.test.expected.value,
        "rule": case.test.rule,
        "outcome": case.outcome.value,
        "found": _found_json(case),
        "reason": list(case.refusal),
        "explanation": None if explanation is None else explain_as_json(explanation),
        "live": None if case.live is None else _live_json(case.live),
    }


def _live_json(live: Sent) -> Json:
    # Imported late: it takes 30 ms, which only what was sent has to pay.
    from calico.cli.prove import proof_as_json  # noqa: PLC0415 -- see above

    return {
        "outcome": live.outcome.value,
        "why": live.why,
        "proofs": [proof_as_json(each) for each in live.proofs],
    }


def _found_json(case: Case) -> Json:
    if case.finding is None:
        return None
    verdicts = {_VERDICTS[each] for each in case.finding.verdicts}
    return verdicts.pop() if len(verdicts) == 1 else "both"


def _mutations_json(mutations: Mutations | None) -> Json:
    if mutations is None:
        return None
    return {
        "unnoticed": [
            {**_rule_json(each.rule), "change": mutation.value}
            for each in mutations.unnoticed
            for mutation in each.mutations
        ],
        "undecided": [
            {**_rule_json(rule), "change": mutation.value}
            for rule, mutation in mutations.undecided
        ],
    }


def _rule_json(rule: KnownRule) -> dict[str, Json]:
    return {
        "profile": rule.origin.profile,
        "direction": rule.origin.direction.value,
        "number": rule.origin.number,
        "words": rule.words,
    }
