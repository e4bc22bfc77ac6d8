"""Random packets, near the edges of the sets that one policy names.

A packet is aimed at a rule that it may meet: its ports, its type and code and
its outside address are at the ends of what the rule names, or beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address, ip_network
from random import Random

from cases import (
    GATEWAY_MAC,
    HOST_ADDRESSES,
    LOCAL,
    OUTSIDE,
    PORTS,
    TYPES,
    addresses_of,
    key_of,
    mac_of,
)

from calico.ir.packet import ConnectionState, Elsewhere, Packet, Place
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import EndpointKey
from calico.model.rule import Action, Cidr, Peer, ProfileRules, Protocol, Rule
from calico.model.snapshot import Snapshot
from calico.netset import Address, Family

TCP, UDP, ICMP_OF = 6, 17, {Family.V4: 1, Family.V6: 58}
OTHER_PROTOCOLS = (47, 253)
HOST_PORTS = (53, 67, 68, 546, 547)
ANYTHING = Rule(Action.ALLOW)
# Where the wire's default route leads to, whatever the policy.
ROUTED = tuple(map(ip_network, ("8.0.0.0/5", "128.0.0.0/2", "192.0.0.0/8", "fd00::/8")))
NOT_ROUTED = tuple(map(ip_network, ("172.20.0.0/24", "fd20::/64")))
WORKLOADS = {each for n in range(len(LOCAL)) for each in addresses_of(n)}
ERRORS = {Family.V4: ((3, 1), (11, 0)), Family.V6: ((1, 4), (3, 0))}
# Protocol and type of the ICMP that begins flows, with the type that answers.
QUESTIONS = {
    (1, 8): 0,
    (1, 13): 14,
    (1, 15): 16,
    (1, 17): 18,
    (58, 128): 129,
    (58, 139): 140,
}

Transport = tuple[int, tuple[int, int], tuple[int, int]]
"""Protocol, source and destination port, ICMP type and code."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A packet to send; `about` is the packet that an ICMP error is about."""

    packet: Packet
    about: Packet | None = None


def flow_of(packet: Packet) -> tuple[object, ...]:
    """Identify the flow, whichever way round."""
    ends = (
        (int(packet.source), packet.source_port),
        (int(packet.destination), packet.destination_port),
    )
    return (packet.protocol, frozenset(ends))


