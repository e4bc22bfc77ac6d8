"""Decide between the endpoints of one host: interfaces, addresses, routes.

Each decision is about one interface or one address and about all endpoints
that claim it, so it can be made again for a single one when something changes.
"""

from collections.abc import Iterable
from ipaddress import ip_address

from calico.ir.origin import endpoint_text
from calico.ir.state import LocalEndpoint, PackedAddress, Route
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import EndpointKey


def compile_endpoint(endpoint: WorkloadEndpoint) -> LocalEndpoint:
    """Bring an endpoint into normal form; a repeated name or address counts once."""
    return LocalEndpoint(
        key=endpoint.key,
        interface=endpoint.interface,
        mac=endpoint.mac,
        is_active=endpoint.state is EndpointState.ACTIVE,
        profiles=tuple(dict.fromkeys(endpoint.profile_ids)),
        addresses=tuple(dict.fromkeys(a.packed for a in endpoint.addresses)),
    )


def assign_interface(
    claimants: Iterable[WorkloadEndpoint], prefixes: tuple[str, ...]
) -> tuple[WorkloadEndpoint | None, dict[EndpointKey, str]]:
    """Decide which endpoint owns an interface.

    Args:
        claimants: All endpoints with this interface name, in any order.
        prefixes: How the name of a workload's interface starts.

    Returns:
        The owner, and why each of the others cannot be used.
    """
    in_order = sorted(claimants, key=_key_of)
    reasons: dict[EndpointKey, str] = {}
    owner: WorkloadEndpoint | None = None
    for endpoint in in_order:
        name = endpoint.interface
        if not name.startswith(prefixes):
            accepted = " or ".join(prefixes)
            reasons[endpoint.key] = (
                f"interface {name} does not start with {accepted} (InterfacePrefix)"
            )
        elif owner is None:
            owner = endpoint
        else:
            first = endpoint_text(owner.key)
            reasons[endpoint.key] = f"interface {name} belongs to endpoint {first}"
    return owner, reasons


def assign_address(
    address: PackedAddress, owners: Iterable[LocalEndpoint]
) -> tuple[Route, str | None]:
    """Decide where the route to an address goes.

    Args:
        address: The address.
        owners: The active endpoints that have it, in any order; at least one.

    Returns:
        The route, and what to tell the user if more than one has the address.
    """
    in_order = sorted(owners, key=_key_of)
    first = in_order[0]
    route = Route(first.key, first.interface, first.mac)
    if len(in_order) == 1:
        return route, None
    names = ", ".join(endpoint_text(each.key) for each in in_order)
    return route, (
        f"{ip_address(address)} is shared by endpoints {names};"
        f" the route goes to {endpoint_text(first.key)}"
    )


def _key_of(endpoint: WorkloadEndpoint | LocalEndpoint) -> EndpointKey:
    return endpoint.key
