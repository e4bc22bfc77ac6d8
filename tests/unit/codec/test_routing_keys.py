"""Keys that routing depends on, and those that only look like them."""

from ipaddress import ip_address, ip_network

import pytest

from calico.codec import keys
from calico.codec.routing_keys import ROUTING_PREFIXES, decode_routing_key
from calico.model.names import HostName
from calico.model.routing import (
    AffinityKey,
    AsNumberKey,
    BgpAddressKey,
    BgpLogLevelKey,
    BgpPeerKey,
    NodeMeshKey,
    RoutingKey,
    UnusableKey,
)
from calico.model.snapshot import PoolKey
from calico.netset import Address, Family, Network

HOST = HostName("node-1.example.com")
V4: Address = ip_address("192.0.2.1")
V6: Address = ip_address("2001:db8::1")
BLOCK: Network = ip_network("10.0.0.64/26")
POOL: Network = ip_network("10.0.0.0/16")


@pytest.mark.parametrize(
    ("place", "key"),
    [
        (keys.bgp_as_number_key(None), AsNumberKey()),
        (keys.bgp_as_number_key(HOST), AsNumberKey(HOST)),
        (keys.bgp_config_key(None, "loglevel"), BgpLogLevelKey()),
        (keys.bgp_config_key(HOST, "loglevel"), BgpLogLevelKey(HOST)),
        (keys.bgp_node_mesh_key(), NodeMeshKey()),
        (keys.bgp_address_key(HOST, Family.V4), BgpAddressKey(HOST, Family.V4)),
        (keys.bgp_address_key(HOST, Family.V6), BgpAddressKey(HOST, Family.V6)),
        (keys.bgp_peer_key(None, V4), BgpPeerKey(V4)),
        (keys.bgp_peer_key(HOST, V6), BgpPeerKey(V6, HOST)),
        (keys.ipam_affinity_key(HOST, BLOCK), AffinityKey(HOST, BLOCK)),
        (keys.encode_key(PoolKey(POOL)), PoolKey(POOL)),
    ],
)
def test_key_is_recognised(place: str, key: RoutingKey) -> None:
    assert decode_routing_key(place) == key
    assert place.startswith(ROUTING_PREFIXES)


@pytest.mark.parametrize(
    "place",
    [
        "/calico/bgp/v1/global/peer_v4/2001:db8::1",
        "/calico/bgp/v1/global/peer_v6/192.0.2.1",
        "/calico/bgp/v1/global/peer_v4/192.0.2.01",
        "/calico/bgp/v1/global/peer_v6/2001:DB8::1",
        "/calico/bgp/v1/global/peer_v6/fe80::1%eth0",
        '/calico/bgp/v1/global/peer_v6/fe80::1%"; protocol static {',
        "/calico/bgp/v1/global/custom_filters/v4/mine",
        "/calico/bgp/v1/host/h/ip_addr_v5",
        '/calico/bgp/v1/host/h"; /ip_addr_v4',
        "/calico/bgp/v1/host/../as_num",
        "/calico/bgp/v1/host//as_num",
        "/calico/bgp/v1/host/h\n/as_num",
    ],
)
def test_key_that_nothing_can_be_made_of_is_kept_by_its_name(place: str) -> None:
    assert decode_routing_key(place) == UnusableKey(place)


@pytest.mark.parametrize(
    "place",
    [
        "/calico/bgp/v1/rr_v4/192.0.2.1",
        "/calico/bgp/v1/global/else",
        "/calico/bgp/v1/host/h/else/more",
        "/calico/ipam/v2/host/h/ipv4/block/10.0.0.1-26",
        "/calico/ipam/v2/host/h/else",
        "/calico/v1/ipam/v4/pool/10.0.0.1-16",
        "/calico/v1/policy/profile/A/tags",
        "/calico/felix/v1/host/h/status",
    ],
)
def test_other_keys_make_no_difference(place: str) -> None:
    assert decode_routing_key(place) is None
