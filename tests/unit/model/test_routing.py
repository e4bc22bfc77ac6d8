"""What routing is computed from."""

from ipaddress import ip_address, ip_network

import pytest

from calico.model.bgp import (
    DEFAULT_AS_NUMBER,
    AsNumber,
    BgpHost,
    BgpLogLevel,
    BgpPeer,
)
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.routing import (
    AffinityKey,
    AsNumberKey,
    BgpAddressKey,
    BgpLogLevelKey,
    BgpPeerKey,
    NodeMeshKey,
    RoutingKey,
    RoutingResource,
    RoutingSnapshot,
)
from calico.model.snapshot import PoolKey, Undecodable
from calico.netset import Family

A, B = HostName("a"), HostName("b")
ADDRESS = ip_address("192.0.2.1")
PEER = BgpPeer(ip_address("192.0.2.9"), AsNumber(65000))
POOL = Pool(ip_network("10.0.0.0/16"))
BLOCK, OTHER_BLOCK = ip_network("10.0.0.0/26"), ip_network("10.0.0.64/26")


def test_empty_snapshot_has_a_mesh_of_no_hosts() -> None:
    snapshot = RoutingSnapshot()
    assert RoutingSnapshot.of({}) == snapshot
    assert snapshot.has_node_mesh
    assert snapshot.default_as_number == DEFAULT_AS_NUMBER
    assert snapshot.hosts == {}


def test_key_of_a_host_is_another_one_than_that_of_all() -> None:
    assert BgpPeerKey(ADDRESS) != BgpPeerKey(ADDRESS, A)
    assert AsNumberKey() != AsNumberKey(A)


def test_resources_are_sorted_by_what_they_are() -> None:
    resources: dict[RoutingKey, RoutingResource] = {
        BgpAddressKey(A, Family.V4): ADDRESS,
        AsNumberKey(): 65010,
        AsNumberKey(A): 65020,
        NodeMeshKey(): False,
        BgpLogLevelKey(A): BgpLogLevel.DEBUG,
        BgpPeerKey(PEER.address): PEER,
        BgpPeerKey(PEER.address, B): PEER,
        AffinityKey(B, BLOCK): True,
        AffinityKey(B, OTHER_BLOCK): True,
        PoolKey(POOL.cidr): POOL,
    }
    assert RoutingSnapshot.of(resources) == RoutingSnapshot(
        hosts={
            A: BgpHost(A, {Family.V4: ADDRESS}, AsNumber(65020)),
            # It has a block, so it is there.
            B: BgpHost(B),
        },
        global_peers=(PEER,),
        peers_by_host={B: (PEER,)},
        has_node_mesh=False,
        default_as_number=AsNumber(65010),
        log_levels={A: BgpLogLevel.DEBUG},
        pools={POOL.cidr: POOL},
        blocks={B: {BLOCK, OTHER_BLOCK}},
    )


@pytest.mark.parametrize(
    "key",
    [
        NodeMeshKey(),
        BgpPeerKey(ADDRESS),
        BgpAddressKey(A, Family.V4),
        AsNumberKey(A),
        PoolKey(POOL.cidr),
    ],
)
def test_what_cannot_be_read_is_kept_apart(key: RoutingKey) -> None:
    bad = Undecodable("/key", "x")
    assert RoutingSnapshot.of({key: bad}) == RoutingSnapshot(undecodable=((key, bad),))


def test_as_number_of_all_that_cannot_be_read_is_not_the_usual_one() -> None:
    snapshot = RoutingSnapshot.of({AsNumberKey(): Undecodable("/key", "x")})
    assert snapshot.default_as_number is None


def test_value_that_does_not_go_with_its_key_is_left_out() -> None:
    mixed: dict[RoutingKey, RoutingResource] = {PoolKey(POOL.cidr): PEER}
    assert RoutingSnapshot.of(mixed) == RoutingSnapshot()
