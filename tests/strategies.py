"""How to generate our domain objects, small enough to collide often.

Packets are drawn near what a snapshot names: a port beside the end of a range
turns up as often as one within it.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, ip_address, ip_network

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from calico.ir.packet import ConnectionState, Elsewhere, Packet, Place
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
from calico.model.snapshot import (
    PoolKey,
    ProfileLabelsKey,
    ProfileRulesKey,
    ProfileTagsKey,
    Resource,
    ResourceKey,
    SettingKey,
    Snapshot,
    Undecodable,
)
from calico.netset import Address, Family

HOST, OTHER = HostName("here"), HostName("there")
PROFILES = tuple(ProfileId(name) for name in ("P0", "P1", "P2", "P3"))
TAGS = tuple(TagName(name) for name in ("red", "blue", "nobody"))
INTERFACES = tuple(
    InterfaceName(name) for name in ("cali0", "cali1", "cali2", "cali3", "tap0")
)
ADDRESSES: tuple[Address, ...] = tuple(
    ip_address(f"{prefix}{number}")
    for prefix in ("10.65.0.", "fd65::")
    for number in range(1, 6)
)
OUTSIDE: tuple[Address, ...] = (
    ip_address("192.0.2.9"),
    ip_address("2001:db8::9"),
    IPv4Address(0),
    ip_address("::"),
)
NETWORKS = ("10.65.0.0/30", "10.65.0.4", "0.0.0.0/0", "fd65::/126", "fd65::4", "::/0")
MACS = tuple(bytes((2, 0, 0, 0, 0, number)) for number in range(3))
PORTS = (0, 1, 53, 67, 68, 80, 443, 546, 547, 65534, 65535)
ICMP_TYPES = (0, 3, 8, 128, 129, 130, 135, 143, 255)
PROTOCOL_NUMBERS = (1, 6, 17, 47, 58)


def endpoint_key(number: int, host: HostName = HOST) -> EndpointKey:
    """Identify an endpoint."""
    return EndpointKey(
        host,
        OrchestratorId("namespace"),
        WorkloadId(f"w{number}"),
        EndpointId("eth0"),
    )


KEYS = tuple(endpoint_key(n, host) for host in (HOST, OTHER) for n in range(4))
UNKNOWN = endpoint_key(9)

port_ranges = st.lists(st.sampled_from(PORTS), min_size=2, max_size=2).map(
    lambda ends: PortRange(min(ends), max(ends))
)
actions = st.sampled_from(Action)


def cidrs(family: Family) -> SearchStrategy[Cidr]:
    """Draw a network of one family, host bits and all."""
    fitting = [text for text in NETWORKS if (":" in text) is (family is Family.V6)]
    return st.sampled_from(fitting).map(
        lambda text: Cidr(ip_network(text, strict=False), text)
    )


@st.composite
def peers(draw: st.DrawFn, family: Family, *, has_ports: bool) -> Peer:
    """Draw one side of a rule; most sides ask for little."""
    ports = st.none() | st.lists(port_ranges, min_size=1, max_size=3).map(tuple)
    return Peer(
        draw(ports) if has_ports else None,
        draw(st.none() | st.sampled_from(TAGS)),
        draw(st.none() | cidrs(family)),
    )


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Draw a rule that the codec would take."""
    protocol = draw(st.none() | st.sampled_from(Protocol))
    family = draw(st.sampled_from(Family))
    icmp_type = icmp_code = None
    if protocol is not None and protocol.is_icmp:
        family = Family.V4 if protocol is Protocol.ICMP else Family.V6
        icmp_type = draw(st.none() | st.sampled_from(ICMP_TYPES))
        if icmp_type is not None:
            icmp_code = draw(st.none() | st.sampled_from((0, 1, 255)))
    has_ports = protocol is not None and protocol.has_ports
    return Rule(
        draw(actions),
        protocol,
        icmp_type,
        icmp_code,
        draw(peers(family, has_ports=has_ports)),
        draw(peers(family, has_ports=has_ports)),
    )


rule_lists = st.lists(rules(), max_size=4).map(tuple)
profile_rules = st.builds(ProfileRules, rule_lists, rule_lists)
tag_lists = st.lists(st.sampled_from(TAGS), max_size=2, unique=True).map(tuple)


