"""Values of BGP: what is read, and what tries to be more than a value."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.codec.bgp_values import (
    decode_routing_value,
    encode_as_number,
    encode_node_mesh,
    encode_peer,
)
from calico.model.bgp import AsNumber, BgpLogLevel, BgpPeer
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
    UnusableKey,
)
from calico.model.snapshot import PoolKey, Undecodable
from calico.netset import Family

HOST = HostName("h")
V4, V6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
POOL = ip_network("10.0.0.0/16")
BLOCK = ip_network("10.0.0.0/26")
KEYS: tuple[RoutingKey, ...] = (
    AsNumberKey(),
    BgpLogLevelKey(HOST),
    NodeMeshKey(),
    BgpAddressKey(HOST, Family.V4),
    BgpAddressKey(HOST, Family.V6),
    BgpPeerKey(V4),
    BgpPeerKey(V6, HOST),
)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        (AsNumberKey(), b"64511", 64511),
        (AsNumberKey(HOST), b"0.64512", 64512),
        (BgpLogLevelKey(), b"debug", BgpLogLevel.DEBUG),
        (NodeMeshKey(), b'{"enabled": false}', False),
        (BgpAddressKey(HOST, Family.V4), b"192.0.2.1", V4),
        (BgpAddressKey(HOST, Family.V6), b"2001:db8:0::1", V6),
        (BgpAddressKey(HOST, Family.V6), b"", None),
        (
            BgpPeerKey(V4),
            b'{"ip": "192.0.2.1", "as_num": "1"}',
            BgpPeer(V4, AsNumber(1)),
        ),
        (AffinityKey(HOST, BLOCK), b"", True),
        (PoolKey(POOL), b'{"cidr": "10.0.0.0/16"}', Pool(POOL)),
    ],
)
def test_value_is_read(
    key: RoutingKey, text: bytes, value: RoutingResource | None
) -> None:
    assert decode_routing_value(key, "/key", text) == value


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        (AsNumberKey(), b"", "AS number: found ''"),
        (AsNumberKey(), b"64511; protocol static {", "protocol static"),
        (BgpLogLevelKey(), b"debugXYZ", "none or info or debug"),
        (NodeMeshKey(), b"true", "an object"),
        (NodeMeshKey(), b"{}", "no `enabled`"),
        (BgpAddressKey(HOST, Family.V4), b"2001:db8::1", "IPv4 address"),
        (BgpAddressKey(HOST, Family.V6), b"192.0.2.1", "IPv6 address"),
        (BgpAddressKey(HOST, Family.V6), b"fe80::1%eth0", "IPv6 address"),
        (BgpAddressKey(HOST, Family.V4), b"192.0.2.1\n", "IPv4 address"),
        (BgpAddressKey(HOST, Family.V4), b"1" * 1000, "…"),
        (BgpPeerKey(V4), b"{", "JSON"),
        (BgpPeerKey(V4), b'{"ip": "192.0.2.1"}', "no `as_num`"),
        (BgpPeerKey(V4), b'{"as_num": "1"}', "no `ip`"),
        (BgpPeerKey(V4), b'{"ip": "192.0.2.2", "as_num": "1"}', "as in the key"),
        (BgpPeerKey(V4), b'{"ip": "192.0.2.1", "as_num": 1}', "a string"),
        (BgpPeerKey(V4), b'{"ip": "192.0.2.1", "as_num": "x"}', "4294967295"),
        (BgpPeerKey(V4), b'{"ip": "192.0.2.1", "as_num": "1", "x": 1}', "unknown key"),
        (UnusableKey("/key"), b"anything", "not used"),
        (PoolKey(POOL), b"{}", "no `cidr`"),
    ],
)
def test_value_that_cannot_be_used_is_named_with_the_reason(
    key: RoutingKey, text: bytes, reason: str
) -> None:
    found = decode_routing_value(key, "/key", text)
    assert isinstance(found, Undecodable)
    assert found.store_key == "/key"
    assert reason in found.reason


@given(st.sampled_from(KEYS), st.binary(max_size=60) | st.text(max_size=60))
def test_nothing_but_typed_values_comes_of_any_text(
    key: RoutingKey, raw: bytes | str
) -> None:
    text = raw.encode("utf-8", "replace") if isinstance(raw, str) else raw
    found = decode_routing_value(key, "/key", text)
    assert not isinstance(found, str | bytes)
    if getattr(found, "scope_id", None) is not None:
        raise AssertionError(found)


def test_what_is_written_is_read_back() -> None:
    peer = BgpPeer(V6, AsNumber(4200000000))
    assert decode_routing_value(BgpPeerKey(V6), "/key", encode_peer(peer)) == peer
    assert encode_peer(peer) == b'{"ip": "2001:db8::1", "as_num": "4200000000"}'
    for is_on in (True, False):
        text = encode_node_mesh(is_on=is_on)
        assert decode_routing_value(NodeMeshKey(), "/key", text) is is_on
    number = AsNumber(65536)
    assert decode_routing_value(AsNumberKey(), "/key", encode_as_number(number)) == (
        number
    )
