"""The routes that BIRD has put into the kernel, told by their protocol number.

BIRD gives that number to all its routes, and takes out of the main table those
of that number that it does not know: two of them in one table cannot be.

Source:
    include/uapi/linux/rtnetlink.h, `RTPROT_BIRD`; BIRD 2.0, sysdep/linux/netlink.c.
"""

from socket import AF_INET, AF_INET6

from calico.linux.rtmessage import Kind, Message
from calico.linux.rtnetlink import Netlink, NetlinkRefused
from calico.model.errors import Unavailable

BIRD_PROTOCOL = 12

_RT_TABLE_MAIN = 254
_RT_SCOPE_NOWHERE = 255
"""In a request to delete, any scope."""

_N_TRIES = 5
_KEPT_FIELDS = ("family", "dst_len", "table", "proto", "type")


def delete_bird_routes() -> None:
    """Take out what BIRD has put in; it must not run any more.

    Raises:
        Unavailable: The kernel does not say what is there, or keeps some.
    """
    netlink = Netlink()
    try:
        # One of several routes to a prefix goes at a time.
        reasons: set[str] = set()
        for _ in range(_N_TRIES):
            found = _list(netlink)
            if not found:
                return
            answers = netlink.send([_deletion(each) for each in found])
            reasons = {str(each) for each in answers if each}
        raise Unavailable("BIRD's routes", f"cannot be removed: {'; '.join(reasons)}")
    finally:
        netlink.close()


def _list(netlink: Netlink) -> list[Message]:
    found: list[Message] = []
    for family in (AF_INET, AF_INET6):
        wanted = {"family": family, "proto": BIRD_PROTOCOL}
        try:
            routes = netlink.dump(Message(Kind.GETROUTE, wanted))
        except NetlinkRefused as error:
            raise Unavailable("route netlink", error.reason) from None
        # A kernel that does not select by protocol lists all there is.
        found += [
            each
            for each in routes
            if each.fields["proto"] == BIRD_PROTOCOL
            and each.fields["table"] == _RT_TABLE_MAIN
        ]
    return found


def _deletion(route: Message) -> Message:
    fields = {name: route.fields[name] for name in _KEPT_FIELDS}
    fields["scope"] = _RT_SCOPE_NOWHERE
    return Message(Kind.DELROUTE, fields, (("RTA_DST", route.octets("RTA_DST")),))
