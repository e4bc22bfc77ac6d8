"""Links, routes and neighbours over one route netlink socket.

Requests are sent together and answered one by one. The kernel's answer to each
is an error number, and what it means is for the caller to say: a route to an
interface that went away meanwhile is no fault.

Not here: which routes there should be (`workloads`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6

from calico.linux.rtmessage import (
    Attributes,
    Flag,
    Kind,
    LinkState,
    Message,
    address_family,
    neighbour,
    switch_link,
)
from calico.linux.rtnetlink import LINK_EVENTS, Netlink, NetlinkRefused
from calico.model.errors import Unavailable
from calico.netset import Address, Network

ROUTE_PROTOCOL = 80
"""Marks the routes that are ours, so that stale ones are found."""

_IFF_UP = 1
_RT_TABLE_MAIN = 254
_RT_TABLE_LOCAL = 255
_RT_SCOPE_LINK = 253
_RTN_UNICAST = 1
_RTN_LOCAL = 2
_REPLACE = Flag.CREATE | Flag.REPLACE


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface as the kernel sees it.

    Attributes:
        index: The kernel's number; a new interface of the same name has another.
        name: Its name.
        is_up: It is administratively up.
        mac: Its own hardware address; empty where it has none.
    """

    index: int
    name: str
    is_up: bool
    mac: bytes


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """An interface as it is now, or that it is gone."""

    link: Link
    exists: bool


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """A route to one address that carries our protocol number."""

    address: Address
    index: int


@dataclass(frozen=True, slots=True)
class Request:
    """One change, ready to be sent.

    Attributes:
        what: What it is about, for reports.
        interface: The interface it is about; empty when there is none.
        message: What is sent.
    """

    what: str
    interface: str
    message: Message


def set_up(link: Link) -> Request:
    """Make the request that brings an interface up."""
    message = switch_link(link.index, LinkState.UP)
    return Request(f"bringing {link.name} up", link.name, message)


def set_down(link: Link) -> Request:
    """Make the request that takes an interface down, and its routes with it."""
    message = switch_link(link.index, LinkState.DOWN)
    return Request(f"taking {link.name} down", link.name, message)


def delete_link(link: Link) -> Request:
    """Make the request that takes an interface away."""
    message = Message(Kind.DELLINK, {"index": link.index})
    return Request(f"interface {link.name}", link.name, message)


def replace_route(address: Address, link: Link) -> Request:
    """Make the request that routes one address by an interface."""
    message = _route(Kind.NEWROUTE, address, link.index, _REPLACE)
    return Request(f"route to {address} by {link.name}", link.name, message)


def delete_route(route: KernelRoute) -> Request:
    """Make the request that takes one of our routes away."""
    message = _route(Kind.DELROUTE, route.address, route.index)
    return Request(f"removal of the route to {route.address}", "", message)


def replace_neighbour(address: Address, mac: bytes, link: Link) -> Request:
    """Make the request for a permanent neighbour entry."""
    message = neighbour(Kind.NEWNEIGH, address, link.index, mac, _REPLACE)
    return Request(f"neighbour {address} on {link.name}", link.name, message)


def delete_neighbour(address: Address, link: Link) -> Request:
    """Make the request that takes a neighbour entry away."""
    message = neighbour(Kind.DELNEIGH, address, link.index)
    what = f"removal of neighbour {address} on {link.name}"
    return Request(what, link.name, message)


class RouteSocket:
    """A route netlink socket; for one thread."""

    def __init__(self) -> None:
        self._socket = Netlink()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, requests: Sequence[Request]) -> list[tuple[Request, int]]:
        """Make changes in order; one that fails does not stop the next.

        Returns:
            The requests that the kernel refused, each with its error number.
        """
        answers = self._socket.send([request.message for request in requests])
        pairs = zip(requests, answers, strict=True)
        return [(request, answer.errno) for request, answer in pairs if answer]

    def list_links(self) -> list[Link]:
        """List every interface."""
        return [_read_link(each) for each in self._dump(Message(Kind.GETLINK))]

    def list_routes(self) -> list[KernelRoute]:
        """List the routes to single addresses that carry our protocol number."""
        found: list[KernelRoute] = []
        for family in (AF_INET, AF_INET6):
            ours = {"family": family, "proto": ROUTE_PROTOCOL}
            for each in self._dump(Message(Kind.GETROUTE, ours)):
                route = _read_route(each)
                if route is not None:
                    found.append(route)
        return found

    def list_addresses(self) -> list[tuple[Address, int]]:
        """List the addresses of this host's own interfaces, each with its index."""
        found: list[tuple[Address, int]] = []
        for each in self._dump(Message(Kind.GETADDR)):
            raw = each.octets("IFA_LOCAL") or each.octets("IFA_ADDRESS")
            if raw:
                found.append((ip_address(raw), each.fields["index"]))
        return found

    def list_own_networks(self) -> list[Network]:
        """List the networks of which every address is this host's own.

        That is what `ip route add local` makes (ip-route(8)), and the single
        addresses that are in use.
        """
        found: list[Network] = []
        for family in (AF_INET, AF_INET6):
            local = {"family": family, "type": _RTN_LOCAL}
            for each in self._dump(Message(Kind.GETROUTE, local)):
                fields, raw = each.fields, each.octets("RTA_DST")
                # A kernel that does not select by type lists all there is.
                is_own = fields["type"] == _RTN_LOCAL
                if is_own and fields["table"] == _RT_TABLE_LOCAL and raw:
                    found.append(ip_network((raw, fields["dst_len"])))
        return found

    def _dump(self, message: Message) -> list[Message]:
        try:
            return self._socket.dump(message)
        except NetlinkRefused as error:
            raise Unavailable("route netlink", error.reason) from None


class LinkEvents:
    """What happens to interfaces, as the kernel tells it; for one thread."""

    def __init__(self) -> None:
        self._socket = Netlink(LINK_EVENTS)

    def read(self) -> list[LinkEvent] | None:
        """Wait for events and return them.

        Returns:
            `None` when the kernel had to drop some: list the links again.
        """
        received = self._socket.read_events()
        if received is None:
            return None
        return [
            LinkEvent(_read_link(each), exists=each.kind is Kind.NEWLINK)
            for each in received
            if each.kind in {Kind.NEWLINK, Kind.DELLINK}
        ]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _route(
    kind: Kind, address: Address, index: int, flags: Flag = Flag.NONE
) -> Message:
    fields = {
        "family": address_family(address),
        "dst_len": address.max_prefixlen,
        "table": _RT_TABLE_MAIN,
        "proto": ROUTE_PROTOCOL,
        "scope": _RT_SCOPE_LINK,
        "type": _RTN_UNICAST,
    }
    attributes: Attributes = (("RTA_DST", address.packed), ("RTA_OIF", index))
    return Message(kind, fields, attributes, flags)


def _read_link(message: Message) -> Link:
    fields = message.fields
    is_up = bool(fields["flags"] & _IFF_UP)
    mac = message.octets("IFLA_ADDRESS")
    return Link(fields["index"], message.text("IFLA_IFNAME"), is_up, mac)


def _read_route(message: Message) -> KernelRoute | None:
    fields, raw = message.fields, message.octets("RTA_DST")
    index = message.number("RTA_OIF")
    # A kernel that does not select by protocol lists all there is.
    is_ours = fields["proto"] == ROUTE_PROTOCOL and fields["table"] == _RT_TABLE_MAIN
    if not is_ours or len(raw) * 8 != fields["dst_len"] or not raw or not index:
        return None
    return KernelRoute(ip_address(raw), index)
