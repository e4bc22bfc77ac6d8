from ipaddress import ip_address

import pytest
from strategies import HOST, OTHER, endpoint_key

from calico.compiler.host import compile_host
from calico.ir.origin import EndOfProfiles, Fixed, FixedOrigin, RuleOrigin, SourceCheck
from calico.ir.packet import Elsewhere
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import EndpointKey, InterfaceName, ProfileId, Revision
from calico.model.rule import (
    Action,
    Direction,
    Peer,
    PortRange,
    ProfileRules,
    Protocol,
    Rule,
)
from calico.model.snapshot import Snapshot
from calico.verdict.cut import Flow
from calico.verdict.journey import End, HostItself, follow, hosts_between

MAC = bytes.fromhex("020000000001")
WEB, MUTE = ProfileId("WEB"), ProfileId("MUTE")
TO_80 = Rule(Action.ALLOW, Protocol.TCP, destination=Peer(ports=(PortRange(80, 80),)))
A, B, FAR, QUIET = (
    endpoint_key(1),
    endpoint_key(2),
    endpoint_key(3, OTHER),
    endpoint_key(4),
)
ADDRESSES = {
    A: "10.0.0.1",
    B: "10.0.0.2",
    FAR: "10.0.1.3",
    QUIET: "10.0.0.4",
    HostItself(HOST): "172.20.0.1",
    HostItself(OTHER): "172.20.0.2",
    Elsewhere.OUTSIDE: "198.51.100.7",
}


def endpoint(key: EndpointKey, profile: ProfileId) -> WorkloadEndpoint:
    return WorkloadEndpoint(
        key,
        EndpointState.ACTIVE,
        InterfaceName(f"cali{key.workload}"),
        MAC,
        (profile,),
        (ip_address(ADDRESSES[key]),),
    )


SNAPSHOT = Snapshot(
    Revision(1),
    rules={
        WEB: ProfileRules((TO_80,), (Rule(Action.ALLOW),)),
        MUTE: ProfileRules((TO_80,), ()),
    },
    endpoints={
        key: endpoint(key, MUTE if key is QUIET else WEB) for key in (A, B, FAR, QUIET)
    },
)
STATES = {host: compile_host(SNAPSHOT, host) for host in (HOST, OTHER)}
INBOUND_1 = RuleOrigin(WEB, Direction.INBOUND, 1)
OUTBOUND_1 = RuleOrigin(WEB, Direction.OUTBOUND, 1)


def flow(source: End, destination: End, port: int = 80) -> Flow:
    return Flow(
        ip_address(ADDRESSES[source]),
        ip_address(ADDRESSES[destination]),
        Protocol.TCP.number,
        4000,
        port,
    )


@pytest.mark.parametrize(
    ("source", "destination", "hosts"),
    [
        (A, B, [HOST]),
        (A, FAR, [HOST, OTHER]),
        (FAR, A, [OTHER, HOST]),
        (Elsewhere.OUTSIDE, FAR, [OTHER]),
        (A, Elsewhere.OUTSIDE, [HOST]),
        (HostItself(OTHER), B, [OTHER, HOST]),
        (A, HostItself(HOST), [HOST]),
        (Elsewhere.OUTSIDE, Elsewhere.OUTSIDE, []),
    ],
)
def test_hosts_of_both_ends_judge(source: End, destination: End, hosts: object) -> None:
    assert list(hosts_between(source, destination)) == hosts


@pytest.mark.parametrize(
    ("source", "destination", "origins"),
    [
        (A, B, [INBOUND_1]),
        (A, FAR, [OUTBOUND_1, INBOUND_1]),
        (A, Elsewhere.OUTSIDE, [OUTBOUND_1]),
        (Elsewhere.OUTSIDE, A, [INBOUND_1]),
        (HostItself(HOST), A, [FixedOrigin(Fixed.OWN_HOST)]),
        (HostItself(OTHER), A, [FixedOrigin(Fixed.NOT_OURS), INBOUND_1]),
        (A, HostItself(OTHER), [OUTBOUND_1, FixedOrigin(Fixed.NOT_OURS)]),
        (A, A, [FixedOrigin(Fixed.SAME_ENDPOINT)]),
    ],
)
def test_each_host_allows_by_its_own_side(
    source: End, destination: End, origins: object
) -> None:
    journey = follow(STATES, source, destination, flow(source, destination))
    assert journey.is_allowed
    assert [leg.trace.origin for leg in journey.legs] == origins
    assert journey.origin == journey.legs[-1].trace.origin


def test_deny_ends_the_way() -> None:
    journey = follow(STATES, QUIET, FAR, flow(QUIET, FAR))
    assert not journey.is_allowed
    assert [leg.host for leg in journey.legs] == [HOST]
    assert journey.origin == EndOfProfiles((MUTE,), Direction.OUTBOUND)
    denied_there = follow(STATES, A, FAR, flow(A, FAR, 81))
    assert [leg.trace.allowed for leg in denied_there.legs] == [True, False]


def test_source_has_its_own_mac_unless_another_is_given() -> None:
    assert follow(STATES, A, B, flow(A, B), source_mac=MAC).is_allowed
    spoofed = follow(STATES, A, B, flow(A, B), source_mac=bytes(6))
    assert (spoofed.is_allowed, spoofed.origin) == (False, SourceCheck(A))
    missing = endpoint_key(9)
    unknown = follow(STATES, missing, B, flow(A, B))
    assert unknown.origin == FixedOrigin(Fixed.UNKNOWN_INTERFACE)
