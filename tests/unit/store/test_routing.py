"""What routing is computed from, out of a store of bytes."""

from ipaddress import ip_address, ip_network

from calico.codec import keys
from calico.codec.bgp_values import encode_node_mesh, encode_peer
from calico.model.bgp import AsNumber, BgpHost, BgpLogLevel, BgpPeer
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.routing import AsNumberKey, BgpPeerKey
from calico.model.snapshot import PoolKey
from calico.netset import Family
from calico.store.api import Note, Operation, Put, Transaction
from calico.store.memory import MemoryStore
from calico.store.resources import put_resource
from calico.store.routing import read_routing

A, B = HostName("a"), HostName("b")
POOL = Pool(ip_network("10.0.0.0/16"))
BLOCK = ip_network("10.0.0.0/26")
PEER = BgpPeer(ip_address("192.0.2.9"), AsNumber(65000))
V6_PEER = BgpPeer(ip_address("2001:db8::9"), AsNumber(65001))


def _store(*operations: Operation) -> MemoryStore:
    store = MemoryStore()
    store.commit(Transaction((), operations, Note("t", "h", "c")))
    return store


def test_snapshot_holds_all_that_could_be_read() -> None:
    store = _store(
        Put(keys.bgp_as_number_key(None), b"65010"),
        Put(keys.bgp_as_number_key(B), b"65020"),
        Put(keys.bgp_node_mesh_key(), encode_node_mesh(is_on=False)),
        Put(keys.bgp_config_key(None, "loglevel"), b"none"),
        Put(keys.bgp_config_key(A, "loglevel"), b"debug"),
        Put(keys.bgp_address_key(A, Family.V4), b"192.0.2.1"),
        Put(keys.bgp_address_key(A, Family.V6), b""),
        Put(keys.bgp_address_key(B, Family.V4), b"192.0.2.2"),
        Put(keys.bgp_peer_key(None, PEER.address), encode_peer(PEER)),
        Put(keys.bgp_peer_key(A, V6_PEER.address), encode_peer(V6_PEER)),
        Put(keys.ipam_affinity_key(A, BLOCK), b""),
        put_resource(PoolKey(POOL.cidr), POOL),
        Put("/calico/v1/Ready", b"true"),
        Put("/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-26", b"not asked for"),
    )
    snapshot = read_routing(store)
    assert snapshot.hosts == {
        A: BgpHost(A, {Family.V4: ip_address("192.0.2.1")}),
        B: BgpHost(B, {Family.V4: ip_address("192.0.2.2")}, AsNumber(65020)),
    }
    assert snapshot.default_as_number == 65010
    assert not snapshot.has_node_mesh
    assert snapshot.log_levels == {None: BgpLogLevel.NONE, A: BgpLogLevel.DEBUG}
    assert snapshot.global_peers == (PEER,)
    assert snapshot.peers_by_host == {A: (V6_PEER,)}
    assert snapshot.blocks == {A: {BLOCK}}
    assert snapshot.pools == {POOL.cidr: POOL}
    assert snapshot.undecodable == ()


def test_what_cannot_be_read_is_kept_apart() -> None:
    store = _store(
        Put(keys.bgp_as_number_key(None), b"many"),
        Put(keys.bgp_node_mesh_key(), b"{"),
        Put(keys.bgp_peer_key(None, PEER.address), b"{}"),
        Put(keys.bgp_peer_key(None, V6_PEER.address), encode_peer(V6_PEER)),
    )
    snapshot = read_routing(store)
    assert snapshot.default_as_number is None
    assert snapshot.has_node_mesh
    assert snapshot.global_peers == (V6_PEER,)
    found = {key: bad.store_key for key, bad in snapshot.undecodable}
    assert found[AsNumberKey()] == keys.bgp_as_number_key(None)
    assert found[BgpPeerKey(PEER.address)] == keys.bgp_peer_key(None, PEER.address)
    assert len(found) == 3