def endpoints(key: EndpointKey) -> SearchStrategy[WorkloadEndpoint]:
    """Draw an endpoint; its neighbours may claim the same things."""
    names = st.sampled_from((*PROFILES, ProfileId("missing")))
    own = KEYS.index(key) % 4
    interface = InterfaceName(f"cali{own}")
    return st.builds(
        WorkloadEndpoint,
        st.just(key),
        st.sampled_from((*(EndpointState.ACTIVE,) * 4, EndpointState.INACTIVE)),
        st.sampled_from((interface,) * 5 + INTERFACES),
        st.none() | st.sampled_from(MACS),
        st.lists(names, max_size=3).map(tuple),
        st.lists(st.sampled_from(ADDRESSES), max_size=3, unique=True).map(tuple),
    )


_VALUES = {
    "DefaultEndpointToHostAction": ("DROP", "RETURN", "RETURN", "ACCEPT"),
    "WorkloadDns": ("true", "false"),
    "WorkloadDhcp": ("true", "false"),
    "InterfacePrefix": ("cali", "cali,tap", "tap"),
    "CutEstablishedFlows": ("true", "false"),
    "DropLog": ("true", "false"),
}
SETTING_KEYS = tuple(
    SettingKey(name, host) for name in _VALUES for host in (None, HOST, OTHER)
)
POOL_KEYS = tuple(
    PoolKey(ip_network(text)) for text in ("10.65.0.0/16", "10.66.0.0/16", "fd65::/64")
)
PROFILE_KEYS: tuple[ResourceKey, ...] = tuple(
    make(name)
    for name in PROFILES
    for make in (ProfileTagsKey, ProfileRulesKey, ProfileLabelsKey)
)
RESOURCE_KEYS: tuple[ResourceKey, ...] = (
    *KEYS,
    *PROFILE_KEYS,
    *POOL_KEYS,
    *SETTING_KEYS,
)


def good_resources(key: ResourceKey) -> SearchStrategy[Resource]:
    """Draw what belongs under a key of `RESOURCE_KEYS`."""
    match key:
        case EndpointKey():
            return endpoints(key)
        case ProfileTagsKey():
            return tag_lists
        case ProfileRulesKey():
            return profile_rules
        case PoolKey():
            return st.builds(Pool, st.just(key.cidr), masquerade=st.booleans())
        case SettingKey():
            return st.sampled_from(_VALUES[key.name])
        case _:
            return st.just({"role": "web"})


def resources(key: ResourceKey) -> SearchStrategy[Resource]:
    """Draw what may be under a key, now and then undecodable."""
    broken = Undecodable(f"/{key}", "planted")
    good = good_resources(key)
    return st.integers(0, 11).flatmap(lambda n: st.just(broken) if n == 11 else good)


