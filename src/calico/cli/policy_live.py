"""`test --live`: cases of policy tests, sent as real packets.

Only what begins on this host can be sent, and only this host's kernel is seen.
What the kernel is compared with is explained anew, of the datastore alone: the
hypothetical endpoints of a document carry tags that no kernel knows of.

A case that could not be sent, or of which another host has the last word that
nobody heard, is neither passed nor failed, and says why.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from calico.cli import output
from calico.cli.call import Call
from calico.cli.cluster import Cluster
from calico.cli.explanation import Explanation
from calico.cli.policy_cases import (
    Case,
    Inquiry,
    Outcome,
    Sent,
    States,
    Suite,
    compile_hosts,
)
from calico.cli.policy_file import PolicyFile
from calico.cli.prove import Ends, Proof, find_ends, send_probes, wait_in_force
from calico.cli.question import Answer
from calico.cli.refusal import Refused
from calico.codec.keys import POLICY_PREFIXES
from calico.linux.namespace import NamespaceMissing
from calico.model.errors import InvalidResource
from calico.model.names import EndpointKey, HostName
from calico.model.rule import Action
from calico.probe.errors import AddressMissing, PortInUse
from calico.probe.values import Arrival
from calico.verdict.journey import End, HostItself

_GRAVEST_FIRST = (
    Outcome.DISAGREES,
    Outcome.FAILED,
    Outcome.NOT_SENT,
    Outcome.UNDECIDED,
)


def send_suites(
    call: Call, cluster: Cluster, suites: tuple[Suite, ...]
) -> tuple[Suite, ...]:
    """Send the cases one after the other, and add what came of each.

    Args:
        call: The command.
        cluster: The datastore's, without the endpoints of any document.
        suites: The documents, asked of that cluster.

    Raises:
        Refused: This host does not enforce the cluster's policy, or policy has
            changed meanwhile.
        NotPermitted: This process may not send packets, or not follow them.
        Unavailable: The kernel or the datastore does not answer.
    """
    wait_in_force(call, cluster)
    here = call.settings.hostname
    n_cases, n_done = sum(len(suite.cases) for suite in suites), 0
    made: list[Suite] = []
    try:
        for suite in suites:
            cases: list[Case] = []
            for case in _send_suite(cluster, suite, here):
                cases.append(case)
                n_done += 1
                output.show_progress(f"{n_done} of {n_cases} cases")
            made.append(replace(suite, cases=tuple(cases)))
    finally:
        output.show_progress("")
    if call.store.last_change(POLICY_PREFIXES) != cluster.revision:
        raise Refused(
            "Nothing is proved: policy changed while packets were under way. Try again."
        )
    return tuple(made)


def _send_suite(cluster: Cluster, suite: Suite, here: HostName) -> Iterator[Case]:
    found = [_find_ends(suite.file, cluster, case, here) for case in suite.cases]
    inquiries = [
        case.inquiry
        for case, ends in zip(suite.cases, found, strict=True)
        if case.inquiry is not None and isinstance(ends, Ends)
    ]
    # Without endpoints of its own, a document's cluster is the datastore's.
    has_own = bool(suite.file.tests.endpoints)
    states = compile_hosts(cluster, inquiries) if has_own else suite.states
    for case, ends in zip(suite.cases, found, strict=True):
        inquiry = case.inquiry
        if inquiry is None:
            yield case
        elif isinstance(ends, Refused):
            yield replace(case, live=Sent(Outcome.NOT_SENT, ends.lines[0]))
        else:
            explanation = _explain(cluster, states, inquiry, case.port)
            yield replace(case, live=_send(explanation, ends, case, here))


def _find_ends(
    file: PolicyFile, cluster: Cluster, case: Case, here: HostName
) -> Ends | Refused:
    """Find where a case is sent from, and to, or say why it cannot be."""
    if case.inquiry is None:
        return Refused(*case.refusal)
    question = case.inquiry.question
    for each in (question.source, question.destination):
        if _is_hypothetical(file, cluster, each.end):
            return Refused(f"{each.text} is hypothetical.")
    try:
        return find_ends(question, here)
    except Refused as error:
        return error


def _is_hypothetical(file: PolicyFile, cluster: Cluster, end: End) -> bool:
    match end:
        case EndpointKey():
            return end not in cluster.snapshot.endpoints
        case HostItself(host):
            return any(each.name == host for each in file.tests.hosts)
        case _:
            return False


def _explain(
    cluster: Cluster, states: States, inquiry: Inquiry, port: int
) -> Explanation:
    judging = {host: states[host] for host in inquiry.hosts}
    journeys = inquiry.follow(judging, port)
    question = inquiry.question_at(port)
    return Explanation(cluster, question, Answer(judging, journeys))


def _send(explanation: Explanation, ends: Ends, case: Case, here: HostName) -> Sent:
    """Send a case between each two addresses, and keep the gravest of it."""
    proofs: list[Proof] = []
    whys: dict[Outcome, str] = {}
    expectation = Expectation(case.test.expected, _hosts_beyond(explanation, here))
    try:
        for proof in send_probes(explanation, ends, here):
            proofs.append(proof)
            outcome, why = expectation.judge(proof)
            whys.setdefault(outcome, why)
    except (AddressMissing, InvalidResource, NamespaceMissing, PortInUse) as error:
        whys.setdefault(Outcome.NOT_SENT, str(error))
    for outcome in _GRAVEST_FIRST:
        if outcome in whys:
            return Sent(outcome, whys[outcome], explanation, tuple(proofs))
    return Sent(Outcome.PASSED, "", explanation, tuple(proofs))


def _hosts_beyond(explanation: Explanation, here: HostName) -> tuple[HostName, ...]:
    return tuple(host for host in explanation.answer.states if host != here)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is expected of a packet.

    Attributes:
        action: What should become of it.
        beyond: The other hosts that judge it, whose kernels are not seen here.
    """

    action: Action
    beyond: tuple[HostName, ...]

    def judge(self, proof: Proof) -> tuple[Outcome, str]:
        """Compare a packet's fate with what is expected; say why if it differs."""
        if proof.agrees is False:
            return Outcome.DISAGREES, "the kernel and the explainer disagree"
        if proof.result.flow is None:
            return Outcome.NOT_SENT, f"nothing could be sent: {proof.result.fault}"
        if self.action is Action.DENY:
            return self._judge_denied(proof)
        return self._judge_allowed(proof)

    def _judge_denied(self, proof: Proof) -> tuple[Outcome, str]:
        allowed = _verdict(proof)
        if allowed is False:
            return Outcome.PASSED, ""
        if proof.result.arrival is Arrival.ARRIVED:
            return Outcome.FAILED, "the packet arrived"
        if allowed and not self.beyond:
            return Outcome.FAILED, "the kernel allowed it"
        return Outcome.UNDECIDED, self._unseen(proof)

    def _judge_allowed(self, proof: Proof) -> tuple[Outcome, str]:
        allowed = _verdict(proof)
        if allowed is False:
            return Outcome.FAILED, "the kernel denied it"
        if proof.result.arrival is Arrival.ARRIVED:
            return Outcome.PASSED, ""
        if proof.result.arrival is Arrival.MISSING:
            return Outcome.FAILED, "the packet did not arrive"
        if allowed and not self.beyond:
            return Outcome.PASSED, ""
        return Outcome.UNDECIDED, self._unseen(proof)

    def _unseen(self, proof: Proof) -> str:
        if _verdict(proof) is None:
            return "the packet was not judged by our table"
        hosts = " and ".join(self.beyond)
        return f"nothing came back, and what {hosts} does with it is not seen here"


def _verdict(proof: Proof) -> bool | None:
    path = proof.result.path
    return None if path is None else path.allowed
