"""Routes of a workload: its default route, and the others it gives way to.

A route is replayed with another metric by sending the kernel's own message
back, so whatever it says (next hops, source, options) is kept.

Source:
    man 7 rtnetlink; include/uapi/linux/rtnetlink.h.
"""

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, AddressFamily

from calico.linux.rtmessage import Attributes, Flag, Kind, Message, address_family
from calico.linux.rtnetlink import Netlink, NetlinkRefused
from calico.netset import Address

_MAIN = 254
_BOOT = 3
_UNIVERSE = 0
_LINK = 253
_UNICAST = 1
_ONLINK = 4
_CLONED = 0x200
# What the kernel says of a next hop that it was given by its number: it takes
# either back, not both.
_NEXT_HOP_ID = "RTA_NH_ID"
_NEXT_HOP = frozenset({"RTA_GATEWAY", "RTA_OIF", "RTA_VIA", "RTA_MULTIPATH"})


# What the kernel takes for a metric that is not given.
_USUAL_METRIC = {AF_INET: 0, AF_INET6: 1024}


@dataclass(frozen=True, slots=True)
class _Route:
    """A default route as the kernel says it.

    Attributes:
        fields: The fixed part, by name.
        attributes: All but the metric and what the kernel only reports.
        metric: The lower the better.
        device: The index of its device; `None` with several next hops.
    """

    fields: Mapping[str, int]
    attributes: Attributes
    metric: int
    device: int | None


def _fields(family: AddressFamily, length: int, scope: int) -> dict[str, int]:
    return {
        "family": family,
        "dst_len": length,
        "table": _MAIN,
        "proto": _BOOT,
        "scope": scope,
        "type": _UNICAST,
    }


def put_link_route(sock: Netlink, index: int, address: bytes) -> None:
    """Make an IPv4 address reachable on a link; it may be so already."""
    fields = _fields(AF_INET, 32, _LINK)
    attributes: Attributes = (("RTA_DST", address), ("RTA_OIF", index))
    flags = Flag.CREATE | Flag.REPLACE
    sock.request(Message(Kind.NEWROUTE, fields, attributes, flags))


def put_default(sock: Netlink, index: int, gateway: Address) -> None:
    """Make a gateway the preferred default of its family; it may be so already.

    A default route of another device that would come first, or be taken in
    turns with ours, gets the next metric that is free.
    """
    family = address_family(gateway)
    ours = _USUAL_METRIC[family]
    routes = _default_routes(sock, family)
    taken = {route.metric for route in routes} | {ours}
    for route in routes:
        if route.device != index and route.metric <= ours:
            metric = next(n for n in range(ours + 1, ours + 2**16) if n not in taken)
            taken.add(metric)
            _put(sock, route, metric)
            _delete(sock, route)
    fields = _fields(family, 0, _UNIVERSE)
    attributes: Attributes = (("RTA_GATEWAY", gateway.packed), ("RTA_OIF", index))
    flags = Flag.CREATE | Flag.EXCL
    try:
        sock.request(Message(Kind.NEWROUTE, fields, attributes, flags))
    except NetlinkRefused as error:
        if error.errno != errno.EEXIST:
            raise


def delete_route(
    sock: Netlink, index: int, family: AddressFamily, address: bytes, gateway: bytes
) -> None:
    """Delete a route of one device; one that is gone is no error.

    Args:
        sock: In the namespace of the device.
        index: The device.
        family: The family.
        address: The destination; empty for the default route.
        gateway: The next hop; empty when there is none.
    """
    fields = _fields(family, len(address) * 8, _UNIVERSE if gateway else _LINK)
    attributes: Attributes = (("RTA_OIF", index),)
    if address:
        attributes += (("RTA_DST", address),)
    if gateway:
        attributes += (("RTA_GATEWAY", gateway),)
    try:
        sock.request(Message(Kind.DELROUTE, fields, attributes))
    except NetlinkRefused as error:
        if error.errno != errno.ESRCH:
            raise


DefaultRoutes = tuple[_Route, ...]
"""The default routes of a namespace, as `read_defaults` found them."""


def read_defaults(sock: Netlink) -> DefaultRoutes:
    """Read the default routes of both families."""
    both = (AF_INET, AF_INET6)
    return tuple(route for family in both for route in _default_routes(sock, family))


def restore_defaults(sock: Netlink, before: DefaultRoutes) -> None:
    """Give the default routes of other devices the metrics back that they had.

    For when ours are gone again; what has changed otherwise is left alone.
    """
    now = read_defaults(sock)
    for route in before:
        if route in now:
            continue
        moved = [
            each
            for each in now
            if (each.fields, each.attributes) == (route.fields, route.attributes)
        ]
        if moved:
            _put(sock, route, route.metric)
            _delete(sock, moved[0])


def _default_routes(sock: Netlink, family: AddressFamily) -> list[_Route]:
    found: list[_Route] = []
    for message in sock.dump(Message(Kind.GETROUTE, {"family": family})):
        fields = message.fields
        is_default = not fields["dst_len"] and fields["type"] == _UNICAST
        is_ours = message.number("RTA_TABLE") == _MAIN
        if not is_default or not is_ours or fields["flags"] & _CLONED:
            continue
        left_out = {"RTA_PRIORITY", "RTA_CACHEINFO"}
        if message.value(_NEXT_HOP_ID) is not None:
            left_out |= _NEXT_HOP
        found.append(
            _Route(
                # The state of links is in the other flags; it is not ours to set.
                fields={**fields, "flags": fields["flags"] & _ONLINK},
                attributes=tuple(
                    each for each in message.attributes if each[0] not in left_out
                ),
                metric=message.number("RTA_PRIORITY") or 0,
                device=message.number("RTA_OIF"),
            )
        )
    return found


def _put(sock: Netlink, route: _Route, metric: int) -> None:
    flags = Flag.CREATE | Flag.EXCL
    sock.request(_message(Kind.NEWROUTE, route, metric, flags))


def _delete(sock: Netlink, route: _Route) -> None:
    sock.request(_message(Kind.DELROUTE, route, route.metric, Flag.NONE))


def _message(kind: Kind, route: _Route, metric: int, flags: Flag) -> Message:
    attributes: Attributes = (*route.attributes, ("RTA_PRIORITY", metric))
    return Message(kind, route.fields, attributes, flags)
