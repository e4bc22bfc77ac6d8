"""Make the devices of tunnels, and the routes into them, agree with the overlay.

What there is was read once; then only the differences are sent. It is read
anew when the kernel tells of one of the devices, or of the one that the host's
address is on, and after anything was refused. A device is made anew when it
is not what it should be. Devices and routes of other programs stay: a route is
ours by its protocol number, and where another program has a route to the same
block, that one stays and the problem is told.

Not here: what the overlay is (`ir.overlay`), the messages (`tunnel_device`).
"""

import errno
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, TypeVar

from calico.ir.overlay import (
    NO_OVERLAY,
    OVERHEAD_BYTES,
    TUNNEL_DEVICES,
    Overlay,
    Tunnel,
    tunnel_mac,
)
from calico.ir.routing import Carrier
from calico.ir.state import link_local_of
from calico.linux.host_links import LinkEvent
from calico.linux.rtmessage import Flag, Kind, LinkState, Message, switch_link
from calico.linux.rtnetlink import Netlink, NetlinkRefused
from calico.linux.sysctl import configure_tunnel
from calico.linux.tunnel_device import (
    Device,
    Hop,
    block_route,
    create_ipip,
    create_vxlan,
    forwarding,
    list_block_routes,
    list_forwarding,
    list_next_hops,
    list_own_addresses,
    next_hop,
    own_address,
    read_device,
    read_underlay,
    set_mtu,
    vxlan_details,
)
from calico.netset import Address, Family, Network, family_of

_K = TypeVar("_K")
_V = TypeVar("_V")
_USUAL_MTU_BYTES = 1500
_GONE = frozenset(
    {errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL, errno.ENXIO}
)


@dataclass(slots=True)
class _Ends:
    """What a device knows of the hosts at its other ends."""

    addresses: set[Address] = field(default_factory=set[Address])
    hops: dict[Address, bytes] = field(default_factory=dict[Address, bytes])
    forwarding: dict[bytes, IPv4Address] = field(
        default_factory=dict[bytes, IPv4Address]
    )


class _Change(NamedTuple):
    """A message, what it is about, and whether it is to take something away."""

    what: str
    message: Message
    is_removal: bool = False