events = st.sampled_from(RESOURCE_KEYS).flatmap(
    lambda key: st.tuples(st.just(key), st.none() | resources(key))
)
"""What a watch may tell: a key, and what is under it now, if anything."""


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Draw a whole snapshot whose settings can be read."""
    held: dict[ResourceKey, Resource] = {}
    for key in (*KEYS, *PROFILE_KEYS):
        if draw(st.integers(0, 9)) < 9:
            held[key] = draw(resources(key))
    for key in draw(st.lists(st.sampled_from(SETTING_KEYS), max_size=4, unique=True)):
        held[key] = draw(good_resources(key))
    for key in draw(st.lists(st.sampled_from(POOL_KEYS), max_size=3, unique=True)):
        held[key] = draw(resources(key))
    return snapshot_of(held)


def snapshot_of(held: Mapping[ResourceKey, Resource], revision: int = 1) -> Snapshot:
    """Make a snapshot of what is under each key."""
    items = held.items()
    return Snapshot(
        revision=Revision(revision),
        tags={
            key.profile: value
            for key, value in items
            if isinstance(key, ProfileTagsKey)
            and isinstance(value, tuple | Undecodable)
        },
        rules={
            key.profile: value
            for key, value in items
            if isinstance(key, ProfileRulesKey)
            and isinstance(value, ProfileRules | Undecodable)
        },
        endpoints={
            key: value
            for key, value in items
            if isinstance(key, EndpointKey)
            and isinstance(value, WorkloadEndpoint | Undecodable)
        },
        pools={
            key.cidr: value
            for key, value in items
            if isinstance(key, PoolKey) and isinstance(value, Pool | Undecodable)
        },
        settings={
            key: value
            for key, value in items
            if isinstance(key, SettingKey) and isinstance(value, str | Undecodable)
        },
        labels={
            key.profile: value
            for key, value in items
            if isinstance(key, ProfileLabelsKey)
            and isinstance(value, Mapping | Undecodable)
        },
    )


def rules_in(snapshot: Snapshot) -> tuple[Rule, ...]:
    """List every rule of a snapshot."""
    return tuple(
        rule
        for each in snapshot.rules.values()
        if isinstance(each, ProfileRules)
        for rule in (*each.inbound, *each.outbound)
    )


def edge_ports(snapshot: Snapshot) -> list[int]:
    """List the ports at and beside the ends of all ranges in a snapshot."""
    ends = {
        end
        for rule in rules_in(snapshot)
        for peer in (rule.source, rule.destination)
        for each in peer.ports or ()
        for end in (each.first, each.last)
    }
    near = {end + step for end in ends for step in (-1, 0, 1)} | {53, 67, 68, 546, 547}
    return sorted(port for port in near if 0 <= port <= 65535)


def edge_addresses(snapshot: Snapshot) -> list[Address]:
    """List the addresses of endpoints, and those at and beside networks' ends."""
    found: set[Address] = {*ADDRESSES, *OUTSIDE}
    for rule in rules_in(snapshot):
        for peer in (rule.source, rule.destination):
            if peer.cidr is not None:
                network = peer.cidr.network
                found |= {network.network_address, network.broadcast_address}
                if network.prefixlen:
                    found |= {network.network_address - 1}
                    found |= {network.broadcast_address + 1}
    return sorted(found, key=lambda address: (address.version, int(address)))


@st.composite
def packets(draw: st.DrawFn, snapshot: Snapshot) -> Packet:
    """Draw a packet near the edges of what a snapshot names.

    Most are honest: the source belongs to the sender, and the destination to
    the receiver, so that policy and not the source check decides them.
    """
    places: list[Place] = [*KEYS[:4], *KEYS[:4], UNKNOWN, *Elsewhere]
    enters, leaves = draw(st.sampled_from(places)), draw(st.sampled_from(places))
    family = draw(st.sampled_from(Family))
    addresses = [
        each for each in edge_addresses(snapshot) if each.version == family.value
    ]
    sender, receiver = (
        snapshot.endpoints.get(_key(enters)),
        snapshot.endpoints.get(_key(leaves)),
    )
    protocol = draw(st.sampled_from(PROTOCOL_NUMBERS))
    has_ports, is_icmp = protocol in {6, 17}, protocol in {1, 58}
    ports = st.sampled_from(edge_ports(snapshot)) if has_ports else st.just(0)
    mac = sender.mac if isinstance(sender, WorkloadEndpoint) else None
    states = (ConnectionState.NEW,) * 6 + tuple(ConnectionState)
    return Packet(
        enters=enters,
        leaves=leaves,
        source=draw(_addresses(sender, addresses)),
        destination=draw(_addresses(receiver, addresses)),
        protocol=protocol,
        source_mac=draw(st.sampled_from((mac or MACS[0],) * 6 + MACS)),
        source_port=draw(ports),
        destination_port=draw(ports),
        icmp_type=draw(st.sampled_from(ICMP_TYPES)) if is_icmp else 0,
        icmp_code=draw(st.sampled_from((0, 1, 255))) if is_icmp else 0,
        state=draw(st.sampled_from(states)),
    )


def _key(place: Place) -> EndpointKey:
    return place if isinstance(place, EndpointKey) else UNKNOWN


def _addresses(
    endpoint: WorkloadEndpoint | Undecodable | None, others: list[Address]
) -> SearchStrategy[Address]:
    if not isinstance(endpoint, WorkloadEndpoint):
        return st.sampled_from(others)
    own = [each for each in endpoint.addresses if each.version == others[0].version]
    return st.sampled_from(own * 20 + others)
