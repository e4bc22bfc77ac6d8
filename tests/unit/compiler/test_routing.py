"""The routing of one host: who is spoken with, and what about."""

from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.compiler.routing import compile_routing, concerns, is_speakable
from calico.ir.routing import (
    Carrier,
    Peering,
    PeerKind,
    RoutedPool,
    RoutingState,
    TunnelRoute,
)
from calico.model.bgp import AsNumber, BgpHost, BgpLogLevel, BgpPeer
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
    RoutingSnapshot,
)
from calico.model.snapshot import PoolKey, Undecodable
from calico.netset import Address, Family, Network

A, B, C = HostName("a"), HostName("b"), HostName("c")
DEFAULT = AsNumber(64511)
OWN = AsNumber(64600)


def _host(name: HostName, *addresses: str, as_number: int | None = None) -> BgpHost:
    given = [ip_address(each) for each in addresses]
    number = None if as_number is None else AsNumber(as_number)
    return BgpHost(name, {Family(each.version): each for each in given}, number)


def _hosts(*hosts: BgpHost) -> RoutingSnapshot:
    return RoutingSnapshot(hosts={each.name: each for each in hosts})


def _peer(address: str, number: int) -> BgpPeer:
    return BgpPeer(ip_address(address), AsNumber(number))


def _pools(*pools: Pool) -> dict[Network, Pool]:
    return {pool.cidr: pool for pool in pools}


TRIO = _hosts(
    _host(A, "192.0.2.1", "2001:db8::1"),
    _host(B, "192.0.2.2", "2001:db8::2", as_number=OWN),
    _host(C, "192.0.2.3"),
)
MESH_OF_A = (
    Peering(ip_address("192.0.2.2"), OWN, PeerKind.MESH),
    Peering(ip_address("192.0.2.3"), DEFAULT, PeerKind.MESH),
    Peering(ip_address("2001:db8::2"), OWN, PeerKind.MESH),
)


def test_every_host_peers_with_every_other_one_in_each_family_both_have() -> None:
    state = compile_routing(TRIO, A)
    assert state.peerings == MESH_OF_A
    assert state.router_id == IPv4Address("192.0.2.1")
    assert state.as_number == DEFAULT
    assert state.problems == {}
    of_c = compile_routing(TRIO, C)
    assert [str(each.address) for each in of_c.peerings] == ["192.0.2.1", "192.0.2.2"]
    assert compile_routing(TRIO, B).as_number == OWN


def test_without_the_mesh_only_those_named_are_peers() -> None:
    snapshot = replace(
        TRIO,
        has_node_mesh=False,
        global_peers=(_peer("198.51.100.1", 65000),),
        peers_by_host={A: (_peer("2001:db8:1::1", 65001),), B: (_peer("10.0.0.9", 1),)},
    )
    assert compile_routing(snapshot, A).peerings == (
        Peering(ip_address("198.51.100.1"), AsNumber(65000), PeerKind.GLOBAL),
        Peering(ip_address("2001:db8:1::1"), AsNumber(65001), PeerKind.NODE),
    )


def test_more_particular_peer_wins_and_what_loses_is_named() -> None:
    peer = "192.0.2.2"
    same = replace(TRIO, global_peers=(_peer(peer, OWN),))
    state = compile_routing(same, A)
    assert state.peerings[0] == Peering(ip_address(peer), OWN, PeerKind.GLOBAL)
    assert state.problems == {}
    other = replace(same, peers_by_host={A: (_peer(peer, 65009),)})
    state = compile_routing(other, A)
    assert [str(each.address) for each in state.peerings].count(peer) == 1
    assert state.peerings[0].as_number == 65009
    assert set(state.problems) == {f"global BGP peer {peer}", "mesh with host b"}


def test_oneself_is_no_peer() -> None:
    snapshot = replace(TRIO, global_peers=(_peer("192.0.2.1", DEFAULT),))
    state = compile_routing(snapshot, A)
    assert state.peerings == MESH_OF_A
    assert state.problems == {}
    assert ip_address("192.0.2.1") in {
        each.address for each in compile_routing(snapshot, C).peerings
    }


def test_two_hosts_with_one_address_are_one_peer_and_named() -> None:
    twin = replace(TRIO, hosts={**TRIO.hosts, C: _host(C, "192.0.2.2")})
    state = compile_routing(twin, A)
    assert state.peerings == (MESH_OF_A[0], MESH_OF_A[2])
    assert set(state.problems) == {"mesh with host c"}
    of_b = compile_routing(twin, B)
    assert "address of this host" in of_b.problems["mesh with host c"]
    assert IPv4Address("192.0.2.2") not in of_b.overlay_hosts


