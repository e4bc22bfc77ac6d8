"""The endpoints of this host, kept up to date by interface and by address.

What is decided, and how, is in `local`; here only what a change touches is
decided anew.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import TypeVar

from calico.compiler.local import assign_address, assign_interface, compile_endpoint
from calico.compiler.problems import address_problem, interface_problem
from calico.ir.delta import Change
from calico.ir.state import LocalEndpoint, PackedAddress, Route
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import EndpointKey, InterfaceName
from calico.netset import Address

_K = TypeVar("_K")


class Placement:
    """Local endpoints and routes.

    Args:
        prefixes: How the names of workloads' interfaces start.

    Attributes:
        endpoints: The usable ones, as of the last `take_changes`.
        routes: Where each address goes, likewise.
    """

    __slots__ = (
        "_claims",
        "_known",
        "_owners",
        "_prefixes",
        "_reasons",
        "_shared",
        "_touched",
        "_unsettled",
        "endpoints",
        "routes",
    )

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self.endpoints: dict[EndpointKey, LocalEndpoint] = {}
        self.routes: dict[Address, Route] = {}
        self._prefixes = prefixes
        self._known: dict[EndpointKey, WorkloadEndpoint] = {}
        self._claims: dict[InterfaceName, set[EndpointKey]] = {}
        self._owners: dict[PackedAddress, set[EndpointKey]] = {}
        self._reasons: dict[EndpointKey, str] = {}
        self._shared: dict[PackedAddress, str] = {}
        # Keys and interfaces that must be decided anew.
        self._touched: set[EndpointKey] = set()
        self._unsettled: set[InterfaceName] = set()

    def put(self, key: EndpointKey, endpoint: WorkloadEndpoint | None) -> None:
        """Take what is now under a key; the same again does no harm."""
        old = self._known.pop(key, None)
        if old is not None:
            _discard(self._claims, old.interface, key)
            self._unsettled.add(old.interface)
        if endpoint is not None:
            self._known[key] = endpoint
            self._claims.setdefault(endpoint.interface, set()).add(key)
            self._unsettled.add(endpoint.interface)
        self._touched.add(key)

    def set_prefixes(self, prefixes: tuple[str, ...]) -> None:
        """Take new prefixes: every interface is decided anew."""
        self._prefixes = prefixes
        self._unsettled.update(self._claims)

    def take_changes(
        self,
    ) -> tuple[dict[EndpointKey, Change[LocalEndpoint]], dict[Address, Change[Route]]]:
        """Decide what is unsettled, and return what changed since the last time."""
        changes: dict[EndpointKey, Change[LocalEndpoint]] = {}
        addresses: set[PackedAddress] = set()
        for key, new in self._decide().items():
            old = self.endpoints.pop(key, None)
            if new is not None:
                self.endpoints[key] = new
            if old != new:
                changes[key] = Change(old, new)
                addresses.update(self._move(key, old, new))
        return changes, self._reroute(addresses)

    def problems(self) -> dict[str, str]:
        """List what quarrels about interfaces and addresses there are."""
        found = {interface_problem(key): why for key, why in self._reasons.items()}
        found.update((address_problem(a), why) for a, why in self._shared.items())
        return found

    def _decide(self) -> dict[EndpointKey, LocalEndpoint | None]:
        decided: dict[EndpointKey, LocalEndpoint | None]
        decided = dict.fromkeys(self._touched)
        for key in self._touched:
            self._reasons.pop(key, None)
        for interface in self._unsettled:
            claims = self._claims.get(interface, ())
            for key in claims:
                decided[key] = None
                self._reasons.pop(key, None)
            owner, reasons = assign_interface(
                (self._known[key] for key in claims), self._prefixes
            )
            self._reasons.update(reasons)
            if owner is not None:
                decided[owner.key] = compile_endpoint(owner)
        self._touched.clear()
        self._unsettled.clear()
        return decided

    def _move(
        self, key: EndpointKey, old: LocalEndpoint | None, new: LocalEndpoint | None
    ) -> set[PackedAddress]:
        """Let an endpoint's addresses change hands, and return them."""
        before, after = _active_addresses(old), _active_addresses(new)
        for address in before:
            _discard(self._owners, address, key)
        for address in after:
            self._owners.setdefault(address, set()).add(key)
        return {*before, *after}

    def _reroute(
        self, addresses: Iterable[PackedAddress]
    ) -> dict[Address, Change[Route]]:
        changes: dict[Address, Change[Route]] = {}
        for packed in addresses:
            address, new = ip_address(packed), None
            old = self.routes.pop(address, None)
            self._shared.pop(packed, None)
            owners = [self.endpoints[key] for key in self._owners.get(packed, ())]
            if owners:
                new, problem = assign_address(packed, owners)
                self.routes[address] = new
                if problem is not None:
                    self._shared[packed] = problem
            if old != new:
                changes[address] = Change(old, new)
        return changes


def _active_addresses(endpoint: LocalEndpoint | None) -> tuple[PackedAddress, ...]:
    if endpoint is None or not endpoint.is_active:
        return ()
    return endpoint.addresses


def _discard(index: dict[_K, set[EndpointKey]], place: _K, key: EndpointKey) -> None:
    """Take a key out of an index, and the place with its last key."""
    index[place].discard(key)
    if not index[place]:
        del index[place]
