"""The devices of tunnels, and what the kernel knows of the way through them.

The other ends are written down: with VXLAN each has a permanent entry in the
device's forwarding table and permanent neighbours, so that nothing is learned,
asked for, or sent to a group. The next hop of a route is the other host's own
address, which only has to have a neighbour entry on the device; in IPv6 it is
the address on the link that follows from the MAC there.

Not here: which ends and routes there should be (`tunnels`).

Source:
    man 7 rtnetlink; include/uapi/linux/{if_link,neighbour,rtnetlink}.h;
    drivers/net/vxlan/vxlan_core.c of Linux 6.1.
"""

import errno
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from socket import AF_INET, AF_INET6

from calico.ir.overlay import TUNNEL_DEVICES, tunnel_mac
from calico.ir.tunnel import VXLAN_ID, VXLAN_PORT
from calico.linux.rtmessage import (
    Attributes,
    Flag,
    Kind,
    Message,
    address_family,
    neighbour,
)
from calico.linux.rtnetlink import Netlink, NetlinkRefused
from calico.netset import Address, Family, Network, family_of

TUNNEL_ROUTE_PROTOCOL = 81
"""Marks the routes of tunnels, and of our own blocks that nothing uses."""

Hop = tuple[Address, int]
"""Where a route leads: a next hop, by the interface with this index."""

_AF_BRIDGE = 7
_NTF_SELF = 0x02
_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80
_IFF_UP = 1
_IFA_F_NODAD = 2
_RTNH_ONLINK = 4
_TABLE_MAIN = 254
_UNICAST, _BLACKHOLE = 1, 6
_INFO_KIND, _INFO_DATA = 1, 2
_VXLAN_ID, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT = 1, 4, 7, 15
_UNIVERSE = 0


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the kernel shows it.

    Attributes:
        index: The kernel's number.
        name: Its name.
        is_up: It is administratively up.
        mac: Its hardware address.
        mtu_bytes: Its MTU.
        kind: What it is, in the kernel's word; empty for hardware.
        details: What makes it the one that it is: of a VXLAN device its
            identifier, port, local address and whether it learns.
    """

    index: int
    name: str
    is_up: bool
    mac: bytes
    mtu_bytes: int
    kind: str
    details: tuple[bytes, ...]


def vxlan_details(local: IPv4Address) -> tuple[bytes, ...]:
    """Return the details that our VXLAN device has on a host."""
    # The kernel writes numbers in the machine's order, except the port.
    identifier = VXLAN_ID.to_bytes(4, "little")
    return identifier, VXLAN_PORT.to_bytes(2, "big"), local.packed, b"\0"


def create_vxlan(name: str, local: IPv4Address, mtu_bytes: int) -> Message:
    """Make the message that creates our VXLAN device, down."""
    data: Attributes = (
        ("IFLA_VXLAN_ID", VXLAN_ID),
        ("IFLA_VXLAN_LOCAL", str(local)),
        ("IFLA_VXLAN_PORT", VXLAN_PORT),
        ("IFLA_VXLAN_LEARNING", 0),
        ("IFLA_VXLAN_UDP_CSUM", 1),
    )
    attributes: Attributes = (
        ("IFLA_IFNAME", name),
        ("IFLA_ADDRESS", tunnel_mac(local).hex(":")),
        ("IFLA_MTU", mtu_bytes),
        ("IFLA_LINKINFO", (("IFLA_INFO_KIND", "vxlan"), ("IFLA_INFO_DATA", data))),
    )
    return Message(Kind.NEWLINK, {}, attributes, Flag.CREATE | Flag.EXCL)


def create_ipip(name: str) -> Message:
    """Make the message that has the kernel make its device for IP in IP.

    Loading the module makes it, and then it exists already.
    """
    info: Attributes = (("IFLA_INFO_KIND", "ipip"),)
    attributes: Attributes = (("IFLA_IFNAME", name), ("IFLA_LINKINFO", info))
    return Message(Kind.NEWLINK, {}, attributes, Flag.CREATE | Flag.EXCL)


def set_mtu(index: int, mtu_bytes: int) -> Message:
    """Make the message that gives a device an MTU."""
    return Message(Kind.NEWLINK, {"index": index}, (("IFLA_MTU", mtu_bytes),))


def own_address(kind: Kind, address: Address, index: int) -> Message:
    """Make the message about an address of the host's own on a device."""
    fields = {
        "family": address_family(address),
        "prefixlen": address.max_prefixlen,
        "flags": 0 if isinstance(address, IPv4Address) else _IFA_F_NODAD,
        "index": index,
    }
    attributes = tuple((n, address.packed) for n in ("IFA_LOCAL", "IFA_ADDRESS"))
    flags = Flag.CREATE | Flag.REPLACE if kind is Kind.NEWADDR else Flag.NONE
    return Message(kind, fields, attributes, flags)


