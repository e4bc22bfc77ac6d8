"""What guards the tunnels of a host."""

from ipaddress import IPv4Address, ip_network

import pytest

from calico.compiler.tunnel import carriers_of, compile_guard
from calico.ir.routing import Carrier, RoutedPool, RoutingState
from calico.ir.tunnel import NO_GUARD, TunnelGuard

OWN, OTHER = IPv4Address("172.31.0.1"), IPv4Address("172.31.0.2")


def routing(*carriers: Carrier, own: IPv4Address | None = OWN) -> RoutingState:
    pools = tuple(
        RoutedPool(ip_network(f"10.{n}.0.0/16"), each)
        for n, each in enumerate(carriers)
    )
    return RoutingState(router_id=own, pools=pools, overlay_hosts=(OTHER,))


def test_guard_lets_the_other_hosts_send() -> None:
    guard = compile_guard(routing(Carrier.NONE, Carrier.VXLAN), logs_drops=True)
    assert guard == TunnelGuard(
        frozenset({Carrier.VXLAN}), frozenset({OTHER}), logs_drops=True
    )


@pytest.mark.parametrize(
    "given",
    [routing(), routing(Carrier.NONE), routing(Carrier.VXLAN, own=None)],
    ids=["no pool", "no overlay", "no address"],
)
def test_host_without_a_tunnel_guards_none(given: RoutingState) -> None:
    assert compile_guard(given, logs_drops=True) == NO_GUARD
    assert carriers_of(given) == frozenset()


def test_every_kind_of_tunnel_counts_once() -> None:
    given = routing(Carrier.VXLAN, Carrier.IPIP, Carrier.VXLAN)
    assert carriers_of(given) == {Carrier.VXLAN, Carrier.IPIP}
