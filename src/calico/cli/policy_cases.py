"""Policy tests, asked of what the agents compile: one verdict for each case.

A case is one test and one of its ports. It passes when policy says the same
of every two addresses that its ends may be meant by, and that is what the
test expects. Each host is compiled once, for all ends that the tests of a
document name, and no words are made here: a case that failed is followed once
more by whoever wants to explain it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from calico.cli.cluster import Cluster
from calico.cli.explanation import Explanation
from calico.cli.hypothetical import add_hypothetical
from calico.cli.policy_ends import Ends
from calico.cli.policy_file import PolicyFile
from calico.cli.question import (
    ECHO_REQUEST,
    FIRST_DYNAMIC_PORT,
    Answer,
    Headers,
    Question,
    address_pairs,
    ends_of,
    flow_of,
    follow_pairs,
    judging_hosts,
    over_tunnel,
)
from calico.cli.refusal import Refused
from calico.codec.policy_test import PolicyTest
from calico.ir.origin import EndOfProfiles, Origin, RuleOrigin
from calico.ir.packet import Elsewhere
from calico.ir.state import DesiredState
from calico.model.names import EndpointKey, HostName
from calico.model.rule import Action
from calico.netset import Address, Family
from calico.verdict.cut import make_first_packet
from calico.verdict.journey import Journey
from calico.verdict.narrow import NarrowedProfiles

if TYPE_CHECKING:
    # What sends packets takes 30 ms to import, and few tests are sent.
    from calico.cli.prove import Proof

States = Mapping[HostName, DesiredState]

_MAX_NARROWED = 4096


class Outcome(Enum):
    """What came of a case; the value is what people and programs read."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    DISAGREES = "disagrees"
    UNDECIDED = "undecided"
    NOT_SENT = "not sent"


