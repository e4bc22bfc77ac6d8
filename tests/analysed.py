"""What the tests of the analysis share: states of all hosts, packets of a part."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, product

from calico.analysis.boxes import Box
from calico.analysis.parties import Party
from calico.analysis.space import packet_at
from calico.compiler.host import compile_host
from calico.ir.packet import Elsewhere, Packet
from calico.ir.state import DesiredState
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import EndpointKey, HostName
from calico.model.snapshot import Snapshot
from calico.netset import Address, Family
from calico.verdict.evaluate import evaluate

MAX_CORNERS = 6


def states_of(snapshot: Snapshot) -> dict[HostName, DesiredState]:
    """Compile every host that has an endpoint."""
    hosts = sorted({key.host for key in snapshot.endpoints})
    return {host: compile_host(snapshot, host) for host in hosts}


def addresses_in(snapshot: Snapshot) -> set[Address]:
    """Return every address that an endpoint has."""
    return {
        address
        for endpoint in snapshot.endpoints.values()
        if isinstance(endpoint, WorkloadEndpoint)
        for address in endpoint.addresses
    }


def corners(box: Box) -> Iterator[tuple[int, ...]]:
    """Yield points at the ends of the sets of a box, some of them."""
    ends = [sorted({each[0][0], each[-1][1]}) for each in box]
    yield from islice(product(*ends), MAX_CORNERS)
    yield tuple(each[-1] for each in ends)


def passes(
    states: dict[HostName, DesiredState],
    packet: Packet,
    source: EndpointKey | None,
    destination: EndpointKey | None,
) -> bool:
    """Judge a new flow at the hosts of both ends; an absent end is outside."""
    ways: list[tuple[HostName, EndpointKey | Elsewhere, EndpointKey | Elsewhere]] = []
    if source is not None:
        is_same = destination is not None and destination.host == source.host
        leaves = destination if destination and is_same else Elsewhere.OUTSIDE
        ways.append((source.host, source, leaves))
    if destination is not None:
        is_same = source is not None and source.host == destination.host
        enters = source if source and is_same else Elsewhere.OUTSIDE
        ways.append((destination.host, enters, destination))
    mac = b""
    if source is not None:
        endpoint = states[source.host].endpoints.get(source)
        mac = (endpoint.mac if endpoint else None) or b""
    return all(
        evaluate(
            states[host], replace(packet, enters=enters, leaves=leaves, source_mac=mac)
        ).allowed
        for host, enters, leaves in ways
    )


def ends_of(party: Party) -> list[tuple[EndpointKey | None, Address]]:
    """List the endpoints and addresses of a party."""
    if isinstance(party.members, tuple):
        return [(spot.endpoint, spot.address) for spot in party.members]
    return [(None, party.sample)]


def packets_at_corners(
    family: Family, headers: Iterable[Box], source: Address, destination: Address
) -> Iterator[Packet]:
    """Yield packets at the ends of sets of headers."""
    for box in headers:
        for header in corners(box):
            point: Sequence[int] = (*header, int(source), int(destination))
            yield packet_at(point, family, Elsewhere.OUTSIDE, Elsewhere.OUTSIDE)
