"""A flow's verdict does not depend on how many were judged before it.

The policies are drawn from a small world, so that rules meet in it, and every
flow of that world is judged: alone, and by a judge who keeps verdicts.
"""

from ipaddress import ip_address, ip_network
from itertools import product
from random import Random

import pytest
from strategies import HOST, OTHER, endpoint_key

from calico.compiler.host import compile_host
from calico.ir.state import DesiredState
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import InterfaceName, ProfileId, Revision, TagName
from calico.model.rule import (
    Action,
    Cidr,
    Peer,
    PortRange,
    ProfileRules,
    Protocol,
    Rule,
)
from calico.model.snapshot import Snapshot
from calico.verdict import cut
from calico.verdict.cut import Flow, FlowJudge

TAGS = (TagName("T"), TagName("U"))
PORTS = range(1, 6)
HERE, THERE = "10.0.0.1", [f"10.0.0.{n}" for n in range(2, 8)]
OWN = frozenset({ip_address("10.0.0.7")})
SOME_FLOW = Flow(ip_address("192.0.2.77"), ip_address("192.0.2.78"), 6)


def draw_peer(draw: Random) -> Peer:
    first = draw.choice(PORTS)
    last = draw.choice(range(first, PORTS[-1] + 1))
    free_bits = draw.randrange(4)
    address = draw.randrange(8) >> free_bits << free_bits
    text = f"10.0.0.{address}/{32 - free_bits}"
    return Peer(
        tag=draw.choice((None, None, *TAGS)),
        cidr=draw.choice((None, Cidr(ip_network(text), text))),
        ports=draw.choice((None, (PortRange(first, last),))),
    )


def draw_rules(draw: Random) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            draw.choice((Action.ALLOW, Action.DENY)),
            Protocol.TCP,
            source=draw_peer(draw),
            destination=draw_peer(draw),
        )
        for _ in range(5)
    )


def draw_state(draw: Random) -> DesiredState:
    places = (
        (endpoint_key(0), HERE, "A"),
        (endpoint_key(1, OTHER), THERE[0], "T"),
        (endpoint_key(2, OTHER), THERE[1], "U"),
    )
    endpoints = (
        WorkloadEndpoint(
            key,
            EndpointState.ACTIVE,
            InterfaceName("cali0"),
            None,
            (ProfileId(name),),
            (ip_address(address),),
        )
        for key, address, name in places
    )
    snapshot = Snapshot(
        Revision(1),
        tags={ProfileId(tag): (tag,) for tag in TAGS},
        rules={
            ProfileId("A"): ProfileRules(draw_rules(draw), draw_rules(draw)),
            **{ProfileId(tag): ProfileRules() for tag in TAGS},
        },
        endpoints={each.key: each for each in endpoints},
    )
    return compile_host(snapshot, HOST)


@pytest.mark.parametrize("seed", range(25))
def test_flow_judged_among_many_gets_the_verdict_that_it_gets_alone(seed: int) -> None:
    state = draw_state(Random(seed))
    judge = FlowJudge(state, OWN)
    for _ in range(cut.N_JUDGED_ONE_BY_ONE):
        judge.find_denial(SOME_FLOW)
    pairs = [*product([HERE], THERE), *product(THERE, [HERE])]
    for (source, destination), one, other in product(pairs, PORTS, PORTS):
        flow = Flow(ip_address(source), ip_address(destination), 6, one, other)
        assert judge.find_denial(flow) == FlowJudge(state, OWN).find_denial(flow)
