"""What one host must do so that others reach its workloads, and it theirs.

Not here: the routes to workloads on this host; those are `ir.state`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address

from calico.model.bgp import DEFAULT_LOG_LEVEL, AsNumber, BgpLogLevel
from calico.netset import Address, Family, Network, family_of


class PeerKind(Enum):
    """Why a peering is there; the value is how users read it.

    Attributes:
        MESH: The peer is another host of the cluster.
        NODE: It was named for this host.
        GLOBAL: It was named for every host.
    """

    MESH = "node-to-node mesh"
    NODE = "node specific"
    GLOBAL = "global"


class Carrier(Enum):
    """How packets of a pool get from one host to another.

    Attributes:
        NONE: As they are; the network between the hosts knows the way.
        IPIP: Within IPv4 packets of the hosts.
        VXLAN: Within UDP packets of the hosts.
    """

    NONE = "none"
    IPIP = "ipip"
    VXLAN = "vxlan"


@dataclass(frozen=True, slots=True)
class Peering:
    """A BGP session that this host has.

    Attributes:
        address: The peer; no other peering of this host has it.
        as_number: The peer's AS, one that can be spoken with.
        kind: Why it is there.
    """

    address: Address
    as_number: AsNumber
    kind: PeerKind

    @property
    def family(self) -> Family:
        """The family of the session, and of the routes it carries."""
        return family_of(self.address)


@dataclass(frozen=True, slots=True)
class RoutedPool:
    """A pool, and how its packets travel."""

    cidr: Network
    carrier: Carrier


@dataclass(frozen=True, slots=True)
class TunnelRoute:
    """Where packets to a block of an overlay pool are sent.

    Attributes:
        via: The IPv4 address of the host that has the block.
        carrier: What takes them there; never NONE.
    """

    via: IPv4Address
    carrier: Carrier


@dataclass(frozen=True, slots=True)
class RoutingState:
    """The routing of one host.

    Attributes:
        router_id: What it is known by, its IPv4 address; absent when it has
            none, and then there is nothing that it could tell anybody.
        as_number: The AS it speaks for; absent when it may speak for none, and
            then there are no peerings.
        addresses: What it speaks from, by family.
        peerings: In the order of family and address, each address once.
        pools: Every pool, the longest prefix first, so that the first one that
            holds an address is the one that the address belongs to.
        blocks: The blocks of this host that lie in a pool, ascending.
        announced: Those of them that others are told of: of pools without an
            overlay.
        overlay: By the blocks of other hosts that lie in an overlay pool.
        overlay_hosts: The IPv4 addresses of all other hosts, ascending.
        log_level: How much BIRD tells.
        problems: Reason by datastore key of what could not be used.
    """

    router_id: IPv4Address | None = None
    as_number: AsNumber | None = None
    addresses: Mapping[Family, Address] = field(default_factory=dict[Family, Address])
    peerings: tuple[Peering, ...] = ()
    pools: tuple[RoutedPool, ...] = ()
    blocks: tuple[Network, ...] = ()
    announced: tuple[Network, ...] = ()
    overlay: Mapping[Network, TunnelRoute] = field(
        default_factory=dict[Network, TunnelRoute]
    )
    overlay_hosts: tuple[IPv4Address, ...] = ()
    log_level: BgpLogLevel = DEFAULT_LOG_LEVEL
    problems: Mapping[str, str] = field(default_factory=dict[str, str])
