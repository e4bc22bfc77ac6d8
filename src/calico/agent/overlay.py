"""The agent's part in the overlay: what the loop has its tunnels made with.

The guard of a tunnel is in the kernel before its device is, and goes after it.
So the loop says when: `close` before it commits, `reach` after.
"""

import time
from collections.abc import Mapping

from calico.agent.tunnel_addresses import TunnelAddresses
from calico.compiler.overlay import compile_overlay
from calico.ir.overlay import NO_OVERLAY, Overlay
from calico.ir.routing import Carrier, RoutingState
from calico.linux.host_links import LinkEvent
from calico.linux.tunnels import Tunnels
from calico.netset import Address

RETRY_AFTER_S = 5.0


class OverlayPart:
    """Keeps the tunnels at what routing says.

    Args:
        tunnels: The devices and routes in the kernel.
        keeper: Keeps the addresses that the host has in them.
    """

    def __init__(self, tunnels: Tunnels, keeper: TunnelAddresses) -> None:
        self._tunnels = tunnels
        self._keeper = keeper
        self._routing: RoutingState | None = None
        self._addresses: frozenset[Address] | None = None
        self._refusal = ""
        self._reached: Overlay | None = None
        self._is_due = False
        self._retry_at: float | None = None

    @property
    def problems(self) -> Mapping[str, str]:
        """What is not as it should be, by device or block."""
        if not (self._refusal and self._reached and self._reached.tunnels):
            return self._tunnels.problems
        return {**self._tunnels.problems, "tunnel address": self._refusal}

    def take_routing(self, routing: RoutingState) -> None:
        """Take the routing of this host."""
        self._routing = routing
        self._is_due = True
        pools = (p.cidr for p in routing.pools if p.carrier is not Carrier.NONE)
        self._keeper.want(() if routing.router_id is None else tuple(pools))

    def take_addresses(self, found: frozenset[Address] | str) -> None:
        """Take what the host has of its own, or why that is not known."""
        self._refusal = found if isinstance(found, str) else ""
        if not isinstance(found, str):
            self._is_due = self._is_due or found != self._addresses
            self._addresses = found

    def close(self) -> None:
        """Take down tunnels that are to be no more, while they are guarded."""
        wanted = self._wanted()
        if not self._is_due:
            return
        if self._reached is None:
            # An agent before us may have left some, with their guard.
            if not wanted.tunnels:
                self._reach(wanted)
        elif gone := self._reached.tunnels.keys() - wanted.tunnels.keys():
            kept = self._reached.tunnels.items()
            left = {carrier: each for carrier, each in kept if carrier not in gone}
            self._reach(Overlay(left, wanted.own_blocks))

    def reach(self) -> None:
        """Make the kernel agree, if something is to be different."""
        if self._is_due and self._routing is not None:
            self._is_due = False
            self._reach(self._wanted())

    def _reach(self, overlay: Overlay) -> None:
        self._reached = overlay
        self._tunnels.apply(overlay)
        self._plan_retry()

    def note_link(self, event: LinkEvent | None) -> None:
        """Take up what happened to an interface; without, that some went unheard."""
        if event is None:
            self._tunnels.resync()
        else:
            self._tunnels.note_link(event)
        self._plan_retry()

    def next_due(self) -> float | None:
        """Return when `retry` has something to do even if nothing happens."""
        return self._retry_at

    def retry(self, now: float) -> None:
        """Try again what did not work, when it is time."""
        if self._retry_at is not None and now >= self._retry_at:
            self._tunnels.resync()
            self._plan_retry()

    def _plan_retry(self) -> None:
        has_problems = bool(self._tunnels.problems)
        self._retry_at = time.monotonic() + RETRY_AFTER_S if has_problems else None

    def _wanted(self) -> Overlay:
        if self._routing is None:
            return NO_OVERLAY
        return compile_overlay(self._routing, self._addresses)
