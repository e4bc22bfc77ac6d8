from ipaddress import ip_address

import pytest
from strategies import HOST, endpoint_key

from calico.compiler.host import compile_host
from calico.ir.origin import EndOfProfiles, RuleOrigin
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import InterfaceName, ProfileId, Revision
from calico.model.rule import Action, Direction, ProfileRules, Protocol, Rule
from calico.model.snapshot import SettingKey, Snapshot
from calico.verdict.cut import N_JUDGED_ONE_BY_ONE, Flow, FlowJudge

OPEN, SHUT = ProfileId("OPEN"), ProfileId("SHUT")
MAC = bytes.fromhex("020000000001")
HOST_ADDRESS = "192.0.2.1"
NO_UDP = Rule(Action.DENY, Protocol.UDP)
ALL = Rule(Action.ALLOW)


def endpoint(number: int, profile: ProfileId, *addresses: str) -> WorkloadEndpoint:
    return WorkloadEndpoint(
        endpoint_key(number),
        EndpointState.ACTIVE,
        InterfaceName(f"cali{number}"),
        MAC if number == 0 else None,
        (profile,),
        tuple(ip_address(text) for text in addresses),
    )


ENDPOINTS = (
    endpoint(0, OPEN, "10.0.0.1", "10.0.0.9"),
    endpoint(1, SHUT, "10.0.0.2", "10.0.0.9"),
)
STATE = compile_host(
    Snapshot(
        Revision(1),
        rules={
            OPEN: ProfileRules((NO_UDP, ALL), (NO_UDP, ALL)),
            SHUT: ProfileRules(),
        },
        endpoints={each.key: each for each in ENDPOINTS},
        settings={SettingKey("DefaultEndpointToHostAction"): "RETURN"},
    ),
    HOST,
)
JUDGE = FlowJudge(STATE, {ip_address(HOST_ADDRESS)})


def flow(source: str, destination: str, protocol: int = 6) -> Flow:
    return Flow(ip_address(source), ip_address(destination), protocol, 4000, 80)


@pytest.mark.parametrize(
    "allowed",
    [
        flow("10.0.0.1", "198.51.100.1"),
        flow("198.51.100.1", "10.0.0.1"),
        flow("10.0.0.1", HOST_ADDRESS),
        flow(HOST_ADDRESS, "10.0.0.2"),
        flow("198.51.100.1", HOST_ADDRESS, 17),
        # Shared: one of the two owners is allowed to.
        flow("10.0.0.9", "198.51.100.1"),
        flow("198.51.100.1", "10.0.0.9"),
        Flow(ip_address("10.0.0.2"), ip_address("255.255.255.255"), 17, 68, 67),
        Flow(ip_address("fe80::ff:fe00:1"), ip_address("ff02::2"), 58, icmp_type=133),
    ],
    ids=str,
)
def test_flow_that_is_allowed_stays(allowed: Flow) -> None:
    assert JUDGE.find_denial(allowed) is None


@pytest.mark.parametrize(
    ("denied", "origin"),
    [
        (
            flow("10.0.0.1", "198.51.100.1", 17),
            RuleOrigin(OPEN, Direction.OUTBOUND, 1),
        ),
        (
            flow("198.51.100.1", "10.0.0.1", 17),
            RuleOrigin(OPEN, Direction.INBOUND, 1),
        ),
        (flow("10.0.0.2", HOST_ADDRESS), EndOfProfiles((SHUT,), Direction.OUTBOUND)),
        (flow("10.0.0.1", "10.0.0.2"), EndOfProfiles((SHUT,), Direction.INBOUND)),
        (
            flow("10.0.0.9", "198.51.100.1", 17),
            RuleOrigin(OPEN, Direction.OUTBOUND, 1),
        ),
    ],
    ids=str,
)
def test_denied_flow_names_what_denies_it(denied: Flow, origin: object) -> None:
    trace = JUDGE.find_denial(denied)
    assert trace is not None
    assert trace.origin == origin


def test_verdict_is_the_same_after_many_flows() -> None:
    judge = FlowJudge(STATE, {ip_address(HOST_ADDRESS)})
    asked = [
        flow("10.0.0.1", "198.51.100.1"),
        flow("10.0.0.1", "198.51.100.2", 17),
        flow("198.51.100.1", "10.0.0.2"),
        flow("10.0.0.2", HOST_ADDRESS),
        flow(HOST_ADDRESS, "10.0.0.2"),
    ]
    first = [judge.find_denial(each) for each in asked]
    for _ in range(N_JUDGED_ONE_BY_ONE):
        judge.find_denial(asked[0])
    assert [judge.find_denial(each) for each in asked] == first
    assert [judge.find_denial(each) for each in asked] == first
    assert [each is None for each in first] == [True, False, False, False, True]
