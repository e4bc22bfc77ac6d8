"""Random policies for one host with four workloads.

Every field of a rule, both families, lists of up to eight profiles in any
order and with names twice, tags of workloads of this host and of others,
networks that overlap, and whatever can be missing or unreadable.
"""

from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address, ip_network
from random import Random

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

HOST, OTHER_HOST = HostName("here"), HostName("there")
LOCAL = ("cali0", "cali1", "cali2", "cali3")
UNKNOWN = "cali9"
UPLINK = "up0"
GATEWAY_MAC = bytes.fromhex("020000000001")
HOST_ADDRESSES = (ip_address("172.20.0.2"), ip_address("fd20::2"))
OUTSIDE = tuple(
    ip_address(text)
    for text in (
        *("10.66.0.7", "10.66.1.8", "192.0.2.9", "10.66.0.8"),
        *("fd66::7", "fd66:1::8", "fd66::8"),
    )
)
PROFILES = tuple(
    ProfileId(name)
    for name in ("WEB", "APP", "OPS", "ODD", "P5", "P6", "P7", "P8", "P9")
)
TAGS = tuple(TagName(name) for name in ("WEB", "APP", "red", "blue", "nobody"))
PORTS = (0, 1, 53, 67, 79, 80, 81, 443, 1023, 1024, 2048, 2049, 65534, 65535)
PREFIX_LENGTHS = {
    Family.V4: (0, 1, 8, 15, 16, 23, 24, 25, 29, 30, 31, 32, 32),
    Family.V6: (0, 1, 16, 32, 47, 48, 63, 64, 65, 126, 127, 128, 128),
}
TYPES = {Protocol.ICMP: (0, 3, 8, 11, 13, 255), Protocol.ICMPV6: (1, 128, 129, 140)}
CODES = (None, None, None, 0, 1, 2, 255)


@cache
def key_of(number: int, host: HostName = HOST) -> EndpointKey:
    """Identify the workload behind the numbered interface."""
    return EndpointKey(
        host,
        OrchestratorId("namespace"),
        WorkloadId(f"w{number}"),
        EndpointId(f"e{number}"),
    )


@cache
def mac_of(number: int) -> bytes:
    """The MAC that the numbered workload really has."""
    return bytes((0x02, 0, 0, 0, 0x10, number))


