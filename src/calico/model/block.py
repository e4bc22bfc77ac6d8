"""Allocation blocks: 64 addresses that are handed out one by one.

A block is kept as one value in the datastore, so giving an address away is one
compare-and-set. Here are the values; what may be done with them is `ipam`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from calico.model.names import HostName
from calico.netset import Address, Family, Network, family_of

N_BLOCK_ADDRESSES = 64
"""How many addresses a block has."""

BLOCK_PREFIX_LENGTHS = {Family.V4: 26, Family.V6: 122}
"""The prefix length of a block, and the longest one of a pool."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is known about an allocation.

    Attributes:
        handle: What the address can be found and released by, if anything.
        secondary: Whatever else was said when it was allocated.
    """

    handle: str | None = None
    secondary: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Block:
    """One block and who has which address of it.

    Attributes:
        cidr: The addresses; the first has ordinal 0.
        affinity: The host that takes its addresses from here first, if any.
        is_strict: Only that host may take addresses from here.
        allocations: By ordinal; `None` is free, else an index of `attributes`.
        unallocated: Every free ordinal once, the next one to give away first.
        attributes: Each one used by an allocation, no two equal.
    """

    cidr: Network
    affinity: HostName | None
    is_strict: bool
    allocations: tuple[int | None, ...]
    unallocated: tuple[int, ...]
    attributes: tuple[Attributes, ...] = ()

    def address(self, ordinal: int) -> Address:
        """Return the address with this ordinal."""
        return self.cidr[ordinal]

    def ordinal(self, address: Address) -> int:
        """Return the ordinal of an address of this block."""
        return int(address) - int(self.cidr.network_address)

    def attributes_of(self, address: Address) -> Attributes | None:
        """Return what is known about an address; `None` when it is free."""
        index = self.allocations[self.ordinal(address)]
        return None if index is None else self.attributes[index]


@dataclass(frozen=True, slots=True)
class Handle:
    """How many addresses go by one name, in which blocks.

    Attributes:
        handle: The name.
        counts: By block; never zero.
    """

    handle: str
    counts: Mapping[Network, int]


@dataclass(frozen=True, slots=True)
class IpamConfig:
    """How blocks are given to hosts.

    Attributes:
        auto_allocate_blocks: A host whose blocks are full takes another one.
        strict_affinity: A host takes addresses from its own blocks only.
    """

    auto_allocate_blocks: bool = True
    strict_affinity: bool = False


def block_of(address: Address) -> Network:
    """Return the network of the block that an address belongs to."""
    first = int(address) & ~(N_BLOCK_ADDRESSES - 1)
    family = family_of(address)
    make = IPv4Network if family is Family.V4 else IPv6Network
    return make((first, BLOCK_PREFIX_LENGTHS[family]))


def make_block(cidr: Network, affinity: HostName, *, is_strict: bool) -> Block:
    """Make a block with all its addresses free."""
    ordinals = tuple(range(N_BLOCK_ADDRESSES))
    return Block(cidr, affinity, is_strict, (None,) * len(ordinals), ordinals)
