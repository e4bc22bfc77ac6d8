"""What is told of a flow that is cut."""

from ipaddress import ip_address

import pytest
from strategies import endpoint_key

from calico.agent.flows import report_cut, to_be_judged
from calico.control.cuts import Side
from calico.ir.origin import (
    EndOfProfiles,
    Fault,
    FaultOrigin,
    InactiveEndpoint,
    Origin,
    RuleOrigin,
)
from calico.linux.conntrack_wire import Flow, FlowTuple
from calico.model.names import ProfileId
from calico.model.rule import Action, Direction
from calico.verdict.trace import Stage, Step, Trace

A = ProfileId("A")
HERE, THERE, DIALLED = (ip_address(f"192.0.2.{n}") for n in (1, 2, 3))
FLOW = Flow(4, 6, FlowTuple(HERE, DIALLED, 40000, 80), FlowTuple(THERE, HERE, 8080), 1)


def denial(origin: Origin, stage: Stage) -> Trace:
    step = Step(stage, endpoint_key(1), Action.DENY, origin)
    return Trace(allowed=False, origin=origin, steps=(step,))


@pytest.mark.parametrize(
    ("origin", "stage", "told"),
    [
        (
            RuleOrigin(A, Direction.INBOUND, 3),
            Stage.INBOUND,
            ("A", "inbound", 3, Side.DESTINATION),
        ),
        (
            RuleOrigin(A, Direction.OUTBOUND, 1),
            Stage.OUTBOUND,
            ("A", "outbound", 1, Side.SOURCE),
        ),
        (
            EndOfProfiles((A,), Direction.INBOUND),
            Stage.INBOUND,
            (None, "inbound", None, Side.DESTINATION),
        ),
        (
            FaultOrigin(A, Fault.UNDECODABLE_RULES),
            Stage.OUTBOUND,
            ("A", "outbound", None, Side.SOURCE),
        ),
        (
            FaultOrigin(A, Fault.MISSING),
            Stage.INBOUND,
            ("A", "inbound", None, Side.DESTINATION),
        ),
        (
            InactiveEndpoint(endpoint_key(1)),
            Stage.SOURCE_CHECK,
            (None, None, None, Side.SOURCE),
        ),
    ],
)
def test_rule_and_side_are_those_of_the_denial(
    origin: Origin, stage: Stage, told: tuple[object, ...]
) -> None:
    found = report_cut(FLOW, denial(origin, stage), "now")
    assert (found.profile, found.direction, found.number, found.side) == told
    assert found.rule == origin.text
    assert found.endpoint == "namespace/w1/eth0"
    assert found.at == "now"


@pytest.mark.parametrize(
    ("flow", "text"),
    [
        (FLOW, "tcp 192.0.2.1:40000 > 192.0.2.2:8080"),
        (
            Flow(
                4,
                1,
                FlowTuple(HERE, THERE, icmp_id=7, icmp_type=8),
                FlowTuple(THERE, HERE, icmp_id=7),
                1,
            ),
            "icmp 192.0.2.1 > 192.0.2.2 type 8 code 0",
        ),
        (
            Flow(4, 47, FlowTuple(HERE, THERE), FlowTuple(THERE, HERE), 1),
            "protocol 47 192.0.2.1 > 192.0.2.2",
        ),
    ],
)
def test_flow_is_told_as_policy_sees_it(flow: Flow, text: str) -> None:
    origin = RuleOrigin(A, Direction.INBOUND, 1)
    assert report_cut(flow, denial(origin, Stage.INBOUND), "now").flow == text


def test_first_packet_goes_to_the_translated_target() -> None:
    packet = to_be_judged(FLOW)
    assert (packet.destination, packet.destination_port) == (THERE, 8080)
    assert (packet.source, packet.source_port) == (HERE, 40000)
