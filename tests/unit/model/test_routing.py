"""What routing is computed from."""

from ipaddress import ip_address

from calico.model.bgp import DEFAULT_AS_NUMBER
from calico.model.names import HostName
from calico.model.routing import AsNumberKey, BgpPeerKey, RoutingSnapshot


def test_empty_snapshot_has_a_mesh_of_no_hosts() -> None:
    snapshot = RoutingSnapshot()
    assert snapshot.has_node_mesh
    assert snapshot.default_as_number == DEFAULT_AS_NUMBER
    assert snapshot.hosts == {}


def test_key_of_a_host_is_another_one_than_that_of_all() -> None:
    peer = ip_address("192.0.2.1")
    assert BgpPeerKey(peer) != BgpPeerKey(peer, HostName("h"))
    assert AsNumberKey() != AsNumberKey(HostName("h"))