class Tunnels:
    """The tunnels of this host.

    Args:
        netlink: Belongs to the caller; used from one thread only.
    """

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self._wanted = NO_OVERLAY
        self._devices: dict[Carrier, Device] = {}
        self._ends: dict[Carrier, _Ends] = {}
        self._routes: dict[Network, Hop | None] = {}
        self._underlays: set[int] = set()
        self._problems: dict[str, str] = {}
        self._is_known = False
        self._has_lost_routes = False

    @property
    def problems(self) -> Mapping[str, str]:
        """What is not as it should be, by the device or block it is about."""
        return self._problems

    def apply(self, overlay: Overlay) -> None:
        """Make the kernel agree; the first time, also with what was left behind."""
        before, self._wanted = self._wanted, overlay
        if self._is_known and before == overlay:
            return
        if _devices_of(before) != _devices_of(overlay):
            self._is_known = False
        self._reach()

    def note_link(self, event: LinkEvent) -> None:
        """Take up what the kernel says about an interface."""
        link = event.link
        # One that gets another name is told with that one.
        indices = {each.index for each in self._devices.values()}
        is_ours = link.name in TUNNEL_DEVICES.values() or link.index in indices
        is_under = link.index in self._underlays
        is_missed = self._devices.keys() != self._wanted.tunnels.keys()
        if is_ours or is_under or is_missed:
            self.resync()

    def resync(self) -> None:
        """Read what is there, and make it agree."""
        if self._wanted.tunnels or self._devices:
            self._is_known = False
            self._reach()

    def _reach(self) -> None:
        self._problems = {}
        self._reach_once()
        if self._has_lost_routes:
            self._is_known = self._has_lost_routes = False
            self._reach_once()

    def _reach_once(self) -> None:
        if not self._is_known:
            self._reach_devices()
            self._read()
        self._is_known = True
        wanted = {
            carrier: self._wanted_ends(carrier, tunnel)
            for carrier, tunnel in self._wanted.tunnels.items()
            if carrier in self._devices
        }
        for carrier, ends in wanted.items():
            self._send(self._new_ends(carrier, ends))
        routes = self._wanted_routes()
        self._send(_route_changes(self._routes, routes))
        # Only now does nothing lead to them any more.
        for carrier, ends in wanted.items():
            self._send(self._old_ends(carrier, ends))
        self._ends = wanted
        self._routes = routes

    # Devices.

    def _reach_devices(self) -> None:
        self._devices, self._underlays = {}, set()
        for carrier in TUNNEL_DEVICES:
            tunnel = self._wanted.tunnels.get(carrier)
            if tunnel is None:
                self._remove(carrier)
                continue
            device = self._make(carrier, tunnel)
            if device is not None:
                self._devices[carrier] = device

    def _remove(self, carrier: Carrier) -> None:
        name = TUNNEL_DEVICES[carrier]
        device = read_device(self._netlink, name)
        ends = self._ends.get(carrier)
        if device is None:
            return
        if carrier is Carrier.VXLAN and _is_our_vxlan(device):
            message = Message(Kind.DELLINK, {"index": device.index})
            self._send([_Change(f"removal of {name}", message, is_removal=True)])
        elif carrier is Carrier.IPIP and ends is not None:
            # The kernel keeps this one for as long as it has the module.
            addresses = ends.addresses
            gone = [own_address(Kind.DELADDR, a, device.index) for a in addresses]
            gone.append(switch_link(device.index, LinkState.DOWN))
            self._send(_Change(f"removal of {name}", m, is_removal=True) for m in gone)

    def _make(self, carrier: Carrier, tunnel: Tunnel) -> Device | None:
        name = TUNNEL_DEVICES[carrier]
        mtu_bytes = self._mtu_bytes(carrier, tunnel)
        device = read_device(self._netlink, name)
        if carrier is Carrier.VXLAN and device is not None:
            if device.kind != "vxlan":
                self._problems[name] = "is an interface of another program"
                return None
            if not _is_as_wanted(device, tunnel):
                message = Message(Kind.DELLINK, {"index": device.index})
                self._send([_Change(f"removal of {name}", message, is_removal=True)])
                device = None
        if device is None:
            self._create(carrier, tunnel, mtu_bytes)
            device = read_device(self._netlink, name)
        if device is not None:
            self._set_up(device, mtu_bytes)
        return device

    def _mtu_bytes(self, carrier: Carrier, tunnel: Tunnel) -> int:
        under = read_underlay(self._netlink, tunnel.local)
        if under is None:
            self._problems[TUNNEL_DEVICES[carrier]] = (
                f"no interface has the address of this host, {tunnel.local}"
            )
            return _USUAL_MTU_BYTES - OVERHEAD_BYTES[carrier]
        self._underlays.add(under.index)
        # The loopback interface takes more than a tunnel can carry.
        under_bytes = min(under.mtu_bytes, 65535)
        return under_bytes - OVERHEAD_BYTES[carrier]

    def _create(self, carrier: Carrier, tunnel: Tunnel, mtu_bytes: int) -> None:
        name = TUNNEL_DEVICES[carrier]
        is_vxlan = carrier is Carrier.VXLAN
        message = (
            create_vxlan(name, tunnel.local, mtu_bytes)
            if is_vxlan
            else create_ipip(name)
        )
        try:
            self._netlink.request(message)
        except NetlinkRefused as error:
            if error.errno == errno.EEXIST and not is_vxlan:
                return
            self._problems[name] = f"cannot be made: {error.reason}"
            if error.errno == errno.EEXIST:
                self._problems[name] = (
                    "cannot be made: another interface has its port and identifier"
                )

    def _set_up(self, device: Device, mtu_bytes: int) -> None:
        name, changes = device.name, list[_Change]()
        if device.mtu_bytes != mtu_bytes:
            message = set_mtu(device.index, mtu_bytes)
            changes.append(_Change(f"MTU {mtu_bytes} of {name}", message))
        for setting, reason in configure_tunnel(name).items():
            self._problems[name] = f"{setting} could not be set: {reason}"
        if not device.is_up:
            up = switch_link(device.index, LinkState.UP)
            changes.append(_Change(f"bringing {name} up", up))
        self._send(changes)

    # What they know, and what leads to them.

    def _read(self) -> None:
        self._routes = list_block_routes(self._netlink)
        self._ends = {
            carrier: _Ends(
                set(list_own_addresses(self._netlink, device.index)),
                list_next_hops(self._netlink, device.index),
                list_forwarding(self._netlink, device.index)
                if carrier is Carrier.VXLAN
                else {},
            )
            for carrier, device in self._devices.items()
        }

    def _wanted_ends(self, carrier: Carrier, tunnel: Tunnel) -> _Ends:
        known = self._ends.get(carrier, _Ends()).addresses
        ends = _Ends(known if tunnel.addresses is None else set(tunnel.addresses))
        if carrier is Carrier.VXLAN:
            for block, host in tunnel.routes.items():
                mac = tunnel_mac(host)
                ends.hops[_hop_address(block, host)] = mac
                ends.forwarding[mac] = host
        return ends

    def _new_ends(self, carrier: Carrier, wanted: _Ends) -> Iterator[_Change]:
        index, known = self._devices[carrier].index, self._ends.get(carrier, _Ends())
        name = TUNNEL_DEVICES[carrier]
        for address in wanted.addresses - known.addresses:
            message = own_address(Kind.NEWADDR, address, index)
            yield _Change(f"address {address} of {name}", message)
        for hop, mac in _new(known.hops, wanted.hops):
            message = next_hop(Kind.NEWNEIGH, hop, mac, index)
            yield _Change(f"neighbour {hop} of {name}", message)
        for mac, host in _new(known.forwarding, wanted.forwarding):
            message = forwarding(Kind.NEWNEIGH, mac, host, index)
            yield _Change(f"way to {host} by {name}", message)

    def _old_ends(self, carrier: Carrier, wanted: _Ends) -> Iterator[_Change]:
        index, known = self._devices[carrier].index, self._ends.get(carrier, _Ends())
        name = TUNNEL_DEVICES[carrier]
        for address in known.addresses - wanted.addresses:
            # With its last IPv4 address a device loses its routes, too.
            self._has_lost_routes = True
            message = own_address(Kind.DELADDR, address, index)
            yield _Change(f"address {address} of {name}", message, is_removal=True)
        for hop in known.hops.keys() - wanted.hops.keys():
            message = next_hop(Kind.DELNEIGH, hop, b"", index)
            yield _Change(f"neighbour {hop} of {name}", message, is_removal=True)
        for mac in known.forwarding.keys() - wanted.forwarding.keys():
            message = forwarding(Kind.DELNEIGH, mac, known.forwarding[mac], index)
            yield _Change(f"an entry of {name}", message, is_removal=True)

    def _wanted_routes(self) -> dict[Network, Hop | None]:
        routes: dict[Network, Hop | None] = dict.fromkeys(self._wanted.own_blocks)
        for carrier, tunnel in self._wanted.tunnels.items():
            device = self._devices.get(carrier)
            if device is not None:
                for block, host in tunnel.routes.items():
                    routes[block] = _hop_address(block, host), device.index
        return routes

    def _send(self, changes: Iterable[_Change]) -> None:
        made = list(changes)
        answers = self._netlink.send([each.message for each in made])
        for change, refusal in zip(made, answers, strict=True):
            if refusal is None or (change.is_removal and refusal.errno in _GONE):
                continue
            self._is_known = False
            self._problems[change.what] = refusal.reason