def next_hop(kind: Kind, address: Address, mac: bytes, index: int) -> Message:
    """Make the message about the neighbour that a next hop is."""
    if kind is Kind.NEWNEIGH:
        flags = Flag.CREATE | Flag.REPLACE
        return neighbour(kind, address, index, mac, flags)
    return neighbour(kind, address, index)


def forwarding(kind: Kind, mac: bytes, host: IPv4Address, index: int) -> Message:
    """Make the message about the host that frames to a MAC are sent to."""
    fields = {
        "family": _AF_BRIDGE,
        "ifindex": index,
        "state": _NUD_NOARP | _NUD_PERMANENT,
        "flags": _NTF_SELF,
    }
    attributes: Attributes = (("NDA_LLADDR", mac), ("NDA_DST", host.packed))
    flags = Flag.CREATE | Flag.REPLACE if kind is Kind.NEWNEIGH else Flag.NONE
    return Message(kind, fields, attributes, flags)


def block_route(
    kind: Kind, block: Network, hop: Hop | None, flags: Flag = Flag.NONE
) -> Message:
    """Make the message about a route.

    Args:
        kind: What to do with it.
        block: Where it leads.
        hop: The way; `None` for nowhere.
        flags: Of the request.
    """
    is_onlink = hop is not None and isinstance(hop[0], IPv4Address)
    fields = {
        "family": AF_INET if family_of(block) is Family.V4 else AF_INET6,
        "dst_len": block.prefixlen,
        "table": _TABLE_MAIN,
        "proto": TUNNEL_ROUTE_PROTOCOL,
        "scope": _UNIVERSE,
        "type": _BLACKHOLE if hop is None else _UNICAST,
        # The next hop lies in no network of the device.
        "flags": _RTNH_ONLINK if is_onlink else 0,
    }
    attributes: Attributes = (("RTA_DST", block.network_address.packed),)
    if hop is not None:
        attributes += (("RTA_GATEWAY", hop[0].packed), ("RTA_OIF", hop[1]))
    return Message(kind, fields, attributes, flags)


def read_device(netlink: Netlink, name: str) -> Device | None:
    """Read a device; `None` when there is none of this name."""
    named: Attributes = (("IFLA_IFNAME", name),)
    try:
        (found,) = netlink.request(Message(Kind.GETLINK, {}, named))
    except NetlinkRefused as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return _read_device(found)


def read_tunnel_mtu(netlink: Netlink) -> int | None:
    """Return the smallest MTU of this host's tunnels; `None` without any.

    The kernel's device for IP in IP is there with its module, and is a tunnel of
    ours only while it is up.
    """
    found = (read_device(netlink, name) for name in TUNNEL_DEVICES.values())
    sizes = [each.mtu_bytes for each in found if each is not None and each.is_up]
    return min(sizes, default=None)


def read_underlay(netlink: Netlink, address: Address) -> Device | None:
    """Read the device that has an address of this host."""
    for each in netlink.dump(Message(Kind.GETADDR)):
        raw = each.octets("IFA_LOCAL") or each.octets("IFA_ADDRESS")
        if raw == address.packed:
            index = {"index": each.fields["index"]}
            (found,) = netlink.request(Message(Kind.GETLINK, index))
            return _read_device(found)
    return None


