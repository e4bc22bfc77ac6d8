"""Sets of addresses of one family."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    summarize_address_range,
)

from calico.netset.ranges import (
    Ranges,
    complement,
    contains,
    intersection,
    normalise,
    union,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Family(Enum):
    """An address family; the value is the IP version."""

    V4 = 4
    V6 = 6

    # By identity, as they compare: an enum's own hash runs Python code, and sets
    # and maps are asked by family for every packet.
    __hash__ = object.__hash__

    @property
    def n_bits(self) -> int:
        """The length of an address in bits."""
        return 32 if self is Family.V4 else 128

    @property
    def last_address(self) -> int:
        """The highest address, as an integer."""
        return (1 << self.n_bits) - 1


# Asking for the type costs a third of comparing versions, for each rule tried.
_OF_IPV4 = (IPv4Address, IPv4Network)


def family_of(value: Address | Network) -> Family:
    """Return the family that an address or a network belongs to."""
    return Family.V4 if isinstance(value, _OF_IPV4) else Family.V6


@dataclass(frozen=True, slots=True)
class AddressSet:
    """A set of addresses of one family, in canonical form.

    Attributes:
        family: The family of every member.
        ranges: Inclusive ranges of addresses as integers.
    """

    family: Family
    ranges: Ranges

    def __post_init__(self) -> None:
        if any(not 0 <= a <= b <= self.family.last_address for a, b in self.ranges):
            msg = f"ranges outside the family {self.family}: {self.ranges}"
            raise ValueError(msg)
        object.__setattr__(self, "ranges", normalise(self.ranges))

    @classmethod
    def everything(cls, family: Family) -> "AddressSet":
        """Make the set of all addresses of a family."""
        return cls(family, ((0, family.last_address),))

    @classmethod
    def of(cls, family: Family, networks: Iterable[Network]) -> "AddressSet":
        """Make the set of all addresses in `networks`, each of this family."""
        return cls(
            family,
            tuple(
                (int(network.network_address), int(network.broadcast_address))
                for network in networks
            ),
        )

    def __contains__(self, member: Address | int) -> bool:
        return contains(self.ranges, int(member))

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __or__(self, other: "AddressSet") -> "AddressSet":
        return AddressSet(self.family, union(self.ranges, other.ranges))

    def __and__(self, other: "AddressSet") -> "AddressSet":
        return AddressSet(self.family, intersection(self.ranges, other.ranges))

    def __invert__(self) -> "AddressSet":
        last = self.family.last_address
        return AddressSet(self.family, complement(self.ranges, last))

    def is_everything(self) -> bool:
        """Report whether no address of the family is missing."""
        return self.ranges == ((0, self.family.last_address),)

    def networks(self) -> tuple[Network, ...]:
        """List the fewest networks that cover exactly this set, ascending."""
        make = IPv4Address if self.family is Family.V4 else IPv6Address
        found: list[Network] = []
        for first, last in self.ranges:
            found.extend(summarize_address_range(make(first), make(last)))
        return tuple(found)
