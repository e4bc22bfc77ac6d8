"""The endpoints of a workload in the datastore, and what a kill left behind."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from calico.attach.errors import EndpointUnusable, UnknownWorkload
from calico.attach.site import (
    Container,
    Site,
    endpoint_handle,
    handle_prefix,
    host_interface,
)
from calico.codec.keys import (
    decode_key,
    encode_key,
    endpoints_prefix,
    workload_prefix,
)
from calico.ipam.handles import Hold
from calico.ipam.release import list_handles, release_handle
from calico.linux.veth import delete_veth
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import EndpointId, EndpointKey, InterfaceName, Revision
from calico.model.snapshot import Undecodable
from calico.store.api import KeyValue, Scope, Transaction, View
from calico.store.resources import decode_item, put_resource

_ENDPOINT_ID = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True)
class Found:
    """An endpoint in the datastore.

    Attributes:
        key: Its identity.
        value: What it is, if that can be read.
    """

    key: EndpointKey
    value: WorkloadEndpoint | Undecodable

    @property
    def interface(self) -> InterfaceName:
        """The host's end of its veth."""
        if isinstance(self.value, WorkloadEndpoint):
            return self.value.interface
        return host_interface(self.key.endpoint)


def read_endpoints(site: Site, container: Container) -> tuple[Found, ...]:
    """Read every endpoint of a workload on this host.

    Raises:
        Unavailable: The datastore cannot be read.
    """
    prefix = workload_prefix(site.host, container.orchestrator, container.workload)
    found: list[Found] = []
    for item in site.store.list_prefix(prefix).items:
        each = _found(item)
        if each is not None:
            found.append(each)
    return tuple(found)


def _found(item: KeyValue) -> Found | None:
    key, value = decode_item(item) or (None, None)
    if isinstance(key, EndpointKey) and isinstance(
        value, WorkloadEndpoint | Undecodable
    ):
        return Found(key, value)
    return None


def list_endpoint_keys(site: Site) -> tuple[EndpointKey, ...]:
    """List the endpoints of this host.

    Raises:
        Unavailable: The datastore cannot be read.
    """
    items = site.store.list_prefix(endpoints_prefix(site.host)).items
    keys = (decode_key(item.key) for item in items)
    return tuple(key for key in keys if isinstance(key, EndpointKey))


def read_only_endpoint(site: Site, container: Container) -> WorkloadEndpoint:
    """Read the one endpoint of a workload.

    Raises:
        UnknownWorkload: It has none.
        EndpointUnusable: It has several, or one that cannot be read.
        Unavailable: The datastore cannot be read.
    """
    found = read_endpoints(site, container)
    if not found:
        raise UnknownWorkload(container.text)
    only, *others = found
    if others:
        raise EndpointUnusable(container.text, f"there are {len(found)} of them")
    return _usable(container, only.value)


def _usable(
    container: Container, value: WorkloadEndpoint | Undecodable
) -> WorkloadEndpoint:
    if isinstance(value, Undecodable):
        raise EndpointUnusable(container.text, value.reason)
    return value


def change_endpoint(
    site: Site,
    container: Container,
    key: EndpointKey,
    change: Callable[[WorkloadEndpoint], WorkloadEndpoint],
    held: Hold | None = None,
) -> Revision:
    """Change an endpoint that exists.

    Args:
        site: Where it is.
        container: The workload.
        key: The endpoint.
        change: Says what it becomes.
        held: What holds an address that it gains.

    Raises:
        UnknownWorkload: It is gone.
        EndpointUnusable: It cannot be read.
        CalicoError: As the store's `update` does.
    """
    place = encode_key(key)

    def decide(view: View) -> tuple[Transaction | None, None]:
        item = view.get(place)
        decoded = None if item is None else decode_item(item)
        if decoded is None or not isinstance(
            decoded[1], WorkloadEndpoint | Undecodable
        ):
            raise UnknownWorkload(container.text)
        changed = change(_usable(container, decoded[1]))
        put = put_resource(key, changed)
        if held is None:
            return Transaction((), (put,), site.note), None
        return Transaction((held.compare,), (put, held.put), site.note), None

    revision, _ = site.store.update(Scope((place,)), decide)
    return revision


def clear_leftovers(site: Site, container: Container) -> bool:
    """Remove what was begun for a workload and never became an endpoint.

    Only while the workload is locked: then nobody is at work on it, and an
    address under a handle without endpoint is what a killed command left.

    Returns:
        Whether there was anything.

    Raises:
        CalicoError: The datastore or the kernel did not do its part.
    """
    known = {found.key.endpoint for found in read_endpoints(site, container)}
    prefix = handle_prefix(site.host, container.orchestrator, container.workload)
    was_any = False
    for handle in list_handles(site.store, prefix):
        endpoint = EndpointId(handle.removeprefix(prefix))
        if endpoint not in known and _ENDPOINT_ID.match(endpoint):
            delete_veth(host_interface(endpoint))
            release_handle(site.store, handle, site.note)
            was_any = True
    return was_any


def clear_unlisted_addresses(site: Site, endpoint: WorkloadEndpoint) -> None:
    """Give back what was taken for an endpoint and never became its address.

    Only while the workload is locked, as for `clear_leftovers`.
    """
    handle = endpoint_handle(endpoint.key)
    release_handle(site.store, handle, site.note, keep=endpoint.addresses)