def remove_tunnels(netlink: Netlink) -> Mapping[str, str]:
    """Take out what an agent that has ended left, with all routes of ours.

    Returns:
        What could not be taken out, with the reason.
    """
    tunnels = Tunnels(netlink)
    tunnels.apply(NO_OVERLAY)
    return tunnels.problems


def _devices_of(overlay: Overlay) -> dict[Carrier, IPv4Address]:
    """Say what the devices of an overlay depend on."""
    return {carrier: each.local for carrier, each in overlay.tunnels.items()}


def _is_our_vxlan(device: Device) -> bool:
    identifier = vxlan_details(IPv4Address(0))[0]
    return device.kind == "vxlan" and device.details[0] == identifier


def _is_as_wanted(device: Device, tunnel: Tunnel) -> bool:
    is_ours = device.details == vxlan_details(tunnel.local)
    return is_ours and device.mac == tunnel_mac(tunnel.local)


def _hop_address(block: Network, host: IPv4Address) -> Address:
    """Return the next hop of a block; of the family that the block has."""
    if family_of(block) is Family.V4:
        return host
    return IPv6Address(link_local_of(tunnel_mac(host)))


def _new(known: Mapping[_K, _V], wanted: Mapping[_K, _V]) -> Iterator[tuple[_K, _V]]:
    return ((k, v) for k, v in wanted.items() if k not in known or known[k] != v)


def _route_changes(
    known: Mapping[Network, Hop | None], wanted: Mapping[Network, Hop | None]
) -> Iterator[_Change]:
    for block in known.keys() - wanted.keys():
        yield _route_removal(block, known[block])
    for block, hop in _new(known, wanted):
        is_v6 = family_of(block) is Family.V6
        if block in known and is_v6:
            # In IPv6 a replacement may go beside what it shall replace.
            yield _route_removal(block, known[block])
        is_replaced = block in known and not is_v6
        flags = Flag.CREATE | (Flag.REPLACE if is_replaced else Flag.EXCL)
        message = block_route(Kind.NEWROUTE, block, hop, flags)
        yield _Change(f"route to {block}", message)


def _route_removal(block: Network, hop: Hop | None) -> _Change:
    message = block_route(Kind.DELROUTE, block, hop)
    return _Change(f"removal of the route to {block}", message, is_removal=True)
