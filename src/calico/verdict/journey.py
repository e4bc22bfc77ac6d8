"""Follow a flow through a cluster: which hosts judge it, and what each says.

A flow between workloads of two hosts is judged outbound where it begins and
inbound where it ends, each host by its own desired state. On one host it is
one packet, judged there on both sides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from calico.ir.origin import Origin
from calico.ir.packet import Elsewhere, Packet, Place
from calico.ir.state import DesiredState
from calico.model.names import EndpointKey, HostName
from calico.verdict.cut import Flow, make_first_packet
from calico.verdict.evaluate import evaluate
from calico.verdict.trace import Trace


@dataclass(frozen=True, slots=True)
class HostItself:
    """A host as one end of a flow: its own processes."""

    host: HostName


End = EndpointKey | HostItself | Literal[Elsewhere.OUTSIDE]
"""Where a flow begins or ends: a workload, a host, or anything beyond them."""


@dataclass(frozen=True, slots=True)
class Leg:
    """What one host says.

    Attributes:
        host: The host.
        packet: The flow's first packet as that host sees it.
        trace: The verdict.
    """

    host: HostName
    packet: Packet
    trace: Trace


@dataclass(frozen=True, slots=True)
class Journey:
    """The way of a flow's first packet.

    Attributes:
        flow: The flow.
        legs: In the order of the hosts, at least one; the last one denies when
            the flow is denied.
    """

    flow: Flow
    legs: tuple[Leg, ...]

    @property
    def is_allowed(self) -> bool:
        """Whether every host lets the packet pass."""
        return all(leg.trace.allowed for leg in self.legs)

    @property
    def origin(self) -> Origin:
        """What decided last."""
        return self.legs[-1].trace.origin


def hosts_between(source: End, destination: End) -> tuple[HostName, ...]:
    """List the hosts that judge a flow, in the order in which it passes them."""
    hosts = (_host_of(source), _host_of(destination))
    return tuple(dict.fromkeys(each for each in hosts if each is not None))


def follow(
    states: Mapping[HostName, DesiredState],
    source: End,
    destination: End,
    flow: Flow,
    *,
    source_mac: bytes | None = None,
) -> Journey:
    """Follow a flow until a host denies it or it arrives.

    Args:
        states: What each of `hosts_between` must do.
        source: Where it begins.
        destination: Where it ends; not both are outside.
        flow: Its addresses and headers; an address that is not its end's own
            is spoofed, or goes astray.
        source_mac: What the sender writes into its frames; `None` means its own.
    """
    legs: list[Leg] = []
    for host in hosts_between(source, destination):
        state = states[host]
        enters, leaves = _place(source, host), _place(destination, host)
        mac = _mac_of(state, enters) if source_mac is None else source_mac
        packet = make_first_packet(flow, enters, leaves, mac)
        legs.append(Leg(host, packet, evaluate(state, packet)))
        if not legs[-1].trace.allowed:
            break
    return Journey(flow, tuple(legs))


def _host_of(end: End) -> HostName | None:
    return None if isinstance(end, Elsewhere) else end.host


def _place(end: End, host: HostName) -> Place:
    if isinstance(end, Elsewhere) or end.host != host:
        return Elsewhere.OUTSIDE
    return end if isinstance(end, EndpointKey) else Elsewhere.OWN_HOST


def _mac_of(state: DesiredState, place: Place) -> bytes:
    if not isinstance(place, EndpointKey):
        return b""
    endpoint = state.endpoints.get(place)
    return b"" if endpoint is None or endpoint.mac is None else endpoint.mac
