"""Workloads of a lab: made and connected, or not at all; and listed.

A workload is a network namespace with a name. It is connected by
`calico.attach`, as `calicoctl container add` connects one, so every other
command works on it by its path, `/run/netns/NAME`.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from calico.attach.choices import AddressChoice, AnyAddress, parse_choice
from calico.attach.in_force import wait_connected
from calico.attach.site import NAMESPACE_ORCHESTRATOR, Site
from calico.attach.workload import (
    Connection,
    attach_workload,
    container_at,
    detach_workload,
)
from calico.lab import entry
from calico.lab.errors import LabError
from calico.lab.network import delete_namespace, list_namespaces, make_namespace
from calico.lab.plan import (
    ETCD,
    ETCD_IPV4,
    ETCD_IPV6,
    OUTSIDE,
    OUTSIDE_IPV4,
    OUTSIDE_IPV6,
    LabHost,
    namespace_path,
    parse_workload_name,
)
from calico.lab.register import Lab
from calico.lab.routes import lead_packets
from calico.lab.session import environment
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import ProfileId, parse_profile_id
from calico.model.snapshot import Snapshot
from calico.netset import Address, Family, family_of
from calico.settings import Settings
from calico.store.api import Note, Store
from calico.store.open import open_store
from calico.store.resources import read_snapshot

IN_FORCE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A workload to be added.

    Attributes:
        name: Its name, and its namespace's.
        host: The host it shall be on; `None` means the first.
        profiles: The profiles it shall have, in order.
        address: As for `container add`: an address, `ipv4`, `ipv6` or a pool.
            It gets one of the other family besides, or of both without this.
        note: For the history of the datastore.
    """

    name: str
    host: str | None
    profiles: Sequence[str]
    address: str | None
    note: str


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace of a lab.

    Attributes:
        name: What commands of the lab call it.
        kind: `outside`, `etcd`, `host` or `workload`.
        host: The host that a workload is on; empty when it is not connected.
        addresses: Where it can be reached.
        profiles: The profiles that apply to a workload, in order.
    """

    name: str
    kind: str
    host: str
    addresses: tuple[Address, ...]
    profiles: tuple[str, ...]


def add_workload(lab: Lab, wanted: Wanted) -> WorkloadEndpoint:
    """Make a namespace, connect it, and wait until its policy is in force.

    Raises:
        LabError: The name, the host or a profile will not do.
        CalicoError: It could not be connected. Nothing is left of it.
    """
    name = parse_workload_name(wanted.name)
    host = lab.hosts[0] if wanted.host is None else lab.host(wanted.host)
    profiles = tuple(parse_profile_id(each) for each in wanted.profiles)
    choices = _choices(wanted.address)
    entry.call(lab, host.name, lambda: _verify_profiles(lab, host, profiles))
    with ExitStack() as undo:
        entry.call(lab, None, lambda: make_namespace(name))
        undo.callback(lambda: entry.call(lab, None, lambda: delete_namespace(name)))
        path = str(namespace_path(name))
        endpoint = entry.call(
            lab,
            host.name,
            lambda: _connect(
                lab,
                host,
                Connection(container_at(path), path, choices, profile_ids=profiles),
                wanted.note,
            ),
        )
        undo.pop_all()
    return endpoint


def list_places(lab: Lab) -> tuple[Place, ...]:
    """List everything that commands of the lab can name."""
    host = lab.hosts[0]
    snapshot = entry.call(lab, host.name, lambda: _look(lab, host))
    names = entry.call(lab, None, list_namespaces)
    outside = Place(OUTSIDE, "outside", "", (OUTSIDE_IPV4, OUTSIDE_IPV6), ())
    hosts = [
        Place(each.name, "host", "", (each.ipv4, each.ipv6), ()) for each in lab.hosts
    ]
    if lab.has_etcd:
        hosts.append(Place(ETCD, "etcd", "", (ETCD_IPV4, ETCD_IPV6), ()))
    known = {OUTSIDE, *(each.name for each in hosts)}
    workloads = [_workload(name, snapshot) for name in sorted(names - known)]
    return (outside, *hosts, *workloads)


def refresh_routes(lab: Lab) -> None:
    """Make sure that packets find what the lab's datastore says there is."""
    host = lab.hosts[0]
    entry.call(lab, host.name, lambda: _look(lab, host))


def _look(lab: Lab, host: LabHost) -> Snapshot:
    with closing(_open_store(lab, host)) as store:
        snapshot = read_snapshot(store)
    lead_packets(lab, snapshot)
    return snapshot


def _workload(name: str, snapshot: Snapshot) -> Place:
    path = str(namespace_path(name))
    for key in sorted(snapshot.endpoints):
        endpoint = snapshot.endpoints[key]
        if (
            key.orchestrator == NAMESPACE_ORCHESTRATOR
            and key.workload == path
            and isinstance(endpoint, WorkloadEndpoint)
        ):
            profiles = tuple(endpoint.profile_ids)
            return Place(name, "workload", key.host, endpoint.addresses, profiles)
    return Place(name, "workload", "", (), ())


def _choices(text: str | None) -> tuple[AddressChoice, ...]:
    if text is None:
        return tuple(AnyAddress(family) for family in Family)
    first = parse_choice(text)
    family = first.family if isinstance(first, AnyAddress) else family_of(first)
    other = Family.V6 if family is Family.V4 else Family.V4
    return (first, AnyAddress(other))


def _verify_profiles(lab: Lab, host: LabHost, profiles: Sequence[ProfileId]) -> None:
    if not profiles:
        return
    with closing(_open_store(lab, host)) as store:
        snapshot = read_snapshot(store)
    for profile in profiles:
        if profile not in snapshot.tags and profile not in snapshot.rules:
            step = f"make it with `calicoctl profile add {profile}` in the lab"
            raise LabError(f"profile `{profile}`", "does not exist", (step,))


def _connect(
    lab: Lab, host: LabHost, connection: Connection, note: str
) -> WorkloadEndpoint:
    with closing(_open_store(lab, host)) as store:
        site = Site(
            store,
            _settings(lab, host).hostname,
            host.run_dir,
            Note("lab", host.name, note),
        )
        attached = attach_workload(site, connection)
        try:
            wait_connected(site, connection, attached, IN_FORCE_TIMEOUT_S)
            lead_packets(lab, read_snapshot(store))
        except BaseException:
            detach_workload(site, connection.container)
            raise
    return attached.endpoint


def _open_store(lab: Lab, host: LabHost) -> Store:
    return open_store(_settings(lab, host))


def _settings(lab: Lab, host: LabHost) -> Settings:
    return Settings.from_environment(environment(os.environ, lab, host))
