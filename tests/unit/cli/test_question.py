"""Where a flow of a host comes from, when it takes a tunnel."""

from ipaddress import ip_address, ip_network

import pytest

from calico.cli.cluster import Cluster
from calico.cli.places import locate
from calico.cli.question import Headers, Question, answer
from calico.codec.words import parse_rule
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    ProfileId,
    Revision,
    WorkloadId,
)
from calico.model.network import Pool
from calico.model.rule import ProfileRules, Protocol
from calico.model.snapshot import SettingKey, Snapshot

POOL = ip_network("10.65.0.0/16")
FROM_TUNNEL = ProfileRules((parse_rule(["allow", "from", "cidr", "10.65.0.1/32"]),), ())
A, B = HostName("a"), HostName("b")
OWN, IN_TUNNEL = ip_address("172.31.0.1"), ip_address("10.65.0.1")


def endpoint(host: HostName, name: str, address: str) -> WorkloadEndpoint:
    key = EndpointKey(host, OrchestratorId("o"), WorkloadId(name), EndpointId(name))
    return WorkloadEndpoint(
        key,
        EndpointState.ACTIVE,
        InterfaceName(f"cali{name}"),
        None,
        (ProfileId("P"),),
        (ip_address(address),),
    )


def cluster(*, vxlan: bool) -> Cluster:
    endpoints = (endpoint(A, "near", "10.65.0.2"), endpoint(B, "far", "10.65.1.2"))
    snapshot = Snapshot(
        Revision(1),
        rules={ProfileId("P"): FROM_TUNNEL},
        endpoints={each.key: each for each in endpoints},
        pools={POOL: Pool(POOL, vxlan=vxlan)},
        settings={SettingKey("IpInIpTunnelAddr", A): str(IN_TUNNEL)},
    )
    return Cluster(snapshot, Revision(1), {A: (OWN,), B: ()}, None)


@pytest.mark.parametrize(
    ("source", "target", "vxlan", "address", "is_allowed"),
    [
        ("a", "far", True, IN_TUNNEL, True),
        ("a", "far", False, OWN, False),
        # From its own host nothing is judged.
        ("a", "near", True, OWN, True),
        # Who names an address means it.
        ("172.31.0.1", "far", True, OWN, False),
        ("10.65.0.1", "far", True, IN_TUNNEL, True),
    ],
)
def test_host_sends_into_the_tunnel_from_its_address_there(
    source: str, target: str, address: object, *, vxlan: bool, is_allowed: bool
) -> None:
    known = cluster(vxlan=vxlan)
    question = Question(
        locate(known, source, A),
        locate(known, target, A),
        Headers(Protocol.TCP, 40000, 80),
    )
    answered = answer(known, question)
    assert [each.flow.source for each in answered.journeys] == [address]
    assert answered.is_allowed == is_allowed


def test_address_in_the_tunnel_is_the_host_itself() -> None:
    known = cluster(vxlan=True)
    assert locate(known, "10.65.0.1", B).end == locate(known, "a", B).end
