"""What may be done with a block: functions from values to values.

Addresses are handed out from the head of the free list and come back at its
tail, so an address that was released is given away again only when nothing
else in its block is free.

Source:
    libcalico, calico_containers/pycalico/block.py.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network

from calico.model.block import (
    BLOCK_PREFIX_LENGTHS,
    N_BLOCK_ADDRESSES,
    Attributes,
    Block,
)
from calico.model.names import HostName
from calico.netset import Address, Family, Network, family_of


def take_next(block: Block, attributes: Attributes) -> tuple[Block, Address]:
    """Give away the address that has been free for longest.

    Args:
        block: A block with a free address.
        attributes: What is known about the allocation.
    """
    address = block.address(block.unallocated[0])
    return take(block, address, attributes), address


def take(block: Block, address: Address, attributes: Attributes) -> Block:
    """Give away one address of a block, which is free."""
    ordinal = block.ordinal(address)
    known = block.attributes
    if attributes not in known:
        known = (*known, attributes)
    allocations = list(block.allocations)
    allocations[ordinal] = known.index(attributes)
    return replace(
        block,
        allocations=tuple(allocations),
        unallocated=tuple(each for each in block.unallocated if each != ordinal),
        attributes=known,
    )


def give_back(block: Block, addresses: Collection[Address]) -> Block:
    """Take addresses of a block back; those that are free already stay so."""
    allocations = list(block.allocations)
    freed: list[int] = []
    for address in addresses:
        ordinal = block.ordinal(address)
        if allocations[ordinal] is not None:
            allocations[ordinal] = None
            freed.append(ordinal)
    kept = [each for n, each in enumerate(block.attributes) if n in allocations]
    return replace(
        block,
        allocations=tuple(
            None if index is None else kept.index(block.attributes[index])
            for index in allocations
        ),
        unallocated=block.unallocated + tuple(freed),
        attributes=tuple(kept),
    )


def has_free(block: Block) -> bool:
    """Report whether an address of the block can be given away."""
    return bool(block.unallocated)


def is_empty(block: Block) -> bool:
    """Report whether no address of the block is given away."""
    return len(block.unallocated) == N_BLOCK_ADDRESSES


def allocated(block: Block) -> Iterator[tuple[Address, Attributes]]:
    """Yield each address that is given away, ascending, and what is known of it."""
    for ordinal, index in enumerate(block.allocations):
        if index is not None:
            yield block.address(ordinal), block.attributes[index]


def allocated_under(block: Block, handle: str) -> tuple[Address, ...]:
    """List the addresses that were given away under a handle."""
    return tuple(a for a, known in allocated(block) if known.handle == handle)


def candidate_blocks(pool: Network, host: HostName) -> Iterator[Network]:
    """Yield every block of a pool once, in an order of the host's own.

    Hosts that look for a block at the same time so seldom want the same one.
    """
    family = family_of(pool)
    length = BLOCK_PREFIX_LENGTHS[family]
    n_blocks = 1 << max(length - pool.prefixlen, 0)
    digest = sha256(f"{host} {pool}".encode()).digest()
    start = int.from_bytes(digest[:16], "big")
    # The number of blocks is a power of two, so any odd step visits all.
    step = int.from_bytes(digest[16:], "big") | 1
    first = int(pool.network_address)
    make = IPv4Network if family is Family.V4 else IPv6Network
    for n in range(n_blocks):
        ordinal = (start + n * step) % n_blocks
        yield make((first + ordinal * N_BLOCK_ADDRESSES, length))
