"""A question about a flow, and the journeys that answer it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from calico.cli.cluster import Cluster
from calico.cli.exit_codes import USAGE
from calico.cli.places import Located
from calico.cli.refusal import Refused
from calico.ir.state import DesiredState
from calico.model.names import EndpointKey, HostName
from calico.model.rule import Protocol
from calico.netset import Address, Family, family_of
from calico.verdict.cut import Flow
from calico.verdict.journey import HostItself, Journey, follow, hosts_between

FIRST_DYNAMIC_PORT = 49152
"""The source port of a client that was not given another one.

Source:
    RFC 6335, section 6.
"""

ECHO_REQUEST = {Protocol.ICMP: 8, Protocol.ICMPV6: 128}
"""The ICMP type that is meant when none is named."""

_FAMILY_OF_ICMP = {Protocol.ICMP: Family.V4, Protocol.ICMPV6: Family.V6}


@dataclass(frozen=True, slots=True)
class Headers:
    """What a flow is, beside its addresses.

    Attributes:
        protocol: Of its packets.
        source_port: For TCP and UDP, else 0.
        destination_port: Likewise.
        icmp_type: For ICMP and ICMPv6, else 0.
        icmp_code: Likewise.
    """

    protocol: Protocol
    source_port: int = 0
    destination_port: int = 0
    icmp_type: int = 0
    icmp_code: int = 0

    def __str__(self) -> str:
        if self.protocol.has_ports:
            return f"{self.protocol.value}/{self.destination_port}"
        code = f" code {self.icmp_code}" if self.icmp_code else ""
        return f"{self.protocol.value} type {self.icmp_type}{code}"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        source: Where the flow begins.
        destination: Where it ends.
        headers: What it is.
        families: The only families that are asked about.
        source_address: In the packet, when it is not one of the source's own.
        source_mac: In the frame, likewise.
    """

    source: Located
    destination: Located
    headers: Headers
    families: tuple[Family, ...] = tuple(Family)
    source_address: Address | None = None
    source_mac: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes of a question.

    Attributes:
        states: What each host that judges the flow must do, as far as it
            concerns the flow, in the order in which the flow passes them.
        journeys: One for each two addresses that the ends may be meant by; at
            least one, those of IPv4 first.
    """

    states: Mapping[HostName, DesiredState]
    journeys: tuple[Journey, ...]

    @property
    def is_allowed(self) -> bool:
        """Whether the flow is allowed between each two addresses."""
        return all(each.is_allowed for each in self.journeys)


def answer(cluster: Cluster, question: Question) -> Answer:
    """Follow a flow through a cluster.

    Raises:
        Refused: The ends have no family in common, or no host of ours sees a
            packet between them.
    """
    question = over_tunnel(cluster, question)
    hosts = judging_hosts(question)
    states = {host: cluster.state_of(host, judged=ends_of(question)) for host in hosts}
    return Answer(states, follow_pairs(states, question, address_pairs(question)))


def over_tunnel(cluster: Cluster, question: Question) -> Question:
    """Give a host the address that it sends from into a tunnel.

    To a workload of another host in a pool of an overlay it sends from the
    address that it has there, so that the reply takes the tunnel too.
    """
    source, destination = question.source, question.destination
    if not isinstance(source.end, HostItself) or not isinstance(
        destination.end, EndpointKey
    ):
        return question
    host = source.end.host
    if destination.end.host == host or source.text != host:
        # Whoever names an address means it.
        return question
    overlaid = {
        family_of(each) for each in destination.addresses if cluster.is_overlaid(each)
    }
    own = [a for a in cluster.tunnel_addresses(host) if family_of(a) in overlaid]
    replaced = {family_of(address) for address in own}
    kept = (each for each in source.addresses if family_of(each) not in replaced)
    addresses = tuple(sorted((*own, *kept), key=lambda each: each.version))
    return replace(question, source=replace(source, addresses=addresses))


def judging_hosts(question: Question) -> tuple[HostName, ...]:
    """List the hosts that judge a flow, in the order in which it passes them.

    Raises:
        Refused: There is none.
    """
    source, destination = question.source, question.destination
    hosts = hosts_between(source.end, destination.end)
    if not hosts:
        raise Refused(
            f"Neither {source.text} nor {destination.text} is a workload or a host"
            " that the datastore knows, so no policy sees a packet between them.",
            *_remarks(question),
        )
    return hosts


def ends_of(question: Question) -> frozenset[EndpointKey]:
    """Return the workloads whose policy a question is about."""
    ends = (question.source.end, question.destination.end)
    return frozenset(each for each in ends if isinstance(each, EndpointKey))


def follow_pairs(
    states: Mapping[HostName, DesiredState],
    question: Question,
    pairs: Iterable[tuple[Address, Address]],
) -> tuple[Journey, ...]:
    """Follow a flow between each of several pairs of addresses.

    Args:
        states: What each of `judging_hosts` must do.
        question: What the flow is.
        pairs: As `address_pairs` finds them.
    """
    return tuple(
        follow(
            states,
            question.source.end,
            question.destination.end,
            flow_of(question.headers, from_address, to_address),
            source_mac=question.source_mac,
        )
        for from_address, to_address in pairs
    )


def flow_of(headers: Headers, source: Address, destination: Address) -> Flow:
    """Put headers and addresses together."""
    return Flow(
        source,
        destination,
        headers.protocol.number,
        headers.source_port,
        headers.destination_port,
        headers.icmp_type,
        headers.icmp_code,
    )


def address_pairs(question: Question) -> list[tuple[Address, Address]]:
    """List the addresses that a flow may be between, those of IPv4 first.

    Raises:
        Refused: The ends have no family in common.
    """
    source, destination = question.source, question.destination
    sources = (
        source.addresses
        if question.source_address is None
        else (question.source_address,)
    )
    only = _FAMILY_OF_ICMP.get(question.headers.protocol)
    families = [each for each in question.families if only in {None, each}]
    pairs = [
        (one, other)
        for family in families
        for one in sources
        for other in destination.addresses
        if family_of(one) is family_of(other) is family
    ]
    if not pairs:
        raise _nothing_in_common(question, families, sources)
    return pairs


def _nothing_in_common(
    question: Question, families: list[Family], sources: tuple[Address, ...]
) -> Refused:
    protocol = question.headers.protocol
    if not families:
        return Refused(
            f"{protocol.value} is not in the family that was asked for.",
            exit_code=USAGE,
        )
    wanted = " or ".join(f"IPv{each.value}" for each in families)
    return Refused(
        f"{question.source.text} and {question.destination.text} have no {wanted}"
        f" addresses both, so there is no {protocol.value} packet between them.",
        f"{question.source.text} has {_listed(sources)}; {question.destination.text}"
        f" has {_listed(question.destination.addresses)}.",
    )


def _listed(addresses: tuple[Address, ...]) -> str:
    return ", ".join(str(each) for each in addresses)


def _remarks(question: Question) -> list[str]:
    both = (question.source.remark, question.destination.remark)
    return [f"{each}." for each in dict.fromkeys(both) if each]
