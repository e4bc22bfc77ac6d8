"""All that routing is computed from, as far as it could be read."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from calico.model.bgp import DEFAULT_AS_NUMBER, AsNumber, BgpHost, BgpLogLevel, BgpPeer
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.snapshot import PoolKey, Undecodable
from calico.netset import Address, Family, Network


@dataclass(frozen=True, slots=True)
class AsNumberKey:
    """The key of an AS number: the default one (`host` absent) or a host's."""

    host: HostName | None = None


@dataclass(frozen=True, slots=True)
class BgpLogLevelKey:
    """The key that says how much BIRD tells, everywhere or on one host."""

    host: HostName | None = None


@dataclass(frozen=True, slots=True)
class NodeMeshKey:
    """The key that says whether all hosts peer with each other."""


@dataclass(frozen=True, slots=True)
class BgpAddressKey:
    """The key of the address that a host speaks BGP from."""

    host: HostName
    family: Family


@dataclass(frozen=True, slots=True)
class BgpPeerKey:
    """The key of a peer of every host (`host` absent), or of one."""

    peer: Address
    host: HostName | None = None


@dataclass(frozen=True, slots=True)
class AffinityKey:
    """The key that marks an allocation block as a host's."""

    host: HostName
    block: Network


@dataclass(frozen=True, slots=True)
class UnusableKey:
    """A key of BGP that nobody can use, whatever its value.

    Attributes:
        store_key: The key, as the datastore spells it.
    """

    store_key: str


RoutingKey = (
    AsNumberKey
    | BgpLogLevelKey
    | NodeMeshKey
    | BgpAddressKey
    | BgpPeerKey
    | AffinityKey
    | PoolKey
    | UnusableKey
)
"""Everything that routing is computed from, by what it holds."""

RoutingResource = int | BgpLogLevel | bool | Address | BgpPeer | Pool | Undecodable
"""The value under a `RoutingKey`; an affinity mark is `True`, an AS number `int`."""


@dataclass(frozen=True, slots=True)
class RoutingSnapshot:
    """What routes are computed from.

    Attributes:
        hosts: Every host that has an address, an AS number or a block.
        global_peers: The peers of every host.
        peers_by_host: The peers of single hosts.
        has_node_mesh: Every host peers with every other one.
        default_as_number: The AS of hosts without one of their own; absent when
            it cannot be read.
        log_levels: How much BIRD tells; everywhere under `None`.
        pools: The pools of both families.
        blocks: The allocation blocks that are affine to each host.
        undecodable: What could not be read and is in none of the others.
    """

    hosts: Mapping[HostName, BgpHost] = field(
        default_factory=dict[HostName, BgpHost],
    )
    global_peers: tuple[BgpPeer, ...] = ()
    peers_by_host: Mapping[HostName, tuple[BgpPeer, ...]] = field(
        default_factory=dict[HostName, tuple[BgpPeer, ...]]
    )
    has_node_mesh: bool = True
    default_as_number: AsNumber | None = DEFAULT_AS_NUMBER
    log_levels: Mapping[HostName | None, BgpLogLevel] = field(
        default_factory=dict[HostName | None, BgpLogLevel]
    )
    pools: Mapping[Network, Pool] = field(default_factory=dict[Network, Pool])
    blocks: Mapping[HostName, AbstractSet[Network]] = field(
        default_factory=dict[HostName, AbstractSet[Network]]
    )
    undecodable: tuple[tuple[RoutingKey, Undecodable], ...] = ()

    @classmethod
    def of(cls, resources: Mapping[RoutingKey, RoutingResource]) -> "RoutingSnapshot":
        """Sort resources by what they are."""
        drawers = _Drawers()
        for key, value in resources.items():
            if isinstance(value, Undecodable):
                drawers.undecodable.append((key, value))
            else:
                drawers.put(key, value)
        return drawers.snapshot()


@dataclass(slots=True)
class _Drawers:
    """A snapshot in the making."""

    addresses: dict[HostName, dict[Family, Address]] = field(
        default_factory=dict[HostName, dict[Family, Address]]
    )
    as_numbers: dict[HostName | None, AsNumber] = field(
        default_factory=dict[HostName | None, AsNumber]
    )
    log_levels: dict[HostName | None, BgpLogLevel] = field(
        default_factory=dict[HostName | None, BgpLogLevel]
    )
    peers: dict[HostName | None, list[BgpPeer]] = field(
        default_factory=dict[HostName | None, list[BgpPeer]]
    )
    pools: dict[Network, Pool] = field(default_factory=dict[Network, Pool])
    blocks: dict[HostName, set[Network]] = field(
        default_factory=dict[HostName, set[Network]]
    )
    undecodable: list[tuple[RoutingKey, Undecodable]] = field(
        default_factory=list[tuple[RoutingKey, Undecodable]]
    )
    has_node_mesh: bool = True

    def put(self, key: RoutingKey, value: RoutingResource) -> None:
        match key, value:
            case AffinityKey(), True:
                self.blocks.setdefault(key.host, set()).add(key.block)
            case NodeMeshKey(), bool():
                self.has_node_mesh = value
            case AsNumberKey(), int():
                self.as_numbers[key.host] = AsNumber(value)
            case BgpLogLevelKey(), BgpLogLevel():
                self.log_levels[key.host] = value
            case BgpPeerKey(), BgpPeer():
                self.peers.setdefault(key.host, []).append(value)
            case PoolKey(), Pool():
                self.pools[key.cidr] = value
            case BgpAddressKey(), IPv4Address() | IPv6Address():
                self.addresses.setdefault(key.host, {})[key.family] = value
            case _:
                pass

    def snapshot(self) -> RoutingSnapshot:
        is_unread = any(key == AsNumberKey() for key, _ in self.undecodable)
        default = None if is_unread else DEFAULT_AS_NUMBER
        names = self.addresses.keys() | self.blocks.keys() | self.as_numbers.keys()
        return RoutingSnapshot(
            hosts={
                name: BgpHost(
                    name, self.addresses.get(name, {}), self.as_numbers.get(name)
                )
                for name in names
                if name is not None
            },
            global_peers=tuple(self.peers.get(None, ())),
            peers_by_host={
                host: tuple(peers)
                for host, peers in self.peers.items()
                if host is not None
            },
            has_node_mesh=self.has_node_mesh,
            default_as_number=self.as_numbers.get(None, default),
            log_levels=self.log_levels,
            pools=self.pools,
            blocks=self.blocks,
            undecodable=tuple(self.undecodable),
        )
