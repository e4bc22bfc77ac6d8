"""What comes of a test that was sent, from what the kernel did with its packet."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from calico.cli.policy_cases import Outcome
from calico.cli.policy_live import Expectation
from calico.cli.prove import Proof
from calico.ir.origin import EndOfProfiles, Origin, RuleOrigin
from calico.ir.packet import Elsewhere
from calico.linux.conntrack_wire import FlowTuple
from calico.linux.nft_path import BaseChainPath, KernelPath, PathEnd, PathStep
from calico.linux.nft_trace import TraceVerdict
from calico.model.names import HostName, ProfileId
from calico.model.rule import Action, Direction, Protocol
from calico.probe.values import HERE, Arrival, Probe, ProbeResult, Reply
from calico.verdict.cut import Flow, make_first_packet
from calico.verdict.journey import Leg
from calico.verdict.trace import Stage, Step, Trace

HOST, OTHER = HostName("here"), HostName("there")
SOURCE, DESTINATION = ip_address("10.0.0.1"), ip_address("10.0.0.2")
FLOW = FlowTuple(SOURCE, DESTINATION, 49152, 80)
PACKET = make_first_packet(
    Flow(SOURCE, DESTINATION, Protocol.TCP.number, 49152, 80),
    Elsewhere.OUTSIDE,
    Elsewhere.OUTSIDE,
    b"",
)
WEB = ProfileId("WEB")
ALLOW, DENY = Action.ALLOW, Action.DENY
ORIGINS: dict[Action, Origin] = {
    ALLOW: RuleOrigin(WEB, Direction.INBOUND, 1),
    DENY: EndOfProfiles((WEB,), Direction.INBOUND),
}
ARRIVED, MISSING, UNOBSERVED = Arrival.ARRIVED, Arrival.MISSING, Arrival.UNOBSERVED


def proof(
    explained: Action, seen: Action | None, arrival: Arrival, end: PathEnd
) -> Proof:
    """Make a proof.

    Args:
        explained: The explainer's verdict.
        seen: Our table's verdict; `None` when it did not come to judge.
        arrival: Whether the packet arrived.
        end: Where it was seen last.
    """
    origin = ORIGINS[explained]
    step = Step(Stage.INBOUND, None, explained, origin)
    trace = Trace(allowed=explained is ALLOW, origin=origin, steps=(step,))
    comment = "" if seen is None else ORIGINS[seen].text
    verdict = TraceVerdict.ACCEPT if seen is ALLOW else TraceVerdict.DROP
    met = PathStep("c", 1, comment, verdict)
    chain = BaseChainPath("inet", "calico", "c", "forward", seen is not None, (met,))
    path = KernelPath((chain,), end, None if seen is None else seen is ALLOW, comment)
    probe = Probe(HERE, None, DESTINATION, Protocol.TCP, 80)
    result = ProbeResult(probe, FLOW, arrival, Reply.NONE, path=path)
    return Proof(Leg(HOST, PACKET, trace), result)


LET_BY = proof(ALLOW, ALLOW, ARRIVED, PathEnd.DELIVERED)
LEFT = proof(ALLOW, ALLOW, UNOBSERVED, PathEnd.LEFT)
DENIED = proof(DENY, DENY, MISSING, PathEnd.DROPPED)
STOPPED = proof(ALLOW, ALLOW, MISSING, PathEnd.DROPPED)
NOT_JUDGED = proof(ALLOW, None, MISSING, PathEnd.DROPPED)
NOT_JUDGED_AND_GONE = proof(ALLOW, None, UNOBSERVED, PathEnd.HELD)
WRONGLY_LET = proof(DENY, ALLOW, ARRIVED, PathEnd.DELIVERED)
WRONGLY_DENIED = proof(ALLOW, DENY, MISSING, PathEnd.DROPPED)
UNSEEN = replace(DENIED, result=replace(DENIED.result, path=None))
UNSENT = replace(UNSEEN, result=replace(UNSEEN.result, flow=None, fault="no route"))


@pytest.mark.parametrize(
    ("made", "expected", "beyond", "outcome", "why"),
    [
        (LET_BY, ALLOW, (), Outcome.PASSED, ""),
        (LET_BY, DENY, (), Outcome.FAILED, "the packet arrived"),
        (DENIED, DENY, (), Outcome.PASSED, ""),
        (DENIED, ALLOW, (), Outcome.FAILED, "the kernel denied it"),
        (LEFT, ALLOW, (), Outcome.PASSED, ""),
        (LEFT, DENY, (), Outcome.FAILED, "the kernel allowed it"),
        (LEFT, ALLOW, (OTHER,), Outcome.UNDECIDED, "what there does with it"),
        (LEFT, DENY, (OTHER,), Outcome.UNDECIDED, "what there does with it"),
        (LET_BY, ALLOW, (OTHER,), Outcome.PASSED, ""),
        (LET_BY, DENY, (OTHER,), Outcome.FAILED, "the packet arrived"),
        (DENIED, DENY, (OTHER,), Outcome.PASSED, ""),
        (DENIED, ALLOW, (OTHER,), Outcome.FAILED, "the kernel denied it"),
        (STOPPED, ALLOW, (), Outcome.FAILED, "the packet did not arrive"),
        (STOPPED, DENY, (), Outcome.FAILED, "the kernel allowed it"),
        (NOT_JUDGED, ALLOW, (), Outcome.FAILED, "the packet did not arrive"),
        (NOT_JUDGED, DENY, (), Outcome.UNDECIDED, "not judged by our table"),
        (NOT_JUDGED_AND_GONE, ALLOW, (), Outcome.UNDECIDED, "not judged by our"),
        (NOT_JUDGED_AND_GONE, DENY, (OTHER,), Outcome.UNDECIDED, "not judged by our"),
        (UNSEEN, DENY, (), Outcome.UNDECIDED, "not judged by our table"),
        (UNSENT, DENY, (), Outcome.NOT_SENT, "nothing could be sent: no route"),
        (UNSENT, ALLOW, (), Outcome.NOT_SENT, "nothing could be sent: no route"),
        (WRONGLY_LET, ALLOW, (), Outcome.DISAGREES, "disagree"),
        (WRONGLY_LET, DENY, (), Outcome.DISAGREES, "disagree"),
        (WRONGLY_DENIED, ALLOW, (OTHER,), Outcome.DISAGREES, "disagree"),
        (WRONGLY_DENIED, DENY, (), Outcome.DISAGREES, "disagree"),
    ],
)
def test_packet_is_compared_with_what_is_expected(
    made: Proof,
    expected: Action,
    beyond: tuple[HostName, ...],
    outcome: Outcome,
    why: str,
) -> None:
    found, words = Expectation(expected, beyond).judge(made)
    assert found is outcome, words
    assert why in words
    assert bool(words) is (outcome is not Outcome.PASSED)
