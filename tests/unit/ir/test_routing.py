"""The values that the routing of one host is made of."""

from ipaddress import ip_address

from calico.ir.routing import Peering, PeerKind, RoutingState
from calico.model.bgp import AsNumber
from calico.netset import Family


def test_peering_is_of_the_family_of_its_address() -> None:
    number = AsNumber(64511)
    v4 = Peering(ip_address("192.0.2.1"), number, PeerKind.MESH)
    v6 = Peering(ip_address("2001:db8::1"), number, PeerKind.MESH)
    assert (v4.family, v6.family) == (Family.V4, Family.V6)


def test_host_that_is_nothing_yet_tells_nobody_anything() -> None:
    state = RoutingState()
    assert state.router_id is None
    assert (state.peerings, state.announced, state.overlay) == ((), (), {})


def test_kinds_are_spelt_as_users_read_them() -> None:
    words = [kind.value for kind in PeerKind]
    assert words == ["node-to-node mesh", "node specific", "global"]
