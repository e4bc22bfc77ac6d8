"""Keys: the documented places, and that building and parsing are inverses."""

from ipaddress import IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.codec import keys
from calico.codec.keys import decode_key, encode_key
from calico.model.errors import InvalidResource
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    OrchestratorId,
    ProfileId,
    WorkloadId,
)
from calico.model.snapshot import (
    PoolKey,
    ProfileLabelsKey,
    ProfileRulesKey,
    ProfileTagsKey,
    ReadyKey,
    ReservedKey,
    ResourceKey,
    SettingKey,
)
from calico.netset import Family

HOST = HostName("node-1.example.com")
WEB = ProfileId("WEB")
ENDPOINT = EndpointKey(
    HOST,
    OrchestratorId("namespace"),
    WorkloadId("/run/netns/web"),
    EndpointId("0a1b"),
)

PLACES: list[tuple[ResourceKey, str]] = [
    (ReadyKey(), "/calico/v1/Ready"),
    (ProfileTagsKey(WEB), "/calico/v1/policy/profile/WEB/tags"),
    (ProfileRulesKey(WEB), "/calico/v1/policy/profile/WEB/rules"),
    (ProfileLabelsKey(WEB), "/calico/v1/policy/profile/WEB/labels"),
    (
        ENDPOINT,
        "/calico/v1/host/node-1.example.com/workload/namespace"
        "/%2Frun%2Fnetns%2Fweb/endpoint/0a1b",
    ),
    (
        PoolKey(ip_network("192.168.0.0/16")),
        "/calico/v1/ipam/v4/pool/192.168.0.0-16",
    ),
    (
        PoolKey(ip_network("fd80:24e2:f998:72d6::/64")),
        "/calico/v1/ipam/v6/pool/fd80:24e2:f998:72d6::-64",
    ),
    (SettingKey("InterfacePrefix"), "/calico/v1/config/InterfacePrefix"),
    (
        SettingKey("marker", HOST),
        "/calico/v1/host/node-1.example.com/config/marker",
    ),
    (SettingKey("a/../b %"), "/calico/v1/config/a%2F..%2Fb%20%25"),
    (SettingKey(".."), "/calico/v1/config/%2E%2E"),
    (SettingKey("ü\udcff"), "/calico/v1/config/%C3%BC%FF"),
]


@pytest.mark.parametrize(("key", "place"), PLACES)
def test_resource_is_kept_at_its_documented_place(key: ResourceKey, place: str) -> None:
    assert encode_key(key) == place
    assert decode_key(place) == key


@pytest.mark.parametrize(
    "place",
    [
        "",
        "/",
        "/calico",
        "/calico/ipam/v2/config",
        "/calico/felix/v1/host/h/status",
        "/calico/v1/host/h/bird_ip",
    ],
)
def test_place_outside_policy_is_none(place: str) -> None:
    assert decode_key(place) is None


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/calico/v1/policy/tier/t/metadata", "tier"),
        ("/calico/v1/policy/tier/t/policy/p", "policy"),
        ("/calico/v1/host/h/endpoint/eth0", "host endpoint"),
        ("/calico/v1/policy/profile/WEB/colour", "key of an unknown kind"),
        ("/calico/v1/policy/profile/WEB", "key of an unknown kind"),
        ("/calico/v1/policy/profile/WEB/rules/", "key of an unknown kind"),
        ("/calico/v1/host/h/workload", "key of an unknown kind"),
        ("/calico/v1/x", "key of an unknown kind"),
        ("/calico/v1/policy/profile/../rules", "key with a name that is not valid"),
        ("/calico/v1/policy/profile/a b/rules", "key with a name that is not valid"),
        ("/calico/v1/policy/profile/%41/rules", "key with a name that is not valid"),
        ("/calico/v1/policy/profile//rules", "key with a name that is not valid"),
        ("/calico/v1/config/%2f", "key with a name that is not valid"),
        ("/calico/v1/config/%ZZ", "key with a name that is not valid"),
        ("/calico/v1/config/%2Ea", "key with a name that is not valid"),
        ("/calico/v1/config/\u20ac%20", "key with a name that is not valid"),
        ("/calico/v1/config/\u20ac", "key with a name that is not valid"),
        ("/calico/v1/ipam/v4/pool/10.0.0.1-8", "key with a name that is not valid"),
        ("/calico/v1/ipam/v4/pool/10.0.0.0", "key with a name that is not valid"),
        ("/calico/v1/ipam/v4/pool/fd80::-64", "key with a name that is not valid"),
        ("/calico/v1/ipam/v6/pool/fe80::%25-64", "key with a name that is not valid"),
        ("/calico/v1/ipam/v6/pool/FD80::-64", "key with a name that is not valid"),
        ("/calico/v1/ipam/v6/pool/::-999", "key with a name that is not valid"),
    ],
)
def test_place_that_nobody_uses_is_reserved(place: str, kind: str) -> None:
    assert decode_key(place) == ReservedKey(kind)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_survives_as_a_segment(text: str) -> None:
    key = SettingKey(text)
    place = encode_key(key)
    assert decode_key(place) == key
    assert place.count("/") == 4
    assert place.isascii()
    assert place.isprintable()


