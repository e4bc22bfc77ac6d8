"""Connect a workload's namespace to its host, and take it off again.

Connecting goes address, veth, endpoint, and a failure takes back what was done
so far. A kill leaves at most an address that can be found by its handle and a
veth whose host's end is down: nothing that a packet could pass. The next
command about this workload removes both. Taking off goes the other way round,
so an address is free only after nothing leads to it any more.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from calico.attach.choices import AddressChoice, assign_chosen, require_pool
from calico.attach.endpoints import (
    Found,
    clear_leftovers,
    list_endpoint_keys,
    read_endpoints,
)
from calico.attach.errors import AlreadyAttached, HostNamespace, UnknownWorkload
from calico.attach.site import (
    DEFAULT_INTERFACE,
    NAMESPACE_ORCHESTRATOR,
    Container,
    Site,
    endpoint_handle,
    host_interface,
    lock_workload,
    require_root,
)
from calico.codec.keys import encode_key, workload_prefix
from calico.ipam.handles import hold
from calico.ipam.release import release_handle
from calico.linux.host_links import RouteSocket
from calico.linux.namespace import (
    call_inside,
    canonical_path,
    is_own_namespace,
    is_same_namespace,
    open_namespace,
)
from calico.linux.rtnetlink import NetlinkRefused
from calico.linux.veth import Workload, create_veth, delete_veth
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.errors import CalicoError
from calico.model.names import (
    EndpointId,
    EndpointKey,
    InterfaceName,
    ProfileId,
    Revision,
    WorkloadId,
)
from calico.netset import Address
from calico.store.api import (
    NO_REVISION,
    Compare,
    Delete,
    DeletePrefix,
    Transaction,
)
from calico.store.resources import put_resource


@dataclass(frozen=True, slots=True)
class Connection:
    """How a workload shall be connected.

    Attributes:
        container: The workload.
        namespace: The path of its namespace.
        choices: Its addresses, one at least.
        interface: The name of the interface inside.
        profile_ids: The profiles that its endpoint lists.
    """

    container: Container
    namespace: str
    choices: Sequence[AddressChoice]
    interface: InterfaceName = DEFAULT_INTERFACE
    profile_ids: tuple[ProfileId, ...] = ()


@dataclass(frozen=True, slots=True)
class Attached:
    """A workload that has been connected or changed.

    Attributes:
        endpoint: What is in the datastore now.
        revision: The revision that wrote it.
        address: The address that was added or removed, the first of several.
    """

    endpoint: WorkloadEndpoint
    revision: Revision
    address: Address


@dataclass(frozen=True, slots=True)
class Detached:
    """A workload that has been taken off.

    Attributes:
        addresses: What is free again.
        stuck: Interfaces that could not be removed, each with the reason.
        revision: The revision that deleted its endpoints; 0 if there were none.
    """

    addresses: tuple[Address, ...]
    stuck: tuple[tuple[InterfaceName, str], ...]
    revision: Revision


def container_at(path: str) -> Container:
    """Name the workload whose network namespace is at a path."""
    workload = WorkloadId(canonical_path(path))
    return Container(path, NAMESPACE_ORCHESTRATOR, workload)


def attach_workload(site: Site, connection: Connection) -> Attached:
    """Connect a workload: addresses, veth and endpoint, or nothing at all.

    The endpoint is closed until the agent has its policy in force.

    Raises:
        NotRoot: This process may not change the network.
        NamespaceMissing: There is no network namespace at that path.
        HostNamespace: It is the host's own.
        AlreadyAttached: It is connected.
        NoSuchPool: A choice names a pool that does not exist.
        InterfaceExists: The workload has an interface of that name.
        CalicoError: An address cannot be had (see `ipam`), or the datastore or
            the kernel did not do its part.
    """
    require_root()
    container = connection.container
    for choice in connection.choices:
        require_pool(site.store, choice)
    with (
        open_namespace(connection.namespace) as namespace,
        lock_workload(site, container),
    ):
        if is_own_namespace(namespace):
            raise HostNamespace(container.text)
        _refuse_second(site, container, namespace)
        clear_leftovers(site, container)
        with ExitStack() as held, ExitStack() as undo:
            attached = _connect(site, connection, namespace, (held, undo))
            undo.pop_all()
        return attached


def _refuse_second(site: Site, container: Container, namespace: int) -> None:
    """Refuse a namespace that is connected, under whatever name.

    Raises:
        AlreadyAttached: It is.
    """
    for key in list_endpoint_keys(site):
        is_named = (key.orchestrator, key.workload) == (
            container.orchestrator,
            container.workload,
        )
        if is_named or (
            key.orchestrator == NAMESPACE_ORCHESTRATOR
            and is_same_namespace(namespace, key.workload)
        ):
            known = Container(container.text, key.orchestrator, key.workload)
            raise AlreadyAttached(
                container.text,
                key.workload,
                lacks_interface=not _has_interface(site, known, namespace),
            )


def _has_interface(site: Site, container: Container, namespace: int) -> bool:
    """Tell whether a namespace has an interface of the workload, as far as known."""
    routes = call_inside(namespace, RouteSocket)
    try:
        macs = {link.mac for link in routes.list_links()}
    finally:
        routes.close()
    values = [found.value for found in read_endpoints(site, container)]
    return any(
        not isinstance(value, WorkloadEndpoint) or value.mac in macs for value in values
    )


def _connect(
    site: Site,
    connection: Connection,
    namespace: int,
    stacks: tuple[ExitStack, ExitStack],
) -> Attached:
    """Connect a workload; what has to be closed, and undone, goes on the stacks."""
    held, undo = stacks
    container = connection.container
    endpoint_id = EndpointId(os.urandom(16).hex())
    key = EndpointKey(
        site.host, container.orchestrator, container.workload, endpoint_id
    )
    here = host_interface(endpoint_id)
    # Six bytes, the first of which says: one station, chosen by ourselves.
    mac = b"\xee" + bytes.fromhex(endpoint_id[-10:])
    handle = endpoint_handle(key)
    undo.callback(attempt, lambda: release_handle(site.store, handle, site.note))
    addresses = tuple(assign_chosen(site, key, each) for each in connection.choices)
    create_veth(namespace, here, connection.interface, mac)
    undo.callback(attempt, lambda: delete_veth(here))
    workload = Workload(namespace, connection.interface)
    held.callback(workload.close)
    undo.callback(attempt, lambda: workload.withdraw(addresses))
    for address in addresses:
        workload.add_address(address)
    endpoint = WorkloadEndpoint(
        key=key,
        state=EndpointState.ACTIVE,
        interface=here,
        mac=mac,
        profile_ids=connection.profile_ids,
        addresses=addresses,
    )
    place = encode_key(key)
    undo.callback(attempt, lambda: _delete(site, place))
    put = put_resource(key, endpoint)
    held_now = hold(site.store, handle, addresses)
    compares = (Compare(place, NO_REVISION), held_now.compare)
    written = Transaction(compares, (put, held_now.put), site.note)
    revision = site.store.commit(written)
    return Attached(endpoint, revision, addresses[0])


def _delete(site: Site, place: str) -> None:
    site.store.commit(Transaction((), (Delete(place),), site.note))


def attempt(step: Callable[[], object]) -> None:
    """Take back one step, and do not mind if that fails too.

    The error that led here is on its way to the user; what stays is found by
    its handle, and the next command about the workload goes on from there.
    """
    with suppress(CalicoError):
        step()


def detach_workload(site: Site, container: Container) -> Detached:
    """Take a workload off: endpoint, veth, addresses.

    Raises:
        NotRoot: This process may not change the network.
        UnknownWorkload: There is nothing of it on this host.
        CalicoError: The datastore did not do its part; calling again goes on.
    """
    require_root()
    with lock_workload(site, container):
        found = read_endpoints(site, container)
        was_any = clear_leftovers(site, container)
        if not found and not was_any:
            raise UnknownWorkload(container.text)
        return _disconnect(site, container, found)


def _disconnect(site: Site, container: Container, found: tuple[Found, ...]) -> Detached:
    if not found:
        return Detached((), (), NO_REVISION)
    prefix = workload_prefix(site.host, container.orchestrator, container.workload)
    revision = site.store.commit(Transaction((), (DeletePrefix(prefix),), site.note))
    stuck: list[tuple[InterfaceName, str]] = []
    addresses: list[Address] = []
    for each in found:
        try:
            delete_veth(each.interface)
        except NetlinkRefused as error:
            stuck.append((each.interface, error.reason))
        handle = endpoint_handle(each.key)
        addresses.extend(release_handle(site.store, handle, site.note))
    return Detached(tuple(addresses), tuple(stuck), revision)


def detach_all(site: Site) -> tuple[EndpointKey, ...]:
    """Take every workload of a host off.

    Returns:
        The endpoints that were there.

    Raises:
        NotRoot: This process may not change the network.
        CalicoError: The datastore did not do its part; calling again goes on.
    """
    require_root()
    keys = list_endpoint_keys(site)
    for orchestrator, workload in sorted({(k.orchestrator, k.workload) for k in keys}):
        with suppress(UnknownWorkload):  # gone meanwhile, which is what we want
            detach_workload(site, Container(workload, orchestrator, workload))
    return keys
