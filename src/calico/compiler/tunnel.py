"""Compile the routing of a host to what guards its tunnels."""

from calico.ir.routing import Carrier, RoutingState
from calico.ir.tunnel import NO_GUARD, TunnelGuard


def compile_guard(routing: RoutingState, *, logs_drops: bool = False) -> TunnelGuard:
    """Say which tunnels a host has, and who may send into them.

    A host without an IPv4 address in the datastore has none.
    """
    carriers = carriers_of(routing)
    if not carriers:
        return NO_GUARD
    return TunnelGuard(carriers, frozenset(routing.overlay_hosts), logs_drops)


def carriers_of(routing: RoutingState) -> frozenset[Carrier]:
    """Say which tunnels a host has."""
    if routing.router_id is None:
        return frozenset()
    return frozenset(pool.carrier for pool in routing.pools) - {Carrier.NONE}