FAILURES = frozenset({Outcome.FAILED, Outcome.ERROR, Outcome.DISAGREES})
"""What makes the command fail. What was not sent or not decided has not passed,
and has not failed either."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A test that can be asked: its ends are found.

    Attributes:
        test: The test.
        question: For its first port.
        pairs: The addresses that the ends may be meant by; at least one pair.
        hosts: Those that judge.
    """

    test: PolicyTest
    question: Question
    pairs: tuple[tuple[Address, Address], ...]
    hosts: tuple[HostName, ...]

    def question_at(self, port: int) -> Question:
        """Return what is asked in the case of one port."""
        if port == self.question.headers.destination_port:
            return self.question
        headers = replace(self.question.headers, destination_port=port)
        return replace(self.question, headers=headers)

    def follow(self, states: States, port: int) -> tuple[Journey, ...]:
        """Follow the flow of one case, between each pair of addresses."""
        return follow_pairs(states, self.question_at(port), self.pairs)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a case found, of each pair of addresses.

    Attributes:
        verdicts: Whether the flow is allowed.
        is_by_rule: Whether the rule that the test names decided it; empty when
            it names none.
    """

    verdicts: tuple[bool, ...]
    is_by_rule: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of a case that was to be sent as real packets.

    Attributes:
        outcome: Any but an error.
        why: In words; empty when it passed.
        explanation: What the kernel was compared with; `None` when nothing was
            sent.
        proofs: What the kernel did with each packet.
    """

    outcome: Outcome
    why: str
    explanation: Explanation | None = None
    proofs: tuple["Proof", ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """A case that was asked, or could not be.

    Attributes:
        test: The test.
        port: The destination port; 0 for ICMP.
        inquiry: The test with its ends; `None` when they are not to be had.
        finding: What was found; `None` likewise.
        refusal: Why it could not be asked; empty when it was.
        live: What came of it as real packets; `None` without `--live`, and when
            it could not be asked.
    """

    test: PolicyTest
    port: int
    inquiry: Inquiry | None
    finding: Finding | None
    refusal: tuple[str, ...] = ()
    live: Sent | None = None

    @property
    def name(self) -> str:
        """The test's name, with the port when the test has several."""
        if len(self.test.ports) < len(("two", "ports")):
            return self.test.name
        return f"{self.test.name} [{self.test.protocol.value}/{self.port}]"

    @property
    def outcome(self) -> Outcome:
        """What came of it: as a real packet too, where that was asked for."""
        if self.live is None:
            return self._asked()
        if self.live.outcome is Outcome.DISAGREES:
            return Outcome.DISAGREES
        asked = self._asked()
        return self.live.outcome if asked is Outcome.PASSED else asked

    def _asked(self) -> Outcome:
        if self.finding is None:
            return Outcome.ERROR
        expected = self.test.expected is Action.ALLOW
        is_as_expected = all(each is expected for each in self.finding.verdicts)
        if is_as_expected and all(self.finding.is_by_rule):
            return Outcome.PASSED
        return Outcome.FAILED


@dataclass(frozen=True, slots=True)
class Suite:
    """The cases of one document, asked.

    Attributes:
        file: The document.
        cluster: What was asked, with the document's endpoints in it.
        states: What each host must do of which a case has asked.
        cases: In the order of the tests and their ports.
        deciders: The cases, by their index, that each rule decided something
            of; a rule that decided nothing is absent.
    """

    file: PolicyFile
    cluster: Cluster
    states: States
    cases: tuple[Case, ...]
    deciders: Mapping[RuleOrigin, tuple[int, ...]]

    def explain(self, case: Case) -> Explanation | None:
        """Explain a case; `None` when it could not be asked."""
        inquiry = case.inquiry
        if inquiry is None:
            return None
        states = {host: self.states[host] for host in inquiry.hosts}
        journeys = inquiry.follow(states, case.port)
        question = inquiry.question_at(case.port)
        return Explanation(self.cluster, question, Answer(states, journeys))


def run_suite(cluster: Cluster, file: PolicyFile, here: HostName) -> Suite:
    """Ask every case of a document.

    Raises:
        Refused: A hypothetical endpoint cannot be made.
    """
    filled, hypothetical = add_hypothetical(cluster, file, here)
    ends = Ends(filled, here, hypothetical)
    inquiries = [_prepare(ends, test) for test in file.tests.tests]
    states = compile_hosts(filled, [i for i in inquiries if isinstance(i, Inquiry)])
    narrowing = _Narrowing(states)
    cases: list[Case] = []
    deciders: dict[RuleOrigin, list[int]] = {}
    for test, inquiry in zip(file.tests.tests, inquiries, strict=True):
        for port in test.ports or (0,):
            if isinstance(inquiry, Refused):
                cases.append(Case(test, port, None, None, tuple(inquiry.lines)))
                continue
            question = inquiry.question_at(port)
            asked = narrowing.states_for(question, inquiry)
            journeys = follow_pairs(asked, question, inquiry.pairs)
            for origin in _deciding_rules(journeys):
                deciders.setdefault(origin, []).append(len(cases))
            cases.append(Case(test, port, inquiry, find(test, journeys)))
    return Suite(
        file,
        filled,
        states,
        tuple(cases),
        {origin: tuple(dict.fromkeys(those)) for origin, those in deciders.items()},
    )


def find(test: PolicyTest, journeys: Iterable[Journey]) -> Finding:
    """Keep of a case's journeys what a test can notice."""
    return Finding(
        tuple([each.is_allowed for each in journeys]),
        ()
        if test.rule is None
        else tuple([is_named(test.rule, each.origin) for each in journeys]),
    )


def is_named(text: str, origin: Origin) -> bool:
    """Report whether a test's `rule` names what decided."""
    words = " ".join(text.split())
    match origin:
        case RuleOrigin():
            name = f"{origin.profile} {origin.direction.value} {origin.number}"
            return words in {name, origin.text}
        case EndOfProfiles():
            return words in {"end of profiles", origin.text}
        case _:
            return words == origin.text


def _prepare(ends: Ends, test: PolicyTest) -> Inquiry | Refused:
    """Find the ends of a test, or say why it cannot be asked."""
    try:
        question = Question(
            source=ends.find(test.source),
            destination=ends.find(test.destination),
            headers=_headers(test),
            families=tuple(Family) if test.family is None else (test.family,),
        )
        question = over_tunnel(ends.cluster, question)
        hosts = judging_hosts(question)
        return Inquiry(test, question, tuple(address_pairs(question)), hosts)
    except Refused as error:
        return error


def _headers(test: PolicyTest) -> Headers:
    if test.protocol.has_ports:
        port = test.source_port
        return Headers(
            test.protocol,
            source_port=FIRST_DYNAMIC_PORT if port is None else port,
            destination_port=test.ports[0],
        )
    icmp_type = test.icmp_type
    return Headers(
        test.protocol,
        icmp_type=ECHO_REQUEST[test.protocol] if icmp_type is None else icmp_type,
        icmp_code=test.icmp_code,
    )


def compile_hosts(cluster: Cluster, inquiries: Iterable[Inquiry]) -> States:
    """Compile what each host that judges must do, as far as tests ask for it."""
    hosts: dict[HostName, None] = {}
    judged: set[EndpointKey] = set()
    for each in inquiries:
        hosts.update(dict.fromkeys(each.hosts))
        judged |= ends_of(each.question)
    return {host: cluster.state_of(host, judged=judged) for host in hosts}


class _NarrowedStates(dict[HostName, DesiredState]):
    """What hosts must do, with narrowed profiles; each is made when asked for."""

    def __init__(self, states: States, profiles: NarrowedProfiles) -> None:
        super().__init__()
        self._states = states
        self._profiles = profiles

    def __missing__(self, host: HostName) -> DesiredState:
        made = replace(self._states[host], profiles=self._profiles)
        self[host] = made
        return made


@dataclass(slots=True)
class _Narrowing:
    """Leaves out the rules that cannot match, for headers that come again.

    The headers of tests recur, and of most profiles one or two rules are about
    them. Which rule decides is the same; only what was tried before is not told.
    """

    states: States
    _seen: set[Headers] = field(default_factory=set[Headers])
    _narrowed: dict[Headers, _NarrowedStates] = field(
        default_factory=dict[Headers, _NarrowedStates]
    )

    def states_for(self, question: Question, inquiry: Inquiry) -> States:
        """Return what hosts must do, as far as it can matter to a question."""
        headers = question.headers
        found = self._narrowed.get(headers)
        if found is not None:
            return found
        if headers not in self._seen or len(self._narrowed) == _MAX_NARROWED:
            self._seen.add(headers)
            return self.states
        flow = flow_of(headers, *inquiry.pairs[0])
        outside = Elsewhere.OUTSIDE
        packet = make_first_packet(flow, outside, outside, b"")
        # A profile is compiled alike on every host that has it.
        profiles = {
            name: profile
            for state in self.states.values()
            for name, profile in state.profiles.items()
        }
        made = _NarrowedStates(self.states, NarrowedProfiles(profiles, packet))
        self._narrowed[headers] = made
        return made


def _deciding_rules(journeys: Iterable[Journey]) -> Iterator[RuleOrigin]:
    for journey in journeys:
        for leg in journey.legs:
            for step in leg.trace.steps:
                if isinstance(step.origin, RuleOrigin):
                    yield step.origin