def test_peer_of_a_family_that_the_host_lacks_is_left_out() -> None:
    v6 = _peer("2001:db8::9", 65000)
    everywhere = replace(TRIO, has_node_mesh=False, global_peers=(v6,))
    assert compile_routing(everywhere, A).peerings[0].address == v6.address
    nobody = replace(everywhere, global_peers=())
    assert compile_routing(everywhere, C) == compile_routing(nobody, C)
    here = replace(TRIO, has_node_mesh=False, peers_by_host={C: (v6,)})
    state = compile_routing(here, C)
    assert state.peerings == ()
    assert "no IPv6 address" in state.problems[f"node specific BGP peer {v6.address}"]


@pytest.mark.parametrize("number", [0, 23456])
def test_reserved_as_number_is_spoken_by_nobody(number: int) -> None:
    peers = (_peer("198.51.100.1", number), _peer("198.51.100.2", 65000))
    state = compile_routing(replace(TRIO, global_peers=peers), A)
    assert len(state.peerings) == len(MESH_OF_A) + 1
    assert "reserved" in state.problems["global BGP peer 198.51.100.1"]
    own = replace(TRIO, default_as_number=AsNumber(number))
    state = compile_routing(own, A)
    assert (state.as_number, state.peerings) == (None, ())
    assert "reserved" in state.problems["the AS number of host a"]
    # The host that has a number of its own still speaks, though not with these.
    assert compile_routing(own, B).as_number == OWN
    assert compile_routing(own, B).peerings == ()


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("192.0.2.1", True),
        ("10.0.0.1", True),
        ("169.254.7.7", True),
        ("2001:db8::1", True),
        ("fd00::1", True),
        (str(IPv4Address(0)), False),
        ("0.1.2.3", False),
        ("127.0.0.1", False),
        ("224.0.0.5", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("ff02::1", False),
        ("::ffff:192.0.2.1", False),
    ],
)
def test_address_to_speak_with(text: str, *, is_one: bool) -> None:
    address: Address = ip_address(text)
    assert is_speakable(address) is is_one
    snapshot = replace(TRIO, has_node_mesh=False, global_peers=(BgpPeer(address, OWN),))
    state = compile_routing(snapshot, A)
    assert bool(state.problems) is not is_one


def test_host_with_an_address_that_is_none_keeps_quiet() -> None:
    state = compile_routing(_hosts(_host(A, "127.0.0.1"), TRIO.hosts[B]), A)
    assert (state.router_id, state.peerings) == (None, ())
    assert set(state.problems) == {"the address of host a"}


def test_host_that_is_not_known_keeps_quiet() -> None:
    state = compile_routing(RoutingSnapshot(), A)
    assert state == RoutingState(as_number=DEFAULT)


def test_what_cannot_be_read_is_named_where_it_matters() -> None:
    bad = (
        (BgpPeerKey(ip_address("192.0.2.9"), B), Undecodable("/peer/of/b", "x")),
        (BgpPeerKey(ip_address("192.0.2.9")), Undecodable("/peer/of/all", "x")),
        (BgpAddressKey(C, Family.V4), Undecodable("/address/of/c", "x")),
    )
    snapshot = replace(TRIO, undecodable=bad)
    assert set(compile_routing(snapshot, A).problems) == {
        "/peer/of/all",
        "/address/of/c",
    }
    assert "/peer/of/b" in compile_routing(snapshot, B).problems


def test_host_whose_as_number_cannot_be_read_is_no_peer() -> None:
    bad = ((AsNumberKey(C), Undecodable("/as/of/c", "x")),)
    snapshot = replace(TRIO, undecodable=bad)
    state = compile_routing(snapshot, A)
    assert state.peerings == (MESH_OF_A[0], MESH_OF_A[2])
    assert compile_routing(snapshot, C).as_number is None
    nothing = replace(TRIO, default_as_number=None)
    assert compile_routing(nothing, A).as_number is None
    assert compile_routing(nothing, B).peerings == ()


PLAIN, IPIP = ip_network("10.0.0.0/16"), ip_network("10.1.0.0/16")
V6 = ip_network("fd00::/64")


def _with_blocks(**blocks: list[str]) -> RoutingSnapshot:
    return replace(
        TRIO,
        pools=_pools(Pool(PLAIN), Pool(IPIP, ipip=True), Pool(V6)),
        blocks={
            HostName(name): {ip_network(each) for each in given}
            for name, given in blocks.items()
        },
    )