@dataclass(frozen=True, slots=True)
class Aim:
    """Draws the packets that try one policy.

    Attributes:
        random: Where the choices come from.
        snapshot: What they are aimed at.
    """

    random: Random
    snapshot: Snapshot

    def packets(self, count: int) -> list[Packet]:
        """Draw packets of which no two belong to one flow."""
        found: dict[tuple[object, ...], Packet] = {}
        while len(found) < count:
            packet = self.packet()
            found.setdefault(flow_of(packet), packet)
        return list(found.values())

    def packet(self) -> Packet:
        """Draw a packet that belongs to no flow yet; some are forged.

        An ICMP packet's identifier stands where others have their ports.
        """
        random = self.random
        family = random.choice(tuple(Family))
        enters, number, mac = self._sender()
        if isinstance(enters, EndpointKey) and random.random() < 0.06:
            return self._unaddressed(enters, number, mac)
        leaves = self._receiver(enters)
        rule = self._rule(enters, leaves)
        is_usual = leaves is Elsewhere.OWN_HOST and random.random() < 0.4
        protocol, ports, icmp = (
            self._pinhole(family) if is_usual else self._transport(rule, family)
        )
        is_invalid = protocol == TCP and random.random() < 0.05
        return Packet(
            enters,
            leaves,
            self._source(enters, number, family, rule.source.cidr),
            self._destination(leaves, family, rule.destination.cidr),
            protocol,
            mac,
            *ports,
            *icmp,
            ConnectionState.INVALID if is_invalid else ConnectionState.NEW,
        )

    def _unaddressed(self, enters: Place, number: int, mac: bytes) -> Packet:
        """Draw what a workload says to its host before it has an address."""
        random = self.random
        host = Elsewhere.OWN_HOST
        if random.random() < 0.5:
            port = random.choice((67, 67, 68))
            unset, everyone = IPv4Address(0), IPv4Address("255.255.255.255")
            # Of a real client the first is 68; others are other flows.
            from_port = random.choice((68, 68, random.choice(PORTS)))
            return Packet(enters, host, unset, everyone, UDP, mac, from_port, port)
        icmp_type = random.choice((128, 129, 130, 131, 132, 133, 134, 135, 136, 143))
        own = bytes((mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:5], number))
        link_local = ip_address(bytes.fromhex("fe80000000000000") + own)
        source = random.choice((ip_address("::"), link_local))
        all_nodes = ip_address("ff02::1")
        identifier = random.randrange(1, 65536)
        ports = identifier, identifier
        return Packet(enters, host, source, all_nodes, 58, mac, *ports, icmp_type)

    def _sender(self) -> tuple[Place, int, bytes]:
        random = self.random
        fate = random.random()
        number = random.randrange(len(LOCAL))
        if fate < 0.25:
            return Elsewhere.OUTSIDE, -1, GATEWAY_MAC
        if fate < 0.28:
            return key_of(9), 9, mac_of(9)
        if fate < 0.31:
            return Elsewhere.OWN_HOST, -1, b""
        is_forged = random.random() < 0.06
        return key_of(number), number, mac_of(number ^ 1 if is_forged else number)

    def _receiver(self, enters: Place) -> Place:
        random = self.random
        fate = random.random()
        if isinstance(enters, EndpointKey) and fate < 0.15:
            return Elsewhere.OWN_HOST
        if enters is not Elsewhere.OWN_HOST and 0.15 <= fate < 0.35:
            return Elsewhere.OUTSIDE
        others = [n for n in range(len(LOCAL)) if key_of(n) != enters]
        return key_of(random.choice(others))

    def _rule(self, enters: Place, leaves: Place) -> Rule:
        """Choose a rule that a packet may meet on this way, if there is one."""
        sent, received = self._rules_of(enters), self._rules_of(leaves)
        met = [each for rules in sent for each in rules.outbound]
        met += [each for rules in received for each in rules.inbound]
        return self.random.choice(met) if met else ANYTHING

    def _rules_of(self, place: Place) -> list[ProfileRules]:
        found = None
        if isinstance(place, EndpointKey):
            found = self.snapshot.endpoints.get(place)
        names = found.profile_ids if isinstance(found, WorkloadEndpoint) else ()
        known = [self.snapshot.rules.get(name) for name in names]
        return [each for each in known if isinstance(each, ProfileRules)]

    def _source(
        self, enters: Place, number: int, family: Family, near: Cidr | None
    ) -> Address:
        random = self.random
        if enters is Elsewhere.OUTSIDE:
            return self._outside(family, near)
        if enters is Elsewhere.OWN_HOST:
            return _pick(HOST_ADDRESSES, family)
        if random.random() < 0.06:
            forged = [*addresses_of((number + 1) % 4), *OUTSIDE]
            return _pick(random.sample(forged, len(forged)), family)
        return _pick(addresses_of(number), family)

    def _destination(self, leaves: Place, family: Family, near: Cidr | None) -> Address:
        if leaves is Elsewhere.OWN_HOST:
            return _pick(HOST_ADDRESSES, family)
        if leaves is Elsewhere.OUTSIDE:
            return self._outside(family, near)
        number = next(n for n in range(len(LOCAL)) if key_of(n) == leaves)
        return _pick(addresses_of(number), family)

    def _outside(self, family: Family, near: Cidr | None) -> Address:
        """Choose an address beyond the uplink, at an end of a network if it can be."""
        random = self.random
        if near is not None and near.network.version == family.value:
            network = near.network
            first, last = int(network[0]), int(network[-1])
            end = self._beside(first, last, (1 << network.max_prefixlen) - 1)
            address = ip_address(end.to_bytes(network.max_prefixlen // 8, "big"))
            if _is_outside(address):
                return address
        return _pick(random.sample(OUTSIDE, len(OUTSIDE)), family)

    def _beside(self, first: int, last: int, top: int) -> int:
        """Choose an end of a range or its neighbour outside, or one within."""
        within = self.random.randint(first, last)
        ends = (first - 1, first, last, last + 1, within)
        return min(max(self.random.choice(ends), 0), top)

    def _transport(self, rule: Rule, family: Family) -> Transport:
        """Choose what the rule names, or nearly that, or anything."""
        random = self.random
        fate = random.random()
        protocol = rule.protocol
        if protocol is None or fate < 0.25:
            protocol = random.choice((Protocol.TCP, Protocol.UDP, Protocol.ICMP))
        if fate < 0.06:
            number = random.choice(OTHER_PROTOCOLS)
            return number, (0, 0), (0, 0)
        if protocol.has_ports:
            # Sometimes the other one with ports.
            number = protocol.number if fate < 0.93 else TCP + UDP - protocol.number
            ports = self._port(rule.source), self._port(rule.destination)
            return number, ports, (0, 0)
        identifier = random.randrange(1, 65536)
        icmp = self._icmp(rule, family)
        return ICMP_OF[family], (identifier, identifier), icmp

    def _pinhole(self, family: Family) -> Transport:
        """Choose what a workload may always send to its host, or nearly that."""
        random = self.random
        if family is Family.V6 and random.random() < 0.4:
            identifier = random.randrange(1, 65536)
            icmp_type = random.randint(129, 137)
            return 58, (identifier, identifier), (icmp_type, 0)
        client, server = (68, 67) if family is Family.V4 else (546, 547)
        source, destination = random.choice(((client, server), (client, 53)))
        source = self._beside(source, source, 65535)
        if destination == 53:
            source = random.randrange(65536)
        return UDP, (source, self._beside(destination, destination, 65535)), (0, 0)

    def _port(self, peer: Peer) -> int:
        random = self.random
        if peer.ports and random.random() < 0.85:
            wanted = random.choice(peer.ports)
            return self._beside(wanted.first, wanted.last, 65535)
        return random.choice((*PORTS, *PORTS, *HOST_PORTS, random.randrange(65536)))

    def _icmp(self, rule: Rule, family: Family) -> tuple[int, int]:
        random = self.random
        if rule.icmp_type is None:
            v4 = family is Family.V4
            types = TYPES[Protocol.ICMP if v4 else Protocol.ICMPV6]
            echo = 8 if v4 else 128
            return random.choice((*types, *(echo,) * len(types))), 0
        code = 0 if rule.icmp_code is None else rule.icmp_code
        return (
            self._beside(rule.icmp_type, rule.icmp_type, 255),
            self._beside(code, code, 255),
        )

    def answers(
        self, packets: Sequence[Packet], passed: Sequence[bool]
    ) -> list[Letter]:
        """Draw what comes back: a reply, or an ICMP error about the packet.

        Args:
            packets: What was sent, each of a flow of its own.
            passed: Which of them came through, so that their flows are known.
        """
        found: list[Letter] = []
        for packet, is_known in zip(packets, passed, strict=True):
            is_error = self.random.random() < 0.3
            draw = _error_about if is_error else _reply_to
            answer = draw(packet, is_known=is_known)
            if answer is not None and packet.state is ConnectionState.NEW:
                found.append(Letter(answer, packet if is_error else None))
        return found


def _back(packet: Packet, state: ConnectionState) -> Packet | None:
    """Turn a packet round; `None` when what takes it is not on the wire."""
    mac = GATEWAY_MAC
    if packet.leaves is Elsewhere.OWN_HOST:
        return None
    if isinstance(packet.leaves, EndpointKey):
        number = next(n for n in range(len(LOCAL)) if key_of(n) == packet.leaves)
        mac = mac_of(number)
    if packet.enters != _holder_of(packet.source):
        return None  # the source is forged
    return replace(
        packet,
        enters=packet.leaves,
        leaves=packet.enters,
        source=packet.destination,
        destination=packet.source,
        source_mac=mac,
        source_port=packet.destination_port,
        destination_port=packet.source_port,
        state=state,
    )


def _holder_of(address: Address) -> Place:
    """Say where the wire's routes lead for an address."""
    for number in range(len(LOCAL)):
        if address in addresses_of(number):
            return key_of(number)
    return Elsewhere.OWN_HOST if address in HOST_ADDRESSES else Elsewhere.OUTSIDE


def _reply_to(packet: Packet, *, is_known: bool) -> Packet | None:
    """Return the answer that belongs to the flow that the packet began.

    The answer of a flow that nobody knows is invalid for TCP, and else new.
    """
    stranger = ConnectionState.NEW
    if packet.protocol == TCP:
        stranger = ConnectionState.INVALID
    state = ConnectionState.ESTABLISHED if is_known else stranger
    if packet.protocol not in ICMP_OF.values():
        return _back(packet, state)
    answer = QUESTIONS.get((packet.protocol, packet.icmp_type))
    back = _back(packet, state)
    return None if answer is None or back is None else replace(back, icmp_type=answer)


def _error_about(packet: Packet, *, is_known: bool) -> Packet | None:
    """Return an ICMP error about the packet.

    Of ICMP only questions begin a flow, so an error about anything else is
    about no flow.
    """
    kind = packet.protocol, packet.icmp_type
    is_tracked = packet.protocol not in ICMP_OF.values() or kind in QUESTIONS
    related = is_known and is_tracked
    back = _back(
        packet, ConnectionState.RELATED if related else ConnectionState.INVALID
    )
    if back is None:
        return None
    icmp_type, icmp_code = ERRORS[packet.family][packet.source_port % 2]
    return replace(
        back,
        protocol=ICMP_OF[packet.family],
        source_port=0,
        destination_port=0,
        icmp_type=icmp_type,
        icmp_code=icmp_code,
    )


def _is_outside(address: Address) -> bool:
    """Tell whether the wire leads to an address by its default route."""
    return (
        address not in WORKLOADS
        and any(address in each for each in ROUTED)
        and not any(address in each for each in NOT_ROUTED)
    )


def _pick(addresses: Sequence[Address], family: Family) -> Address:
    return next(a for a in addresses if a.version == family.value)
