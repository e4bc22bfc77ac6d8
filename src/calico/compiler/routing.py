"""The routing of one host, out of what the whole cluster says.

Peers come from three places. The more particular one wins where two name the
same address, for BIRD has one session for each. Whoever cannot be spoken with
is left out and named; everybody else goes on.

Not here: which routes the peers tell us of; that is known to BIRD alone.

Source:
    RFC 7607 and RFC 6793 for AS numbers that nobody may speak with.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from calico.ir.routing import (
    Carrier,
    Peering,
    PeerKind,
    RoutedPool,
    RoutingState,
    TunnelRoute,
)
from calico.model.bgp import DEFAULT_LOG_LEVEL, AsNumber, BgpHost, BgpLogLevel
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.routing import (
    AffinityKey,
    AsNumberKey,
    BgpLogLevelKey,
    BgpPeerKey,
    RoutingKey,
    RoutingSnapshot,
)
from calico.netset import Address, Family, Network, family_of

_UNSPEAKABLE = frozenset({AsNumber(0), AsNumber(23456)})
_RESERVED_V4 = 240
_ABSENT = BgpHost(HostName("-"))


def compile_routing(snapshot: RoutingSnapshot, host: HostName) -> RoutingState:
    """Work out what one host must do; total."""
    return _Compilation(snapshot, host).state()


def concerns(key: RoutingKey, state: RoutingState, host: HostName) -> bool:
    """Report whether a change of one key may make another routing of a host.

    Most of what changes in a cluster does not: a block that another host takes
    or gives up is BIRD's to hear of, unless an overlay carries it.

    Args:
        key: What changed, and no pool has changed with it.
        state: The routing until now.
        host: The host.
    """
    match key:
        case AffinityKey():
            carrier = _carrier_of(key.block, state.pools)
            return key.host == host or carrier not in {None, Carrier.NONE}
        case BgpPeerKey() | BgpLogLevelKey():
            return key.host in {None, host}
        case _:
            return True


def is_speakable(address: Address) -> bool:
    """Report whether one can have a BGP session with an address.

    It must be a unicast address that does not depend on a link and is not
    the machine's own idea of itself.
    """
    if isinstance(address, IPv6Address):
        is_odd = address.is_link_local or address.ipv4_mapped is not None
    else:
        is_odd = address.packed[0] in {0, 127} or address.packed[0] >= _RESERVED_V4
    return not (
        is_odd or address.is_multicast or address.is_unspecified or address.is_loopback
    )


def is_reserved_as(number: AsNumber) -> bool:
    """Report whether an AS number is one that no router speaks with."""
    return number in _UNSPEAKABLE


class _Compilation:
    """One run; the problems are gathered on the way."""

    def __init__(self, snapshot: RoutingSnapshot, host: HostName) -> None:
        self._snapshot = snapshot
        self._host = host
        self._own = snapshot.hosts.get(host, _ABSENT)
        self._unread = frozenset(key for key, _ in snapshot.undecodable)
        self._problems: dict[str, str] = {
            bad.store_key: bad.reason
            for key, bad in snapshot.undecodable
            if self._concerns_us(key)
        }

    def _concerns_us(self, key: RoutingKey) -> bool:
        if isinstance(key, BgpPeerKey | BgpLogLevelKey):
            return key.host in {None, self._host}
        return True

    def state(self) -> RoutingState:
        addresses = {
            family: address
            for family, address in self._own.addresses.items()
            if self._is_usable(f"the address of host {self._host}", address)
        }
        router_id = addresses.get(Family.V4)
        as_number = self._own_as_number()
        pools = _routed(self._snapshot.pools.values())
        blocks = _sorted(
            block
            for block in self._snapshot.blocks.get(self._host, frozenset())
            if _carrier_of(block, pools) is not None
        )
        has_peerings = router_id is not None and as_number is not None
        return RoutingState(
            router_id=router_id if isinstance(router_id, IPv4Address) else None,
            as_number=as_number,
            addresses=addresses,
            peerings=self._peerings(addresses) if has_peerings else (),
            pools=pools,
            blocks=blocks,
            announced=tuple(
                block for block in blocks if _carrier_of(block, pools) is Carrier.NONE
            ),
            overlay=self._overlay(pools),
            overlay_hosts=tuple(sorted({each for _, each in self._others_v4()})),
            log_level=self._log_level(),
            problems=self._problems,
        )

    def _own_as_number(self) -> AsNumber | None:
        number = self._as_number_of(self._own, self._host)
        if number in _UNSPEAKABLE:
            self._problems[f"the AS number of host {self._host}"] = _odd_as(number)
            return None
        return number

    def _as_number_of(self, host: BgpHost, name: HostName) -> AsNumber | None:
        if AsNumberKey(name) in self._unread:
            return None
        if host.as_number is not None:
            return host.as_number
        return self._snapshot.default_as_number

    def _is_usable(self, what: str, address: Address) -> bool:
        if is_speakable(address):
            return True
        self._problems[what] = f"{address} is no address to speak BGP with"
        return False

    def _log_level(self) -> BgpLogLevel:
        levels = self._snapshot.log_levels
        return levels.get(self._host, levels.get(None, DEFAULT_LOG_LEVEL))

    def _peerings(self, own: dict[Family, Address]) -> tuple[Peering, ...]:
        found: dict[Address, Peering] = {}
        for what, peering in self._candidates(own):
            first = found.setdefault(peering.address, peering)
            if first.as_number != peering.as_number:
                self._problems[what] = (
                    f"AS {peering.as_number} is not used: the same address is a"
                    f" {first.kind.value} peer with AS {first.as_number}"
                )
        return tuple(
            sorted(found.values(), key=lambda each: _order_of_address(each.address))
        )

    def _candidates(self, own: dict[Family, Address]) -> Iterator[tuple[str, Peering]]:
        """Yield who may be spoken with, the most particular ones first."""
        snapshot = self._snapshot
        for kind, peers in (
            (PeerKind.NODE, snapshot.peers_by_host.get(self._host, ())),
            (PeerKind.GLOBAL, snapshot.global_peers),
        ):
            for peer in peers:
                what = f"{kind.value} BGP peer {peer.address}"
                made = Peering(peer.address, peer.as_number, kind)
                if kind is PeerKind.NODE and made.family not in own:
                    self._problems[what] = _no_address(self._host, made.family)
                elif self._can_speak(what, made, own):
                    yield what, made
        if snapshot.has_node_mesh:
            yield from self._mesh(own)

    def _mesh(self, own: dict[Family, Address]) -> Iterator[tuple[str, Peering]]:
        # In the order of names, so that it does not depend on that of events
        # which of two hosts with one address is left out.
        for name, host in sorted(self._snapshot.hosts.items()):
            number = self._as_number_of(host, name)
            if name == self._host or number is None:
                continue
            for address in host.addresses.values():
                what = f"mesh with host {name}"
                if address in own.values():
                    self._problems[what] = f"it has the address of this host, {address}"
                    continue
                made = Peering(address, number, PeerKind.MESH)
                if self._can_speak(what, made, own):
                    yield what, made

    def _can_speak(
        self, what: str, peering: Peering, own: dict[Family, Address]
    ) -> bool:
        if peering.as_number in _UNSPEAKABLE:
            self._problems[what] = _odd_as(peering.as_number)
            return False
        is_possible = peering.family in own and peering.address not in own.values()
        return self._is_usable(what, peering.address) and is_possible

    def _others_v4(self) -> Iterator[tuple[HostName, IPv4Address]]:
        for name, host in sorted(self._snapshot.hosts.items()):
            address = host.addresses.get(Family.V4)
            is_other = name != self._host and address != self._own.addresses.get(
                Family.V4
            )
            if is_other and isinstance(address, IPv4Address) and is_speakable(address):
                yield name, address

    def _overlay(self, pools: tuple[RoutedPool, ...]) -> dict[Network, TunnelRoute]:
        own = self._snapshot.blocks.get(self._host, frozenset())
        found: dict[Network, TunnelRoute] = {}
        for name, address in self._others_v4():
            for block in self._snapshot.blocks.get(name, frozenset()):
                carrier = _carrier_of(block, pools)
                if carrier is None or carrier is Carrier.NONE or block in own:
                    continue
                found.setdefault(block, TunnelRoute(address, carrier))
        return {block: found[block] for block in _sorted(found)}


def _routed(pools: Iterable[Pool]) -> tuple[RoutedPool, ...]:
    made = (RoutedPool(pool.cidr, _carrier(pool)) for pool in pools)
    return tuple(
        sorted(made, key=lambda each: (-each.cidr.prefixlen, _order(each.cidr)))
    )


def _carrier(pool: Pool) -> Carrier:
    if pool.vxlan:
        return Carrier.VXLAN
    return Carrier.IPIP if pool.ipip else Carrier.NONE


def _carrier_of(block: Network, pools: tuple[RoutedPool, ...]) -> Carrier | None:
    """Say how packets to a block travel; `None` when it is in no pool."""
    for pool in pools:
        if _is_inside(block, pool.cidr):
            return pool.carrier
    return None


def _is_inside(inner: Network, outer: Network) -> bool:
    if family_of(inner) is not family_of(outer) or inner.prefixlen < outer.prefixlen:
        return False
    host_bits = outer.max_prefixlen - outer.prefixlen
    return int(inner.network_address) >> host_bits == (
        int(outer.network_address) >> host_bits
    )


def _order(network: Network) -> tuple[int, int, int]:
    first = int(network.network_address)
    return family_of(network).value, first, network.prefixlen


def _order_of_address(address: Address) -> tuple[int, int]:
    return family_of(address).value, int(address)


def _sorted(networks: Iterable[Network]) -> tuple[Network, ...]:
    return tuple(sorted(networks, key=_order))


def _odd_as(number: AsNumber | None) -> str:
    return f"AS {number} is reserved, and no router takes it"


def _no_address(host: HostName, family: Family) -> str:
    return f"host {host} has no IPv{family.value} address to speak from"
