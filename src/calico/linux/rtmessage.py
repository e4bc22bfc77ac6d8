"""Messages of route netlink, as values, and those that both ends of a veth need.

Not here: how they are sent and heard (`rtnetlink`), and what else they say
(`veth`, `routes`, `host_links`).

Source:
    man 7 rtnetlink; include/uapi/linux/rtnetlink.h, netlink.h of Linux 6.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from socket import AF_INET, AF_INET6, AddressFamily
from typing import TypeAlias

from calico.netset import Address, Family, family_of

_IFF_UP = 1
_NUD_PERMANENT = 0x80


class Kind(IntEnum):
    """Message types."""

    NEWLINK = 16
    DELLINK = 17
    GETLINK = 18
    NEWADDR = 20
    DELADDR = 21
    GETADDR = 22
    NEWROUTE = 24
    DELROUTE = 25
    GETROUTE = 26
    NEWNEIGH = 28
    DELNEIGH = 29
    GETNEIGH = 30


class Flag(IntFlag):
    """Flags of a request to make something."""

    NONE = 0
    REPLACE = 0x100
    EXCL = 0x200
    CREATE = 0x400


class LinkState(IntEnum):
    """What an interface can be told to be; the value is its flag."""

    DOWN = 0
    UP = _IFF_UP


Value: TypeAlias = "int | str | bytes | Attributes"
Attributes: TypeAlias = tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A request, or what the kernel said.

    Attributes:
        kind: Its type.
        fields: The fixed part, by the names that pyroute2 uses; what is not
            named is 0.
        attributes: In the order of the wire, by their names in the kernel's
            header files; ones without a name there by their number, `RTA_31`.
        flags: Of a request.
    """

    kind: Kind
    fields: Mapping[str, int] = field(default_factory=dict[str, int])
    attributes: Attributes = ()
    flags: Flag = Flag.NONE

    def value(self, name: str) -> "Value | None":
        """Return an attribute, the last of that name."""
        return dict(self.attributes).get(name)

    def octets(self, name: str) -> bytes:
        """Return an attribute that is bytes; empty when it is not there."""
        found = self.value(name)
        return found if isinstance(found, bytes) else b""

    def number(self, name: str) -> int | None:
        """Return an attribute that is a number."""
        found = self.value(name)
        return found if isinstance(found, int) else None

    def text(self, name: str) -> str:
        """Return an attribute that is text; empty when it is not there."""
        found = self.value(name)
        if isinstance(found, bytes):  # no UTF-8, which the kernel lets pass
            return found.rstrip(b"\0").decode("utf-8", "replace")
        return found if isinstance(found, str) else ""


def address_family(address: Address) -> AddressFamily:
    """Return the kernel's number for the family of an address."""
    return AF_INET if family_of(address) is Family.V4 else AF_INET6


def switch_link(index: int, state: LinkState) -> Message:
    """Make the message that takes an interface up or down, and its routes with it."""
    fields = {"index": index, "flags": state.value, "change": _IFF_UP}
    return Message(Kind.NEWLINK, fields)


def neighbour(
    kind: Kind, address: Address, index: int, mac: bytes = b"", flags: Flag = Flag.NONE
) -> Message:
    """Make a message about a permanent neighbour entry.

    Args:
        kind: What to do with it.
        address: The neighbour.
        index: The interface that leads to it.
        mac: Its MAC; empty when the entry goes.
        flags: Of the request.
    """
    family = address_family(address)
    fields = {"family": family, "ifindex": index, "state": _NUD_PERMANENT}
    attributes: Attributes = (("NDA_DST", address.packed),)
    if mac:
        attributes += (("NDA_LLADDR", mac),)
    return Message(kind, fields, attributes, flags)
