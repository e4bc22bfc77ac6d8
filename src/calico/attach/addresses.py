"""Give a connected workload another address, or take one away.

Adding goes reservation, interface, endpoint; removing goes endpoint, interface,
reservation. A failure takes back what was done so far.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace

from calico.attach.choices import AddressChoice, assign_chosen, require_pool
from calico.attach.endpoints import (
    change_endpoint,
    clear_unlisted_addresses,
    read_only_endpoint,
)
from calico.attach.errors import AddressNotHeld
from calico.attach.site import (
    DEFAULT_INTERFACE,
    Container,
    Site,
    endpoint_handle,
    lock_workload,
    require_root,
)
from calico.attach.workload import Attached, attempt
from calico.ipam.handles import Hold, hold
from calico.linux.namespace import open_namespace
from calico.linux.veth import Workload
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import InterfaceName, Revision
from calico.netset import Address


@dataclass(frozen=True, slots=True)
class Inside:
    """Where an address is added or removed.

    Attributes:
        container: The workload.
        namespace: The path of its namespace.
        interface: The name of the interface inside.
    """

    container: Container
    namespace: str
    interface: InterfaceName = DEFAULT_INTERFACE


def add_address(site: Site, inside: Inside, choice: AddressChoice) -> Attached:
    """Give a workload another address, or change nothing.

    Raises:
        NotRoot: This process may not change the network.
        NamespaceMissing: There is no network namespace at that path.
        UnknownWorkload: It is not connected.
        InterfaceMissing: It has no interface of that name.
        NoSuchPool: The choice names a pool that does not exist.
        CalicoError: The address cannot be had (see `ipam`), or the datastore or
            the kernel did not do its part.
    """
    require_root()
    with ExitStack() as held:
        endpoint, workload = _open(site, inside, held)
        require_pool(site.store, choice)
        with ExitStack() as undo:
            undo.callback(attempt, lambda: clear_unlisted_addresses(site, endpoint))
            address = assign_chosen(site, endpoint.key, choice)
            undo.callback(attempt, lambda: workload.withdraw([address]))
            workload.add_address(address)
            wanted = (*endpoint.addresses, address)
            held_now = hold(site.store, endpoint_handle(endpoint.key), [address])
            changed, revision = _write(
                site, inside.container, endpoint, wanted, held_now
            )
            undo.pop_all()
    return Attached(changed, revision, address)


def _open(
    site: Site, inside: Inside, held: ExitStack
) -> tuple[WorkloadEndpoint, Workload]:
    """Lock a workload and look into its namespace for as long as `held` lasts."""
    namespace = held.enter_context(open_namespace(inside.namespace))
    held.enter_context(lock_workload(site, inside.container))
    endpoint = read_only_endpoint(site, inside.container)
    clear_unlisted_addresses(site, endpoint)
    workload = Workload(namespace, inside.interface)
    held.callback(workload.close)
    return endpoint, workload


def _write(
    site: Site,
    container: Container,
    endpoint: WorkloadEndpoint,
    addresses: tuple[Address, ...],
    held: Hold | None = None,
) -> tuple[WorkloadEndpoint, Revision]:
    """Write the addresses of an endpoint, whatever else of it has changed."""

    def change(now: WorkloadEndpoint) -> WorkloadEndpoint:
        return replace(now, addresses=addresses)

    revision = change_endpoint(site, container, endpoint.key, change, held)
    return replace(endpoint, addresses=addresses), revision


def remove_address(site: Site, inside: Inside, address: Address) -> Attached:
    """Take an address away from a workload, or change nothing.

    Raises:
        NotRoot: This process may not change the network.
        NamespaceMissing: There is no network namespace at that path.
        UnknownWorkload: It is not connected.
        InterfaceMissing: It has no interface of that name.
        AddressNotHeld: The address is not one of its own.
        CalicoError: The datastore or the kernel did not do its part.
    """
    require_root()
    container = inside.container
    with ExitStack() as held:
        endpoint, workload = _open(site, inside, held)
        if address not in endpoint.addresses:
            raise AddressNotHeld(container.text, address)
        left = tuple(each for each in endpoint.addresses if each != address)
        with ExitStack() as undo:
            before = endpoint.addresses
            undo.callback(attempt, lambda: _write(site, container, endpoint, before))
            changed, revision = _write(site, container, endpoint, left)
            workload.remove_address(address)
            undo.pop_all()
        clear_unlisted_addresses(site, changed)
    return Attached(changed, revision, address)