@cache
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
            fate = random.random()
            if fate < 0.94:
                endpoints[key_of(number)] = self.endpoint(number)
            elif fate < 0.97:
                unreadable = Undecodable(f"/endpoint/w{number}", "planted")
                endpoints[key_of(number)] = unreadable
        for number in range(7, 7 + random.randint(0, 3)):
            endpoints[key_of(number, OTHER_HOST)] = self._remote(number)
        pools = [ip_network("10.65.0.0/16"), ip_network("fd65::/64")]
        return Snapshot(
            Revision(revision),
            self._tags(),
            self._rules(),
            endpoints,
            {each: Pool(each) for each in pools},
            self._settings(),
        )

    def _settings(self) -> dict[SettingKey, str | Undecodable]:
        random = self.random
        action = random.choice(("DROP", "RETURN", "RETURN", "ACCEPT"))
        drawn: dict[SettingKey, str | Undecodable] = {
            SettingKey("DefaultEndpointToHostAction", HOST): action
        }
        for name in ("WorkloadDns", "WorkloadDhcp"):
            if random.random() < 0.2:
                drawn[SettingKey(name)] = "false"
        return drawn

    def _remote(self, number: int) -> WorkloadEndpoint | Undecodable:
        """Draw an endpoint of another host: all that counts here is its tags."""
        random = self.random
        if random.random() < 0.1:
            return Undecodable(f"/endpoint/w{number}", "planted")
        return WorkloadEndpoint(
            key_of(number, OTHER_HOST),
            random.choice((EndpointState.ACTIVE, EndpointState.INACTIVE)),
            InterfaceName("cali0"),
            None,
            tuple(random.sample(PROFILES, random.randint(0, 2))),
            tuple(random.sample(OUTSIDE, random.randint(1, 3))),
        )

    def _tags(self) -> dict[ProfileId, tuple[TagName, ...] | Undecodable]:
        random = self.random
        made: dict[ProfileId, tuple[TagName, ...] | Undecodable] = {}
        for profile in PROFILES:
            fate = random.random()
            if fate > 0.06:
                made[profile] = tuple(random.sample(TAGS[:4], random.randint(0, 2)))
            if fate > 0.98:
                made[profile] = Undecodable(f"/tags/{profile}", "planted")
        return made

    def _rules(self) -> dict[ProfileId, ProfileRules | Undecodable]:
        random = self.random
        made: dict[ProfileId, ProfileRules | Undecodable] = {}
        for profile in PROFILES:
            fate = random.random()
            if fate > 0.04:
                made[profile] = ProfileRules(self.rules(), self.rules())
            elif fate > 0.02:
                made[profile] = Undecodable(f"/rules/{profile}", "planted")
        return made

    def endpoint(self, number: int) -> WorkloadEndpoint:
        """Draw one local endpoint."""
        random = self.random
        is_active = random.random() > 0.07
        addresses: tuple[Address, ...] = addresses_of(number)
        fate = random.random()
        if fate < 0.06:
            addresses = random.choice(addresses), *addresses_of(number ^ 1)
        elif fate < 0.16:
            addresses = (random.choice(addresses),)
        return WorkloadEndpoint(
            key_of(number),
            EndpointState.ACTIVE if is_active else EndpointState.INACTIVE,
            InterfaceName(LOCAL[number]),
            mac_of(number) if random.random() > 0.15 else None,
            self._list_of_profiles(),
            addresses,
        )

    def _list_of_profiles(self) -> tuple[ProfileId, ...]:
        """Draw a list in any order; sometimes a name is missing or there twice."""
        random = self.random
        count = random.choice((0, 1, 1, 1, 2, 2, 3, 4, 8))
        names = random.sample(PROFILES, count)
        fate = random.random()
        if fate < 0.1:
            names.insert(random.randint(0, count), ProfileId("MISSING"))
        elif names and fate < 0.25:
            names.insert(random.randint(0, count), random.choice(names))
        return tuple(names)

    def rules(self) -> tuple[Rule, ...]:
        """Draw one direction's list, ending in an allow as often as not."""
        random = self.random
        count = random.choice((0, 1, 2, 3, 4, 12))
        made = [self.rule() for _ in range(count)]
        if random.random() < 0.5:
            made.append(Rule(Action.ALLOW))
        return tuple(made)

    def rule(self) -> Rule:
        """Draw one rule."""
        random = self.random
        action = random.choice((Action.ALLOW, Action.ALLOW, Action.DENY))
        protocol = random.choice((None, *Protocol, Protocol.TCP, Protocol.UDP))
        has_ports = protocol is not None and protocol.has_ports
        icmp_type = icmp_code = None
        if protocol in TYPES and random.random() < 0.7:
            icmp_type = random.choice(TYPES[protocol])
            icmp_code = random.choice(CODES)
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
            cidr = self.cidr(family)
        return Peer(ports, tag, cidr)

    def cidr(self, family: Family) -> Cidr:
        """Draw a network round an address that packets have, host bits and all."""
        random = self.random
        workloads = (each for n in range(len(LOCAL)) for each in addresses_of(n))
        near = [a for a in (*workloads, *OUTSIDE) if a.version == family.value]
        length = random.choice(PREFIX_LENGTHS[family])
        text = f"{random.choice(near)}/{length}"
        return Cidr(ip_network(text, strict=False), text)

    def port_range(self) -> PortRange:
        """Draw one port, or a range between two of the interesting ones."""
        first, last = sorted(self.random.choices(PORTS, k=2))
        return PortRange(first, last if self.random.random() < 0.4 else first)