def _read_device(message: Message) -> Device:
    info = _nested(message.octets("IFLA_LINKINFO"))
    data = _nested(info.get(_INFO_DATA, b""))
    kind = info.get(_INFO_KIND, b"").rstrip(b"\0").decode("ascii", "replace")
    numbers = (_VXLAN_ID, _VXLAN_PORT, _VXLAN_LOCAL, _VXLAN_LEARNING)
    return Device(
        index=message.fields["index"],
        name=message.text("IFLA_IFNAME"),
        is_up=bool(message.fields["flags"] & _IFF_UP),
        mac=message.octets("IFLA_ADDRESS"),
        mtu_bytes=message.number("IFLA_MTU") or 0,
        kind=kind,
        details=tuple(data.get(each, b"") for each in numbers),
    )


def _nested(raw: bytes) -> dict[int, bytes]:
    """Take attributes within an attribute apart, by their number."""
    found: dict[int, bytes] = {}
    while len(raw) >= 4:  # noqa: PLR2004 -- their length and number
        length = int.from_bytes(raw[:2], "little")
        if length < 4:  # noqa: PLR2004 -- likewise
            break
        found[int.from_bytes(raw[2:4], "little") & 0x3FFF] = raw[4:length]
        raw = raw[-(-length // 4) * 4 :]
    return found


def list_own_addresses(netlink: Netlink, index: int) -> frozenset[Address]:
    """List the addresses of a device that reach beyond its link."""
    found: set[Address] = set()
    for each in netlink.dump(Message(Kind.GETADDR)):
        raw = each.octets("IFA_LOCAL") or each.octets("IFA_ADDRESS")
        is_there = each.fields["index"] == index
        if raw and is_there and each.fields["scope"] == _UNIVERSE:
            found.add(ip_address(raw))
    return frozenset(found)


def list_next_hops(netlink: Netlink, index: int) -> dict[Address, bytes]:
    """List the permanent neighbours on a device, with their MACs."""
    found: dict[Address, bytes] = {}
    for family in (AF_INET, AF_INET6):
        for each in netlink.dump(Message(Kind.GETNEIGH, {"family": family})):
            is_permanent = each.fields["state"] & _NUD_PERMANENT
            mac, raw = each.octets("NDA_LLADDR"), each.octets("NDA_DST")
            if each.fields["ifindex"] == index and is_permanent and mac and raw:
                found[ip_address(raw)] = mac
    return found


def list_forwarding(netlink: Netlink, index: int) -> dict[bytes, IPv4Address]:
    """List which host frames to a MAC are sent to."""
    found: dict[bytes, IPv4Address] = {}
    asked = Message(Kind.GETNEIGH, {"family": _AF_BRIDGE, "ifindex": index})
    for each in netlink.dump(asked):
        mac, raw = each.octets("NDA_LLADDR"), each.octets("NDA_DST")
        is_there = each.fields["ifindex"] == index
        if is_there and mac and len(raw) == 4:  # noqa: PLR2004 -- IPv4
            found[mac] = IPv4Address(raw)
    return found


def list_block_routes(netlink: Netlink) -> dict[Network, Hop | None]:
    """List the routes that carry our protocol number; `None` leads nowhere."""
    found: dict[Network, Hop | None] = {}
    for family in (AF_INET, AF_INET6):
        ours = {"family": family, "proto": TUNNEL_ROUTE_PROTOCOL}
        for each in netlink.dump(Message(Kind.GETROUTE, ours)):
            fields, raw = each.fields, each.octets("RTA_DST")
            is_ours = fields["proto"] == TUNNEL_ROUTE_PROTOCOL
            if not is_ours or fields["table"] != _TABLE_MAIN or not raw:
                continue
            gateway, index = each.octets("RTA_GATEWAY"), each.number("RTA_OIF")
            is_hop = fields["type"] == _UNICAST and gateway and index
            hop = (ip_address(gateway), index or 0) if is_hop else None
            found[ip_network((raw, fields["dst_len"]))] = hop
    return found
