"""The tunnels of a host, out of its routing."""

from ipaddress import IPv4Address, ip_address, ip_network

from calico.compiler.overlay import compile_overlay
from calico.ir.overlay import NO_OVERLAY, Overlay, Tunnel
from calico.ir.routing import Carrier, RoutedPool, RoutingState, TunnelRoute

OWN, OTHER = IPv4Address("172.31.0.1"), IPv4Address("172.31.0.2")
PLAIN, OVERLAID = ip_network("10.0.0.0/16"), ip_network("10.1.0.0/16")
BLOCKS = [ip_network(f"10.1.{n}.0/26") for n in range(4)]
ADDRESSES = frozenset({ip_address("10.1.0.7"), ip_address("fd00::7")})


def routing(*carriers: Carrier) -> RoutingState:
    plain = ip_network("10.0.0.0/26")
    return RoutingState(
        router_id=OWN,
        pools=(
            RoutedPool(PLAIN, Carrier.NONE),
            *(RoutedPool(OVERLAID, carrier) for carrier in carriers),
        ),
        blocks=(plain, BLOCKS[0]),
        announced=(plain,),
        overlay={
            BLOCKS[n]: TunnelRoute(OTHER, carrier)
            for n, carrier in enumerate(carriers, 1)
        },
        overlay_hosts=(OTHER,),
    )


def test_blocks_of_others_lead_to_them_and_own_ones_nowhere() -> None:
    made = compile_overlay(routing(Carrier.VXLAN), ADDRESSES)
    tunnel = Tunnel(OWN, ADDRESSES, {BLOCKS[1]: OTHER})
    assert made == Overlay({Carrier.VXLAN: tunnel}, frozenset({BLOCKS[0]}))


def test_each_tunnel_has_the_blocks_of_its_own_pools() -> None:
    made = compile_overlay(routing(Carrier.VXLAN, Carrier.IPIP), ())
    routes = {carrier: each.routes for carrier, each in made.tunnels.items()}
    assert routes == {
        Carrier.VXLAN: {BLOCKS[1]: OTHER},
        Carrier.IPIP: {BLOCKS[2]: OTHER},
    }


def test_host_without_overlay_or_address_has_no_tunnel() -> None:
    assert compile_overlay(routing(), ADDRESSES) == NO_OVERLAY
    assert compile_overlay(RoutingState(), ADDRESSES) == NO_OVERLAY
