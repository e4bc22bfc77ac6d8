"""Every list of up to two rules over two addresses, two ports, two protocols.

Both directions of a host's view are judged: what a workload sends out and what
comes in to it, by the oracle and by the evaluator of the compiled state.
"""

from collections.abc import Iterator
from functools import cache
from ipaddress import ip_address, ip_network
from itertools import product

from oracle import oracle
from strategies import HOST, endpoint_key

from calico.compiler.host import compile_host
from calico.ir.packet import Elsewhere, Packet
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import InterfaceName, ProfileId, Revision, TagName
from calico.model.rule import (
    Action,
    Cidr,
    Peer,
    PortRange,
    ProfileRules,
    Protocol,
    Rule,
)
from calico.model.snapshot import Snapshot
from calico.verdict.evaluate import evaluate

WORKLOAD, PROFILE, TAG = endpoint_key(0), ProfileId("P"), TagName("red")
OWN = ip_address("10.65.0.1")
OTHERS = ip_address("10.65.0.2"), ip_address("10.66.0.2")
PORTS = (80, 81)
PROTOCOLS = (Protocol.TCP, Protocol.UDP)
CIDR = Cidr(ip_network("10.65.0.0/24"), "10.65.0.0/24")


def peers(*, has_ports: bool) -> tuple[Peer, ...]:
    """List what a rule can ask of the far side."""
    ports = (None, (PortRange(80, 80),), (PortRange(81, 81),)) if has_ports else (None,)
    return tuple(
        Peer(port, tag, cidr)
        for port, tag, cidr in product(ports, (None, TAG), (None, CIDR))
    )


RULES = tuple(
    Rule(action, protocol, destination=peer)
    for action in Action
    for protocol in (None, *PROTOCOLS)
    for peer in peers(has_ports=protocol is not None)
)


def endpoint(number: int, *profiles: ProfileId) -> WorkloadEndpoint:
    """Make a local endpoint; the one that is judged, or a tag's member."""
    return WorkloadEndpoint(
        endpoint_key(number),
        EndpointState.ACTIVE,
        InterfaceName(f"cali{number}"),
        None,
        profiles,
        (OWN,) if number == 0 else (OTHERS[1],),
    )


MEMBER = ProfileId("MEMBER")
ENDPOINTS = {each.key: each for each in (endpoint(0, PROFILE), endpoint(1, MEMBER))}


def packets() -> Iterator[Packet]:
    """List every packet that leaves the workload for the outside."""
    for address, port, protocol in product(OTHERS, PORTS, PROTOCOLS):
        yield Packet(
            WORKLOAD,
            Elsewhere.OUTSIDE,
            OWN,
            address,
            protocol.number,
            source_port=80,
            destination_port=port,
        )


@cache
def turned(rule: Rule) -> Rule:
    """Turn a rule about the destination into one about the source."""
    return Rule(rule.action, rule.protocol, source=rule.destination)


def turned_packet(packet: Packet) -> Packet:
    """Turn a packet round: it comes from the outside to the workload."""
    return Packet(
        Elsewhere.OUTSIDE,
        WORKLOAD,
        packet.destination,
        packet.source,
        packet.protocol,
        source_port=packet.destination_port,
        destination_port=packet.source_port,
    )


PACKETS = tuple(
    each for packet in packets() for each in (packet, turned_packet(packet))
)


def test_every_list_of_two_rules_means_what_the_oracle_says() -> None:
    lists = [(), *((rule,) for rule in RULES), *product(RULES, RULES)]
    for rules in lists:
        snapshot = Snapshot(
            Revision(1),
            tags={MEMBER: (TAG,)},
            rules={PROFILE: ProfileRules(tuple(map(turned, rules)), rules)},
            endpoints=ENDPOINTS,
        )
        state = compile_host(snapshot, HOST)
        for packet in PACKETS:
            assert evaluate(state, packet).allowed == oracle(snapshot, HOST, packet), (
                rules,
                packet,
            )
    assert len(lists) == 1 + len(RULES) + len(RULES) ** 2
