"""A cluster with the hypothetical endpoints and hosts of a document in it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import count

from calico.cli.cluster import Cluster
from calico.cli.places import locate
from calico.cli.policy_file import PolicyFile
from calico.cli.refusal import Refused
from calico.cli.usage import nearest
from calico.codec.policy_test import HypotheticalEndpoint
from calico.codec.rule_parts import parse_address
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.errors import InvalidResource
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    ProfileId,
    WorkloadId,
)
from calico.model.rule import ProfileRules
from calico.model.snapshot import Snapshot, Undecodable
from calico.netset import Address, AddressSet, Family, Network, family_of

_ORCHESTRATOR = OrchestratorId("hypothetical")
_ROOM = {Family.V4: ip_network("198.18.0.0/15"), Family.V6: ip_network("2001:2::/48")}
"""Where the addresses of endpoints come from that are given none.

Source:
    RFC 2544 and RFC 5180: for benchmarks, so no network has them.
"""


def key_of(host: HostName, name: str) -> EndpointKey:
    """Return what identifies a hypothetical endpoint."""
    return EndpointKey(host, _ORCHESTRATOR, WorkloadId(name), EndpointId(name))


def add_hypothetical(
    cluster: Cluster, file: PolicyFile, here: HostName
) -> tuple[Cluster, dict[str, EndpointKey]]:
    """Put a document's endpoints and hosts into a cluster.

    Args:
        cluster: What is there already.
        file: The document.
        here: The host of an endpoint that names none.

    Returns:
        The cluster with them, and the endpoints by their names.

    Raises:
        Refused: An endpoint names a profile or another endpoint that is not
            there, or there is no address left for it.
    """
    hosts = {each.name: each.addresses for each in file.tests.hosts}
    made = replace(cluster, hosts={**cluster.hosts, **hosts})
    if not file.tests.endpoints:
        return made, {}
    maker = _Maker(made, file, here)
    added = [maker.make(each) for each in file.tests.endpoints]
    endpoints = {
        **cluster.snapshot.endpoints,
        **{each.key: each for each in added},
    }
    snapshot = replace(cluster.snapshot, endpoints=endpoints)
    return replace(made, snapshot=snapshot), {
        each.key.endpoint: each.key for each in added
    }


@dataclass(slots=True)
class _Maker:
    """Makes the endpoints of one document; no two get the same of anything."""

    cluster: Cluster
    file: PolicyFile
    here: HostName
    _interfaces: Iterator[InterfaceName] | None = None
    _addresses: dict[Family, Iterator[Address]] | None = None

    def make(self, wanted: HypotheticalEndpoint) -> WorkloadEndpoint:
        """Make an endpoint."""
        copied = None if wanted.like is None else self._like(wanted, wanted.like)
        host, profiles = wanted.host or self.here, wanted.profiles or ()
        if copied is not None:
            host = wanted.host or copied.key.host
            profiles = (
                copied.profile_ids if wanted.profiles is None else wanted.profiles
            )
        for profile in wanted.profiles or ():
            self._verify_profile(wanted, profile)
        return WorkloadEndpoint(
            key=key_of(host, wanted.name),
            state=EndpointState.ACTIVE,
            interface=self._interface(),
            mac=None,
            profile_ids=profiles,
            addresses=wanted.addresses or tuple(self._free_addresses(wanted)),
        )

    def _like(self, wanted: HypotheticalEndpoint, like: str) -> WorkloadEndpoint:
        path = f"{wanted.path}.like"
        try:
            found = locate(self.cluster, like, self.here)
        except Refused as error:
            raise self.file.refuse(error, path) from None
        endpoint = (
            self.cluster.snapshot.endpoints[found.end]
            if isinstance(found.end, EndpointKey)
            else None
        )
        if not isinstance(endpoint, WorkloadEndpoint):
            expected = "an endpoint of the datastore"
            raise self.file.refuse(InvalidResource(path, f"`{like}`", expected), path)
        return endpoint

    def _verify_profile(self, wanted: HypotheticalEndpoint, profile: ProfileId) -> None:
        snapshot = self.cluster.snapshot
        known = snapshot.tags.keys() | snapshot.rules.keys() | snapshot.labels.keys()
        if profile in known:
            return
        near = nearest(profile, known)
        path = f"{wanted.path}.profiles"
        error = InvalidResource(
            path,
            f"the profile {profile}, which does not exist",
            f"`{near}`?" if near else "a profile that exists",
        )
        raise self.file.refuse(error, path)

    def _interface(self) -> InterfaceName:
        if self._interfaces is None:
            self._interfaces = _free_interfaces(self.cluster.snapshot)
        return next(self._interfaces)

    def _free_addresses(self, wanted: HypotheticalEndpoint) -> Iterator[Address]:
        if self._addresses is None:
            taken = list(_taken(self.cluster, self.file))
            self._addresses = {family: _free(family, taken) for family in Family}
        for family, free in self._addresses.items():
            address = next(free, None)
            if address is None:
                found = f"no free address in {_ROOM[family]} for it"
                error = InvalidResource(wanted.path, found, "`addresses`")
                raise self.file.refuse(error, wanted.path)
            yield address


def _free_interfaces(snapshot: Snapshot) -> Iterator[InterfaceName]:
    taken = {
        each.interface
        for each in snapshot.endpoints.values()
        if isinstance(each, WorkloadEndpoint)
    }
    for number in count():
        name = InterfaceName(f"cali{number:x}")
        if name not in taken:
            yield name


def _free(family: Family, taken: Iterable[Network | Address]) -> Iterator[Address]:
    """Yield the addresses of a family that nothing has or names."""
    room = _ROOM[family]
    # What covers all of the room, such as 0.0.0.0/0, cannot be kept out of.
    inside = [
        network
        for network in (ip_network(each) for each in taken)
        if family_of(network) is family
        and network.overlaps(room)
        and network.prefixlen > room.prefixlen
    ]
    free = AddressSet.of(family, (room,)) & ~AddressSet.of(family, inside)
    make: Callable[[int], Address]
    make = IPv4Address if family is Family.V4 else IPv6Address
    for first, last in free.ranges:
        for number in range(first, last + 1):
            yield make(number)


def _taken(cluster: Cluster, file: PolicyFile) -> Iterator[Network | Address]:
    """Yield every address and network that means something to a rule or a test."""
    snapshot = cluster.snapshot
    yield from snapshot.pools
    for addresses in cluster.hosts.values():
        yield from addresses
    for endpoint in (*snapshot.endpoints.values(), *file.tests.endpoints):
        if not isinstance(endpoint, Undecodable):
            yield from endpoint.addresses
    for rules in snapshot.rules.values():
        if isinstance(rules, ProfileRules):
            yield from _networks(rules)
    for test in file.tests.tests:
        for text in (test.source, test.destination):
            with suppress(InvalidResource):
                yield parse_address(text)


def _networks(rules: ProfileRules) -> Iterator[Network]:
    for rule in (*rules.inbound, *rules.outbound):
        for peer in (rule.source, rule.destination):
            if peer.cidr is not None:
                yield peer.cidr.network
