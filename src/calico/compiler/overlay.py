"""Compile the routing of a host to its tunnels."""

from collections.abc import Collection

from calico.compiler.tunnel import carriers_of
from calico.ir.overlay import NO_OVERLAY, Overlay, Tunnel
from calico.ir.routing import RoutingState
from calico.netset import Address


def compile_overlay(
    routing: RoutingState, addresses: Collection[Address] | None
) -> Overlay:
    """Say which tunnels a host has, and where they lead.

    Args:
        routing: The routing of the host.
        addresses: What the host may use as its own within tunnels, if known.
    """
    local = routing.router_id
    if local is None:
        return NO_OVERLAY
    carriers = carriers_of(routing)
    own = None if addresses is None else frozenset(addresses)
    tunnels = {
        carrier: Tunnel(
            local,
            own,
            {
                block: route.via
                for block, route in routing.overlay.items()
                if route.carrier is carrier
            },
        )
        for carrier in carriers
    }
    # A block is announced when its pool has no overlay, and only then.
    blocks = frozenset(routing.blocks) - frozenset(routing.announced)
    return Overlay(tunnels, blocks) if tunnels else NO_OVERLAY