def test_own_blocks_are_announced_unless_an_overlay_carries_them() -> None:
    own = ["10.1.0.0/26", "10.0.1.0/26", "10.0.0.64/26", "fd00::40/122", "10.9.0.0/26"]
    state = compile_routing(_with_blocks(a=own, b=["10.0.2.0/26"]), A)
    assert [str(each) for each in state.blocks] == [
        "10.0.0.64/26",
        "10.0.1.0/26",
        "10.1.0.0/26",
        "fd00::40/122",
    ]
    assert [str(each) for each in state.announced] == [
        "10.0.0.64/26",
        "10.0.1.0/26",
        "fd00::40/122",
    ]
    assert state.pools == (
        RoutedPool(V6, Carrier.NONE),
        RoutedPool(PLAIN, Carrier.NONE),
        RoutedPool(IPIP, Carrier.IPIP),
    )


def test_pool_within_another_one_decides_for_its_blocks() -> None:
    inner = ip_network("10.0.4.0/24")
    snapshot = _with_blocks(a=["10.0.4.0/26", "10.0.5.0/26"])
    pools = {**snapshot.pools, inner: Pool(inner, ipip=True)}
    state = compile_routing(replace(snapshot, pools=pools), A)
    assert [str(each) for each in state.announced] == ["10.0.5.0/26"]


def test_blocks_of_other_hosts_in_an_overlay_pool_have_a_way_there() -> None:
    snapshot = _with_blocks(
        a=["10.1.0.0/26", "10.1.9.0/26"],
        b=["10.1.1.0/26", "10.0.1.0/26", "10.1.9.0/26"],
        c=["10.1.2.0/26", "10.1.1.0/26"],
        gone=["10.1.3.0/26"],
    )
    state = compile_routing(snapshot, A)
    assert state.overlay == {
        ip_network("10.1.1.0/26"): TunnelRoute(IPv4Address("192.0.2.2"), Carrier.IPIP),
        ip_network("10.1.2.0/26"): TunnelRoute(IPv4Address("192.0.2.3"), Carrier.IPIP),
    }
    assert [str(each) for each in state.overlay_hosts] == ["192.0.2.2", "192.0.2.3"]


def test_log_level_of_the_host_comes_before_that_of_all() -> None:
    assert compile_routing(TRIO, A).log_level is BgpLogLevel.INFO
    levels: dict[HostName | None, BgpLogLevel] = {
        None: BgpLogLevel.NONE,
        B: BgpLogLevel.DEBUG,
    }
    snapshot = replace(TRIO, log_levels=levels)
    assert compile_routing(snapshot, A).log_level is BgpLogLevel.NONE
    assert compile_routing(snapshot, B).log_level is BgpLogLevel.DEBUG


def test_mark_of_a_block_that_cannot_be_read_is_named() -> None:
    key = AffinityKey(B, ip_network("10.0.0.0/26"))
    snapshot = replace(TRIO, undecodable=((key, Undecodable("/mark", "x")),))
    assert compile_routing(snapshot, A).problems == {"/mark": "x"}


@pytest.mark.parametrize(
    ("key", "is_concern"),
    [
        (AffinityKey(A, ip_network("10.0.3.0/26")), True),
        (AffinityKey(B, ip_network("10.0.3.0/26")), False),
        (AffinityKey(B, ip_network("10.1.3.0/26")), True),
        (AffinityKey(B, ip_network("10.9.3.0/26")), False),
        (BgpPeerKey(ip_address("192.0.2.9")), True),
        (BgpPeerKey(ip_address("192.0.2.9"), A), True),
        (BgpPeerKey(ip_address("192.0.2.9"), B), False),
        (BgpLogLevelKey(), True),
        (BgpLogLevelKey(B), False),
        (BgpAddressKey(B, Family.V4), True),
        (AsNumberKey(B), True),
        (NodeMeshKey(), True),
        (PoolKey(PLAIN), True),
    ],
)
def test_change_that_concerns_the_host(key: RoutingKey, *, is_concern: bool) -> None:
    assert concerns(key, compile_routing(_with_blocks(), A), A) is is_concern


BLOCKS = [f"10.{net}.{n}.0/26" for net in (0, 1, 9) for n in range(3)]


@given(
    st.dictionaries(st.sampled_from("abc"), st.lists(st.sampled_from(BLOCKS))),
    st.sampled_from([A, B, C]),
    st.sampled_from(BLOCKS),
)
def test_change_that_does_not_concern_the_host_makes_no_difference(
    blocks: dict[str, list[str]], owner: HostName, block: str
) -> None:
    before = _with_blocks(**blocks)
    kept = {**before.blocks, owner: before.blocks.get(owner, set())}
    after = replace(before, blocks={**kept, owner: kept[owner] ^ {ip_network(block)}})
    state = compile_routing(before, A)
    if not concerns(AffinityKey(owner, ip_network(block)), state, A):
        assert compile_routing(after, A) == state
