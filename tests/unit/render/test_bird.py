"""How the routing of a host is spelt; what BIRD makes of it is tried elsewhere."""

import re
from dataclasses import replace
from ipaddress import IPv6Address, ip_network

import pytest
from hypothesis import given
from routing_states import NAMED, OWN_V4, peering, pool, routing_states

from calico.ir.routing import Carrier, Peering, PeerKind, RoutingState
from calico.model.bgp import AsNumber, BgpLogLevel
from calico.netset import Family
from calico.render.bird import peering_name, render_bird


def _bodies(text: str, begin: str) -> list[str]:
    """Find the statements between the braces after each such beginning."""
    return re.findall(re.escape(begin) + r" {\n(.*?)\n}", text, re.DOTALL)


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (peering("192.0.2.2", 1), "Mesh_192_0_2_2"),
        (peering("192.0.2.2", 1, PeerKind.GLOBAL), "Global_192_0_2_2"),
        (peering("2001:db8::1:2", 1, PeerKind.NODE), "Node_2001_db8__1_2"),
    ],
)
def test_peering_is_called_by_its_kind_and_address(made: Peering, name: str) -> None:
    assert peering_name(made) == name


def test_zone_of_an_address_reaches_no_text() -> None:
    address = IPv6Address('2001:db8::7%"; protocol static x {')
    state = replace(
        NAMED["mesh"],
        addresses={Family.V4: OWN_V4, Family.V6: address},
        peerings=(Peering(address, AsNumber(1), PeerKind.MESH),),
    )
    text = render_bird(state)
    assert "%" not in text
    assert "protocol static x" not in text


@given(routing_states())
def test_every_peering_is_one_protocol_with_its_own_name(state: RoutingState) -> None:
    text = render_bird(state)
    names = re.findall(r"^protocol bgp (\S+) {$", text, re.MULTILINE)
    assert names == [peering_name(each) for each in state.peerings]
    assert len(set(names)) == len(names)
    for name, made in zip(names, state.peerings, strict=True):
        (body,) = _bodies(text, f"protocol bgp {name}")
        own = state.addresses[made.family]
        assert f"local {own} as {state.as_number};" in body
        assert f"neighbor {made.address} as {made.as_number};" in body
        assert f"ipv{made.family.value} {{" in body


@given(routing_states())
def test_same_routing_is_spelt_the_same(state: RoutingState) -> None:
    assert render_bird(state) == render_bird(replace(state))


def test_first_pool_that_holds_a_prefix_decides() -> None:
    (body,) = _bodies(render_bird(NAMED["overlay"]), "filter calico_import_v4")
    assert [line.strip() for line in body.splitlines()] == [
        "if net ~ [ 10.1.4.0/24+ ] then accept;",
        "if net ~ [ 10.1.0.0/16+, 10.2.0.0/16+ ] then reject;",
        "if net ~ [ 10.0.0.0/8+ ] then accept;",
        "reject;",
    ]


@pytest.mark.parametrize(
    ("kind", "not_passed_on"),
    [
        (PeerKind.MESH, ["Mesh_*"]),
        (PeerKind.NODE, []),
        (PeerKind.GLOBAL, ["Mesh_*", "Global_*"]),
    ],
)
def test_peer_is_not_told_what_it_hears_from_others(
    kind: PeerKind, not_passed_on: list[str]
) -> None:
    state = replace(NAMED["mesh"], peerings=(peering("192.0.2.9", 65000, kind),))
    text = render_bird(state)
    (body,) = _bodies(text, f"protocol bgp {peering_name(state.peerings[0])}")
    name = re.findall("export filter (.*);", body)[0]
    (told,) = _bodies(text, f"filter {name}")
    assert re.findall('proto ~ "(.*)"', told) == not_passed_on


def test_without_a_pool_nothing_is_believed_or_told() -> None:
    text = render_bird(NAMED["alone"])
    for name in ("calico_import_v4", "calico_import_v6"):
        assert _bodies(text, f"filter {name}") == ["  reject;"]


def test_change_of_own_blocks_leaves_what_peers_are_told_by_alone() -> None:
    before = replace(NAMED["mesh"], announced=())
    after = replace(before, announced=(ip_network("192.168.7.0/26"),))
    for name in ("import", "to_mesh", "to_node", "to_global"):
        begin = f"filter calico_{name}_v4"
        assert _bodies(render_bird(before), begin) == _bodies(render_bird(after), begin)
    assert "route 192.168.7.0/26 blackhole;" in render_bird(after)


def test_host_without_an_address_has_no_name_for_itself() -> None:
    assert "router id" not in render_bird(RoutingState())
    assert f"router id {OWN_V4};" in render_bird(NAMED["alone"])


@pytest.mark.parametrize("level", BgpLogLevel)
def test_log_level_decides_what_is_logged(level: BgpLogLevel) -> None:
    text = render_bird(replace(NAMED["mesh"], log_level=level))
    is_quiet = "debug protocols off;" in text
    is_loud = "debug protocols all;" in text
    assert is_quiet is (level is BgpLogLevel.NONE)
    assert is_loud is (level is BgpLogLevel.DEBUG)


def test_overlay_pool_alone_is_never_spoken_of() -> None:
    state = replace(NAMED["mesh"], pools=(pool("10.0.0.0/8", Carrier.VXLAN),))
    (body,) = _bodies(render_bird(state), "filter calico_to_mesh_v4")
    assert "accept" not in body
