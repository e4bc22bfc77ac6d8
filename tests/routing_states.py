"""Routings of a host to try BIRD with: some by name, and how to draw others."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from ipaddress import ip_network as network

from hypothesis import strategies as st

from calico.compiler.routing import is_speakable
from calico.ir.routing import Carrier, Peering, PeerKind, RoutedPool, RoutingState
from calico.model.bgp import AsNumber, BgpLogLevel
from calico.model.block import block_of
from calico.netset import Address, Family, Network, family_of

OWN_V4, OWN_V6 = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
DEFAULT = AsNumber(64511)


def peering(address: str, number: int, kind: PeerKind = PeerKind.MESH) -> Peering:
    """Make a peering."""
    return Peering(ip_address(address), AsNumber(number), kind)


def pool(cidr: str, carrier: Carrier = Carrier.NONE) -> RoutedPool:
    """Make a pool."""
    return RoutedPool(network(cidr), carrier)


NAMED: dict[str, RoutingState] = {
    "alone": RoutingState(router_id=OWN_V4, as_number=DEFAULT),
    "no-address": RoutingState(as_number=DEFAULT),
    "mesh": RoutingState(
        router_id=OWN_V4,
        as_number=DEFAULT,
        addresses={Family.V4: OWN_V4, Family.V6: OWN_V6},
        peerings=(
            peering("192.0.2.2", 64511),
            peering("192.0.2.3", 64600),
            peering("2001:db8::2", 64511),
        ),
        pools=(pool("fd80:24e2:f998:72d6::/64"), pool("192.168.0.0/16")),
        blocks=(network("192.168.0.64/26"), network("fd80:24e2:f998:72d6::40/122")),
        announced=(network("192.168.0.64/26"), network("fd80:24e2:f998:72d6::40/122")),
    ),
    "peers-by-name": RoutingState(
        router_id=OWN_V4,
        as_number=AsNumber(4200000001),
        addresses={Family.V4: OWN_V4},
        peerings=(
            peering("198.51.100.1", 65000, PeerKind.GLOBAL),
            peering("198.51.100.2", 4200000001, PeerKind.NODE),
        ),
        pools=(pool("10.0.0.0/16"),),
        log_level=BgpLogLevel.DEBUG,
    ),
    "overlay": RoutingState(
        router_id=OWN_V4,
        as_number=DEFAULT,
        addresses={Family.V4: OWN_V4},
        peerings=(peering("192.0.2.2", 64511),),
        pools=(
            pool("10.1.4.0/24"),
            pool("10.1.0.0/16", Carrier.VXLAN),
            pool("10.2.0.0/16", Carrier.IPIP),
            pool("10.0.0.0/8"),
        ),
        blocks=(network("10.1.0.0/26"), network("10.1.4.0/26"), network("10.7.0.0/26")),
        announced=(network("10.1.4.0/26"), network("10.7.0.0/26")),
        log_level=BgpLogLevel.NONE,
    ),
}
"""Each is written down in `golden/bird` as BIRD reads it."""


def _networks(family: Family, longest: int) -> st.SearchStrategy[Network]:
    make = IPv4Network if family is Family.V4 else IPv6Network
    first = st.integers(0, family.last_address)
    return st.tuples(first, st.integers(1, longest)).map(
        lambda drawn: make(
            (drawn[0] >> family.n_bits - drawn[1] << family.n_bits - drawn[1], drawn[1])
        )
    )


# Whoever can be spoken with lies between these; a few in between cannot.
_v4 = (
    st.integers(1 << 24, 223 << 24)
    .filter(lambda each: each >> 24 != 127)
    .map(IPv4Address)
)
_v6 = (
    (st.integers(1 << 96, 0xFE80 << 112) | st.integers(0x2001 << 112, 0x2002 << 112))
    .map(IPv6Address)
    .filter(is_speakable)
)
_pools = st.one_of(_networks(Family.V4, 26), _networks(Family.V6, 122))
_blocks: st.SearchStrategy[Network] = _pools.map(
    lambda each: block_of(each.network_address)
)


@st.composite
def routing_states(draw: st.DrawFn) -> RoutingState:
    """Draw what `compile_routing` could return, and not only likely things."""
    addresses: dict[Family, Address] = {Family.V4: draw(_v4)}
    if draw(st.booleans()):
        addresses[Family.V6] = draw(_v6)
    numbers = st.integers(1, 4294967295).filter(lambda each: each != 23456)
    peers = draw(st.lists(_v4 | _v6, max_size=4, unique=True))
    blocks = tuple(draw(st.lists(_blocks, max_size=3, unique=True)))
    pools = draw(st.lists(_pools, max_size=4, unique=True))
    own = addresses[Family.V4]
    assert isinstance(own, IPv4Address)
    return RoutingState(
        router_id=own,
        as_number=AsNumber(draw(numbers)),
        addresses=addresses,
        peerings=tuple(
            Peering(each, AsNumber(draw(numbers)), draw(st.sampled_from(PeerKind)))
            for each in peers
            if family_of(each) in addresses and each not in addresses.values()
        ),
        pools=tuple(
            RoutedPool(each, draw(st.sampled_from(Carrier)))
            for each in sorted(pools, key=lambda each: -each.prefixlen)
        ),
        blocks=blocks,
        announced=blocks,
        log_level=draw(st.sampled_from(BgpLogLevel)),
    )
