"""Who speaks BGP with whom, as users say it.

Any number that fits into 32 bits is an AS number here; which of them nobody may
speak with is `compiler.routing`'s to know.

Source:
    RFC 6793 for the size, RFC 5396 for the form with a dot.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NewType

from calico.model.errors import InvalidResource
from calico.model.names import HostName
from calico.netset import Address, Family, family_of

AsNumber = NewType("AsNumber", int)

DEFAULT_AS_NUMBER = AsNumber(64511)
"""What hosts share that have no AS number of their own."""

MAX_AS_NUMBER = 4294967295

_HALF = 65535
_MAX_DIGITS = 10


class BgpLogLevel(Enum):
    """How much BIRD tells.

    Attributes:
        NONE: Warnings and errors.
        INFO: That, and how its protocols come and go.
        DEBUG: Everything, each route included.
    """

    NONE = "none"
    INFO = "info"
    DEBUG = "debug"


DEFAULT_LOG_LEVEL = BgpLogLevel.INFO


@dataclass(frozen=True, slots=True)
class BgpPeer:
    """Somebody outside the mesh to exchange routes with.

    Attributes:
        address: Where it listens; it says the family of the routes.
        as_number: The AS that it belongs to.
    """

    address: Address
    as_number: AsNumber

    @property
    def family(self) -> Family:
        """The address family of the peer."""
        return family_of(self.address)


@dataclass(frozen=True, slots=True)
class BgpHost:
    """A host of the cluster, as far as routing knows it.

    Attributes:
        name: Its name.
        addresses: What it speaks BGP from, at most one of each family.
        as_number: Its own; absent to share the default one.
    """

    name: HostName
    addresses: Mapping[Family, Address] = field(default_factory=dict[Family, Address])
    as_number: AsNumber | None = None


def parse_as_number(text: str) -> AsNumber:
    """Take `text` as an AS number: `64512`, or `0.64512` in two halves.

    Raises:
        InvalidResource: It is none.
    """
    halves = text.split(".")
    numbers = [int(each) for each in halves] if all(map(_is_decimal, halves)) else []
    match numbers:
        case [number] if number <= MAX_AS_NUMBER:
            return AsNumber(number)
        case [high, low] if high <= _HALF and low <= _HALF:
            return AsNumber((high << 16) + low)
        case _:
            raise InvalidResource(
                "AS number", repr(text), f"0 to {MAX_AS_NUMBER}, or 0.0 to 65535.65535"
            )


def _is_decimal(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
