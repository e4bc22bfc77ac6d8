"""Keep the addresses that this host has of its own in tunnels.

Runs in a thread of its own, for they come out of the datastore, which may take
its time, and policy does not wait for it.
"""

from collections.abc import Callable
from threading import Condition

from calico.ipam.tunnel import keep_tunnel_addresses
from calico.model.errors import CalicoError
from calico.model.names import HostName
from calico.netset import Address, Network
from calico.store.api import Note, Store
from calico.store.following import pause_after

Tell = Callable[[frozenset[Address] | str], None]


class TunnelAddresses:
    """Takes addresses and gives them back, as the pools of overlays want it.

    Args:
        open_store: Opens the datastore; called for each change.
        host: Whose addresses they are.
        tell: Called with what the host has, or with why that is not known.
    """

    def __init__(
        self, open_store: Callable[[], Store], host: HostName, tell: Tell
    ) -> None:
        self._open_store = open_store
        self._host = host
        self._note = Note("agent", host, "calico agent", "address of the tunnel")
        self._tell = tell
        self._changed = Condition()
        self._pools: tuple[Network, ...] | None = None

    def want(self, pools: tuple[Network, ...]) -> None:
        """Hand over the pools that have an overlay; never waits."""
        with self._changed:
            if pools != self._pools:
                self._pools = pools
                self._changed.notify()

    def run(self) -> None:
        """Work for ever; for a thread of its own."""
        done: tuple[Network, ...] | None = None
        n_failures = 0
        while True:
            pause_s = pause_after(n_failures) if n_failures else None
            pools = self._next(done, pause_s)
            try:
                self._tell(self._keep(pools))
            except CalicoError as error:
                self._tell(str(error))
                n_failures += 1
                done = pools
            else:
                n_failures, done = 0, pools

    def _next(
        self, done: tuple[Network, ...] | None, pause_s: float | None
    ) -> tuple[Network, ...]:
        """Wait for other pools, or until the pause is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._pools not in {None, done}, pause_s)
            return self._pools or ()

    def _keep(self, pools: tuple[Network, ...]) -> frozenset[Address]:
        store = self._open_store()
        try:
            return keep_tunnel_addresses(store, self._host, pools, self._note)
        finally:
            store.close()
