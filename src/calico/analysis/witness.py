"""One concrete packet out of a set, and what decides it.

Whether a set of packets is empty is settled by arithmetic alone. What is shown
of it is a packet that was held against the rules: `prove` asks
`verdict.evaluate`, on a host with a single endpoint, and what it answers is
reported, not what was expected.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from ipaddress import ip_address

from calico.analysis.boxes import Region
from calico.analysis.space import packet_at
from calico.analysis.symbolic import Openness
from calico.ir.match import TagSetId
from calico.ir.origin import Origin
from calico.ir.packet import Elsewhere, Packet
from calico.ir.state import DesiredState, LocalEndpoint, PipelineKey
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    TagName,
    WorkloadId,
)
from calico.model.rule import Direction, Protocol
from calico.netset import Address, Family, Ranges
from calico.netset.ranges import complement, contains, intersection
from calico.verdict.evaluate import evaluate

PROBE = EndpointKey(
    HostName("host"),
    OrchestratorId("analysis"),
    WorkloadId("probe"),
    EndpointId("probe"),
)
"""The endpoint that witnesses come from or go to."""

# What people expect to see in a packet comes first, where a set has it.
_LIKELY_FIELDS = (40000, 80)
_LIKELY_SOURCE = {
    Family.V4: int(ip_address("192.0.2.1")),
    Family.V6: int(ip_address("2001:db8::1")),
}


@dataclass(frozen=True, slots=True)
class Witness:
    """A packet that proves a claim.

    Attributes:
        packet: The packet; it enters or leaves by `PROBE`.
        decided_by: What decides it, as `evaluate` says.
        is_allowed: Whether it passes.
        source_tags: The tags that its source carries, of those that the rules
            ask about.
        destination_tags: Likewise.
    """

    packet: Packet
    decided_by: Origin
    is_allowed: bool
    source_tags: tuple[TagName, ...]
    destination_tags: tuple[TagName, ...]


def choose_point(boxes: Region, family: Family) -> tuple[int, ...]:
    """Return a point of a set; source and destination differ where they can.

    Args:
        boxes: Header, addresses, and what else there is; at least one box.
        family: The family of the addresses.
    """
    tcp = Protocol.TCP.number
    box = next((each for each in boxes if contains(each[0], tcp)), boxes[0])
    protocols, first, second, sources, destinations, *others = box
    likely = _LIKELY_SOURCE[family]
    source = _pick(sources, likely)
    elsewhere = _without(destinations, source)
    if not elsewhere:
        # The destination can be one address only, so the source makes way.
        source = _pick(_without(sources, source) or sources, likely)
    destination = _pick(elsewhere or destinations, likely + 1)
    return (
        _pick(protocols, tcp),
        *map(_pick, (first, second), _LIKELY_FIELDS),
        source,
        destination,
        *(_pick(each, 0) for each in others),
    )


def tag_sets_at(
    openness: Openness, point: tuple[int, ...], family: Family
) -> dict[TagSetId, frozenset[bytes]]:
    """Return tag sets with those members that a point asks for."""
    n_bytes = family.n_bits // 8
    return {
        tag_set: frozenset(number.to_bytes(n_bytes, "big") for number in members)
        for tag_set, members in openness.members(point).items()
    }


def prove(
    state: DesiredState, key: PipelineKey, point: tuple[int, ...], family: Family
) -> Witness:
    """Judge the packet at a point by a list of profiles.

    Args:
        state: With the list's pipeline, its profiles and their tag sets.
        key: The list, and the direction.
        point: Header and addresses.
        family: The family of the addresses.
    """
    is_outbound = key.direction is Direction.OUTBOUND
    enters, leaves = (
        (PROBE, Elsewhere.OUTSIDE) if is_outbound else (Elsewhere.OUTSIDE, PROBE)
    )
    packet = packet_at(point, family, enters, leaves)
    own = packet.source if is_outbound else packet.destination
    probe = LocalEndpoint(
        key=PROBE,
        interface=InterfaceName("cali"),
        mac=None,
        is_active=True,
        profiles=key.profiles,
        addresses=(own.packed,),
    )
    trace = evaluate(replace(state, endpoints={PROBE: probe}), packet)
    return Witness(
        packet=packet,
        decided_by=trace.origin,
        is_allowed=trace.allowed,
        source_tags=_tags_of(packet.source, state.tag_sets),
        destination_tags=_tags_of(packet.destination, state.tag_sets),
    )


def _tags_of(
    address: Address, tag_sets: Mapping[TagSetId, AbstractSet[bytes]]
) -> tuple[TagName, ...]:
    carried = {s.tag for s, those in tag_sets.items() if address.packed in those}
    return tuple(sorted(carried))


def _pick(numbers: Ranges, likely: int) -> int:
    return likely if contains(numbers, likely) else numbers[0][0]


def _without(numbers: Ranges, one: int) -> Ranges:
    return intersection(numbers, complement(((one, one),), numbers[-1][1]))
