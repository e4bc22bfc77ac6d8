"""Hold one rule against one packet, and say what does not fit."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from calico.ir.match import AddressMatch, IcmpMatch, Match, TagSetId
from calico.ir.packet import Packet
from calico.ir.state import NeverMatches, PackedAddress
from calico.model.rule import Protocol
from calico.netset import Address, Ranges
from calico.netset.ranges import contains
from calico.verdict.trace import Miss, Trial

_PROTOCOL_NAMES = {protocol.number: protocol.value for protocol in Protocol}

TagSets = Mapping[TagSetId, AbstractSet[PackedAddress]]


def find_miss(match: Match, packet: Packet, tag_sets: TagSets) -> Miss | None:
    """Find the first part of a match that a packet does not have.

    Args:
        match: What a rule admits.
        packet: The packet.
        tag_sets: The members of each tag set; one that is absent is empty.

    Returns:
        The part, in the order in which the kernel tests them; `None` when the
        packet matches.
    """
    if match.family is not packet.family:
        return Miss.FAMILY
    return find_header_miss(match, packet) or _address_miss(match, packet, tag_sets)


def explain_miss(trial: Trial, packet: Packet) -> str:
    """Say in words why a rule did not match; empty when it did."""
    if isinstance(trial.rule, NeverMatches):
        return trial.rule.reason
    if trial.miss is None:
        return ""
    found, admitted = _compare(trial.rule.match, packet)[trial.miss]
    return f"{found} is not {admitted}"


def find_header_miss(match: Match, packet: Packet) -> Miss | None:
    """Find the first part of a match that a packet's addresses are no matter for."""
    # `contains` is called as it is: the `in` of a set costs a third more.
    if not contains(match.protocols.ranges, packet.protocol):
        return Miss.PROTOCOL
    return _port_miss(match, packet) or _icmp_miss(match, packet)


def _port_miss(match: Match, packet: Packet) -> Miss | None:
    if not contains(match.destination_ports.ranges, packet.destination_port):
        return Miss.DESTINATION_PORT
    if not contains(match.source_ports.ranges, packet.source_port):
        return Miss.SOURCE_PORT
    return None


def _icmp_miss(match: Match, packet: Packet) -> Miss | None:
    if match.icmp is None:
        return None
    if packet.icmp_type != match.icmp.icmp_type:
        return Miss.ICMP_TYPE
    if match.icmp.icmp_code not in {None, packet.icmp_code}:
        return Miss.ICMP_CODE
    return None


def _address_miss(match: Match, packet: Packet, tag_sets: TagSets) -> Miss | None:
    if packet.source not in match.source.networks:
        return Miss.SOURCE_NETWORK
    if packet.destination not in match.destination.networks:
        return Miss.DESTINATION_NETWORK
    if not _is_tagged(packet.source, match.source, tag_sets):
        return Miss.SOURCE_TAG
    if not _is_tagged(packet.destination, match.destination, tag_sets):
        return Miss.DESTINATION_TAG
    return None


def _is_tagged(address: Address, match: AddressMatch, tag_sets: TagSets) -> bool:
    if match.tag_set is None:
        return True
    return address.packed in tag_sets.get(match.tag_set, frozenset())


def _compare(match: Match, packet: Packet) -> dict[Miss, tuple[str, str]]:
    """Put what the packet has beside what the rule admits, in words."""
    icmp = match.icmp or IcmpMatch(packet.icmp_type)
    return {
        Miss.FAMILY: (f"IPv{packet.family.value}", f"IPv{match.family.value}"),
        Miss.PROTOCOL: ("protocol", _protocols(match.protocols.ranges)),
        Miss.SOURCE_PORT: (
            f"source port {packet.source_port}",
            _ports(match.source_ports.ranges),
        ),
        Miss.DESTINATION_PORT: (
            f"destination port {packet.destination_port}",
            _ports(match.destination_ports.ranges),
        ),
        Miss.ICMP_TYPE: (f"ICMP type {packet.icmp_type}", str(icmp.icmp_type)),
        Miss.ICMP_CODE: (f"ICMP code {packet.icmp_code}", str(icmp.icmp_code)),
        Miss.SOURCE_NETWORK: (f"source {packet.source}", _networks(match.source)),
        Miss.DESTINATION_NETWORK: (
            f"destination {packet.destination}",
            _networks(match.destination),
        ),
        Miss.SOURCE_TAG: ("source", _tag(match.source)),
        Miss.DESTINATION_TAG: ("destination", _tag(match.destination)),
    }


def _protocols(ranges: Ranges) -> str:
    return " or ".join(
        _PROTOCOL_NAMES.get(number, str(number))
        for first, last in ranges
        for number in range(first, last + 1)
    )


def _ports(ranges: Ranges) -> str:
    return " or ".join(
        str(first) if first == last else f"{first}:{last}" for first, last in ranges
    )


def _networks(match: AddressMatch) -> str:
    return "in " + " or ".join(str(each) for each in match.networks.networks())


def _tag(match: AddressMatch) -> str:
    return f"in tag {'' if match.tag_set is None else match.tag_set.tag}"