@given(st.text())
def test_decoding_never_raises_and_building_gives_the_place_back(tail: str) -> None:
    for prefix in ("/calico/v1/config/", "/calico/v1/host/", "/calico/v1/"):
        key = decode_key(prefix + tail)
        if key is not None and not isinstance(key, ReservedKey):
            assert encode_key(key) == prefix + tail


@pytest.mark.parametrize(
    "key", [SettingKey(""), SettingKey("\ud800"), ReservedKey("x")]
)
def test_key_that_has_no_place_is_refused(key: ResourceKey) -> None:
    with pytest.raises(InvalidResource):
        encode_key(key)


def test_other_places() -> None:
    block, v6 = ip_network("10.0.0.64/26"), ip_network("fd00::/122")
    peer = ip_address("fd00::1")
    assert isinstance(v6, IPv6Network)
    assert [
        keys.bird_ip_key(HOST),
        keys.ipam_block_key(block),
        keys.ipam_affinity_key(HOST, v6),
        keys.ipam_handle_key("h/1"),
        keys.host_status_key(HOST),
        keys.last_reported_status_key(HOST),
        keys.endpoint_status_key(ENDPOINT),
        keys.bgp_config_key(None, "loglevel"),
        keys.bgp_config_key(HOST, "loglevel"),
        keys.bgp_as_number_key(None),
        keys.bgp_node_mesh_key(),
        keys.bgp_address_key(HOST, Family.V6),
        keys.bgp_peer_key(None, peer),
        keys.bgp_peer_key(HOST, ip_address("10.0.0.1")),
        keys.libnetwork_key("abc"),
    ] == [
        "/calico/v1/host/node-1.example.com/bird_ip",
        "/calico/ipam/v2/assignment/ipv4/block/10.0.0.64-26",
        "/calico/ipam/v2/host/node-1.example.com/ipv6/block/fd00::-122",
        "/calico/ipam/v2/handle/h%2F1",
        "/calico/felix/v1/host/node-1.example.com/status",
        "/calico/felix/v1/host/node-1.example.com/last_reported_status",
        "/calico/felix/v1/host/node-1.example.com/workload/namespace"
        "/%2Frun%2Fnetns%2Fweb/endpoint/0a1b",
        "/calico/bgp/v1/global/loglevel",
        "/calico/bgp/v1/host/node-1.example.com/loglevel",
        "/calico/bgp/v1/global/as_num",
        "/calico/bgp/v1/global/node_mesh",
        "/calico/bgp/v1/host/node-1.example.com/ip_addr_v6",
        "/calico/bgp/v1/global/peer_v6/fd00::1",
        "/calico/bgp/v1/host/node-1.example.com/peer_v4/10.0.0.1",
        "/calico/libnetwork/v1/abc",
    ]


@pytest.mark.parametrize("text", ["10.0.0.64/26", "fd00::40/122"])
def test_block_and_affinity_keys_are_parsed_by_their_inverses(text: str) -> None:
    block = ip_network(text)
    assert keys.decode_ipam_block_key(keys.ipam_block_key(block)) == block
    found = keys.decode_ipam_affinity_key(keys.ipam_affinity_key(HOST, block))
    assert found == (HOST, block)


def test_handle_and_status_keys_are_parsed_by_their_inverses() -> None:
    assert keys.decode_ipam_handle_key(keys.ipam_handle_key("a b/c")) == "a b/c"
    assert keys.decode_host_status_key(keys.host_status_key(HOST)) == HOST


@pytest.mark.parametrize(
    "place",
    [
        "",
        "/calico/ipam/v2/config",
        "/calico/ipam/v2/assignment/ipv4/block/x",
        "/calico/ipam/v2/assignment/ipv5/block/10.0.0.0-26",
        "/calico/ipam/v2/host/h/ipv4/block/x",
        "/calico/ipam/v2/host/h/ipv5/block/10.0.0.0-26",
        "/calico/ipam/v2/host/h/ipv4/lock/10.0.0.0-26",
        "/calico/ipam/v2/host/a b/ipv4/block/10.0.0.0-26",
        "/calico/ipam/v2/handle/a b",
        "/calico/felix/v1/host/h/last_reported_status",
        "/calico/felix/v1/host/a b/status",
        "h",
    ],
)
def test_foreign_place_is_none_to_every_inverse(place: str) -> None:
    assert keys.decode_ipam_block_key(place) is None
    assert keys.decode_ipam_affinity_key(place) is None
    assert keys.decode_ipam_handle_key(place) is None
    assert keys.decode_host_status_key(place) is None
