"""Random policies and packets for one host with four workloads.

Packets are drawn near what the policies name: the same few ports, addresses
and types turn up in both, one beside the edge as often as on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from random import Random

from calico.ir.packet import Elsewhere, Packet, Place
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    ProfileId,
    Revision,
    TagName,
    WorkloadId,
)
from calico.model.network import Pool
from calico.model.rule import (
    Action,
    Cidr,
    Peer,
    PortRange,
    ProfileRules,
    Protocol,
    Rule,
)
from calico.model.snapshot import SettingKey, Snapshot, Undecodable
from calico.netset import Address, Family

HOST = HostName("here")
LOCAL = ("cali0", "cali1", "cali2", "cali3")
UNKNOWN = "cali9"
UPLINK = "up0"
GATEWAY_MAC = bytes.fromhex("020000000001")
HOST_ADDRESSES = (ip_address("172.20.0.2"), ip_address("fd20::2"))
OUTSIDE = tuple(
    ip_address(text)
    for text in ("10.66.0.7", "10.66.1.8", "192.0.2.9", "fd66::7", "fd66:1::8")
)
PROFILES = tuple(ProfileId(name) for name in ("WEB", "APP", "OPS", "ODD"))
TAGS = tuple(TagName(name) for name in ("WEB", "APP", "red", "blue", "nobody"))
PORTS = (79, 80, 81, 443, 1023, 1024, 2048, 2049, 65535)
NETWORKS = (
    "10.65.0.0/30",
    "10.65.0.2",
    "10.66.0.0/24",
    "10.66.1.8/16",
    "0.0.0.0/0",
    "192.0.2.0/27",
    "fd65::/127",
    "fd65::2",
    "fd66::/64",
    "::/0",
)
TYPES = (0, 3, 8, 11, 13)
TYPES6 = (1, 128, 129, 140)
OTHER_PROTOCOLS = (47, 253)


def key_of(number: int, host: HostName = HOST) -> EndpointKey:
    """Identify the workload behind the numbered interface."""
    return EndpointKey(
        host,
        OrchestratorId("namespace"),
        WorkloadId(f"w{number}"),
        EndpointId(f"e{number}"),
    )


def mac_of(number: int) -> bytes:
    """The MAC that the numbered workload really has."""
    return bytes((0x02, 0, 0, 0, 0x10, number))


def addresses_of(number: int) -> tuple[Address, Address]:
    """The addresses that the numbered workload really has."""
    return ip_address(f"10.65.0.{number}"), ip_address(f"fd65::{number:x}")


@dataclass(frozen=True, slots=True)
class Draw:
    """Random choices of model values.

    Attributes:
        random: Where the choices come from.
    """

    random: Random

    def snapshot(self, revision: int) -> Snapshot:
        """Draw all resources at once."""
        random = self.random
        endpoints: dict[EndpointKey, WorkloadEndpoint | Undecodable] = {}
        for number in range(len(LOCAL)):
            if random.random() > 0.05:
                endpoints[key_of(number)] = self.endpoint(number)
        other = HostName("there")
        remote = WorkloadEndpoint(
            key_of(7, other),
            EndpointState.ACTIVE,
            InterfaceName("cali0"),
            None,
            (random.choice(PROFILES),),
            tuple(random.sample(OUTSIDE, 2)),
        )
        endpoints[remote.key] = remote
        pool = ip_network("10.65.0.0/16")
        action = random.choice(("DROP", "RETURN", "RETURN", "ACCEPT"))
        settings = {SettingKey("DefaultEndpointToHostAction", HOST): action}
        if random.random() < 0.2:
            settings[SettingKey("WorkloadDns")] = "false"
        return Snapshot(
            Revision(revision),
            self._tags(),
            self._rules(),
            endpoints,
            {pool: Pool(pool)},
            settings,
        )

    def _tags(self) -> dict[ProfileId, tuple[TagName, ...] | Undecodable]:
        random = self.random
        made: dict[ProfileId, tuple[TagName, ...] | Undecodable] = {}
        for profile in PROFILES:
            fate = random.random()
            if fate > 0.06:
                made[profile] = tuple(random.sample(TAGS[:4], random.randint(0, 2)))
            if fate > 0.96:
                made[profile] = Undecodable(f"/tags/{profile}", "planted")
        return made

    def _rules(self) -> dict[ProfileId, ProfileRules | Undecodable]:
        random = self.random
        made: dict[ProfileId, ProfileRules | Undecodable] = {}
        for profile in PROFILES:
            fate = random.random()
            if fate > 0.06:
                made[profile] = ProfileRules(self.rules(), self.rules())
            elif fate > 0.03:
                made[profile] = Undecodable(f"/rules/{profile}", "planted")
        return made

    def endpoint(self, number: int) -> WorkloadEndpoint:
        """Draw one local endpoint."""
        random = self.random
        names = [*PROFILES, *PROFILES, ProfileId("MISSING")]
        count = random.choice((0, 1, 1, 1, 2, 3))
        is_active = random.random() > 0.07
        return WorkloadEndpoint(
            key_of(number),
            EndpointState.ACTIVE if is_active else EndpointState.INACTIVE,
            InterfaceName(LOCAL[number]),
            mac_of(number) if random.random() > 0.15 else None,
            tuple(random.sample(names, count)),
            addresses_of(number),
        )

    def rules(self) -> tuple[Rule, ...]:
        """Draw one direction's list, ending in an allow as often as not."""
        made = [self.rule() for _ in range(self.random.randint(0, 4))]
        if self.random.random() < 0.5:
            made.append(Rule(Action.ALLOW))
        return tuple(made)

    def rule(self) -> Rule:
        """Draw one rule."""
        random = self.random
        action = random.choice((Action.ALLOW, Action.ALLOW, Action.DENY))
        protocol = random.choice((None, *Protocol, Protocol.TCP, Protocol.UDP))
        has_ports = protocol is not None and protocol.has_ports
        icmp_type = icmp_code = None
        if protocol is not None and protocol.is_icmp and random.random() < 0.7:
            types = TYPES if protocol is Protocol.ICMP else TYPES6
            icmp_type = random.choice(types)
            icmp_code = random.choice((None, None, 0, 1))
        family = random.choice(tuple(Family))
        if protocol is Protocol.ICMP:
            family = Family.V4
        if protocol is Protocol.ICMPV6:
            family = Family.V6
        return Rule(
            action,
            protocol,
            icmp_type,
            icmp_code,
            self.peer(family, has_ports=has_ports),
            self.peer(family, has_ports=has_ports),
        )

    def peer(self, family: Family, *, has_ports: bool) -> Peer:
        """Draw one side of a rule; most sides ask for nothing."""
        random = self.random
        ports = tag = cidr = None
        if has_ports and random.random() < 0.35:
            ports = tuple(self.port_range() for _ in range(random.randint(1, 4)))
        if random.random() < 0.25:
            tag = random.choice(TAGS)
        if random.random() < 0.2:
            fitting = [n for n in NETWORKS if (":" in n) is (family is Family.V6)]
            text = random.choice(fitting)
            cidr = Cidr(ip_network(text, strict=False), text)
        return Peer(ports, tag, cidr)

    def port_range(self) -> PortRange:
        """Draw one port, or a range between two of the interesting ones."""
        first, last = sorted(self.random.choices(PORTS, k=2))
        return PortRange(first, last if self.random.random() < 0.4 else first)

    def packet(self) -> Packet:
        """Draw a packet that begins a flow; some are forged.

        An ICMP packet's identifier stands where others have their ports.
        """
        random = self.random
        family = random.choice(tuple(Family))
        enters, number, mac = self._sender()
        if enters is not Elsewhere.OUTSIDE and random.random() < 0.06:
            return self._unaddressed(enters, number, mac)
        source = self._source(enters, number, family)
        leaves, destination = self._receiver(enters, family)
        if enters is Elsewhere.OUTSIDE and leaves is Elsewhere.OUTSIDE:
            leaves, destination = key_of(1), self._pick(addresses_of(1), family)
        protocol, ports, icmp = self._transport(family)
        return Packet(
            enters,
            leaves,
            source,
            destination,
            protocol,
            mac,
            *ports,
            *icmp,
        )

    def _unaddressed(self, enters: Place, number: int, mac: bytes) -> Packet:
        """Draw what a workload says to its host before it has an address."""
        random = self.random
        host = Elsewhere.OWN_HOST
        if random.random() < 0.5:
            port = random.choice((67, 67, 68))
            unset, everyone = IPv4Address(0), IPv4Address("255.255.255.255")
            return Packet(enters, host, unset, everyone, 17, mac, 68, port)
        icmp_type = random.choice((128, 132, 133, 135, 143))
        own = bytes((mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:5], number))
        link_local = ip_address(bytes.fromhex("fe80000000000000") + own)
        source = random.choice((ip_address("::"), link_local))
        all_nodes = ip_address("ff02::1")
        return Packet(
            enters, host, source, all_nodes, 58, mac, number, number, icmp_type
        )

    def _sender(self) -> tuple[Place, int, bytes]:
        random = self.random
        fate = random.random()
        number = random.randrange(len(LOCAL))
        if fate < 0.25:
            return Elsewhere.OUTSIDE, -1, GATEWAY_MAC
        if fate < 0.28:
            return key_of(9), 9, mac_of(9)
        is_forged = random.random() < 0.06
        return key_of(number), number, mac_of(number ^ 1 if is_forged else number)

    def _source(self, enters: Place, number: int, family: Family) -> Address:
        random = self.random
        if enters is Elsewhere.OUTSIDE:
            return self._pick(random.sample(OUTSIDE, len(OUTSIDE)), family)
        if random.random() < 0.06:
            forged = [*addresses_of((number + 1) % 4), *OUTSIDE]
            return self._pick(random.sample(forged, len(forged)), family)
        return self._pick(addresses_of(number), family)

    def _receiver(self, enters: Place, family: Family) -> tuple[Place, Address]:
        random = self.random
        fate = random.random()
        if fate < 0.15 and enters is not Elsewhere.OUTSIDE:
            return Elsewhere.OWN_HOST, self._pick(HOST_ADDRESSES, family)
        if fate < 0.35:
            outside = self._pick(random.sample(OUTSIDE, len(OUTSIDE)), family)
            return Elsewhere.OUTSIDE, outside
        others = [n for n in range(len(LOCAL)) if key_of(n) != enters]
        number = random.choice(others)
        return key_of(number), self._pick(addresses_of(number), family)

    def _transport(
        self, family: Family
    ) -> tuple[int, tuple[int, int], tuple[int, int]]:
        random = self.random
        fate = random.random()
        if fate < 0.65:
            ports = random.choice(PORTS), random.choice((*PORTS, 53, 67))
            return random.choice((6, 17)), ports, (0, 0)
        if fate < 0.92:
            v4 = family is Family.V4
            icmp_type = random.choice(TYPES if v4 else TYPES6)
            icmp_type = random.choice((8 if v4 else 128, icmp_type))
            identifier = random.randrange(1, 65536)
            code = random.choice((0, 0, 1))
            return 1 if v4 else 58, (identifier, identifier), (icmp_type, code)
        return random.choice(OTHER_PROTOCOLS), (0, 0), (0, 0)

    @staticmethod
    def _pick(addresses: Sequence[Address], family: Family) -> Address:
        return next(a for a in addresses if a.version == family.value)
