"""Give addresses, blocks and affinities back.

A block that is empty and no host's own is deleted. Whatever changes an
allocation changes the count of its handle in the same transaction; as the
handles are known only once the blocks have been read, a change that turns out
to concern another one is made anew with it.

Whatever can concern many blocks goes in steps, each a transaction that any
store takes. Each step leaves things as they may be, so after a failure or a
kill the same call goes on where it was.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple, TypeVar

from calico.codec.block_json import decode_handle
from calico.codec.keys import (
    IPAM_HANDLE_PREFIX,
    decode_ipam_affinity_key,
    decode_ipam_block_key,
    decode_ipam_handle_key,
    ipam_affinity_key,
    ipam_affinity_prefix,
    ipam_block_key,
    ipam_blocks_prefix,
    ipam_handle_key,
)
from calico.ipam.blocks import allocated, allocated_under, give_back, is_empty
from calico.ipam.ledger import HandleNotRead, Ledger
from calico.model.block import Attributes, Block, block_of
from calico.model.errors import Conflict, InvalidResource
from calico.model.names import HostName
from calico.netset import Address, Family, Network, family_of
from calico.store.api import Note, Scope, Store, Transaction, View

_MAX_TRIES = 100

N_PER_STEP = 30
"""How many blocks, or addresses, one transaction is about.

Each touches up to four keys (block, mark, handle, and one compare more), and
etcd takes 128 operations, and as many compares, in a transaction.
"""

T = TypeVar("T")


def read_attributes(store: Store, address: Address) -> Attributes | None:
    """Say what is known about an address; `None` when it is not given away.

    Raises:
        InvalidResource: Its block in the datastore cannot be read.
        Unavailable: The datastore cannot be read.
    """
    network = block_of(address)
    item = store.get(ipam_block_key(network))
    if item is None:
        return None
    ledger = Ledger(View({item.key: item}, item.modified), frozenset())
    block = ledger.block(network)
    return None if block is None else block.attributes_of(address)


def release(
    store: Store, addresses: Collection[Address], note: Note
) -> frozenset[Address]:
    """Give addresses back; a few of them all at once, many in steps.

    Returns:
        Those that were free already.

    Raises:
        InvalidResource: A block in the datastore cannot be read.
        Conflict: Others kept changing the same blocks.
        Unavailable: The datastore cannot be used; what is left was not given
            back.
    """
    free: set[Address] = set()
    for members in _steps(addresses):
        free |= _release(store, members, note)
    return frozenset(free)


def _steps(members: Iterable[T]) -> Iterator[tuple[T, ...]]:
    rest = iter(members)
    while step := tuple(islice(rest, N_PER_STEP)):
        yield step


def _release(
    store: Store, addresses: Collection[Address], note: Note
) -> frozenset[Address]:
    by_block = _by_block(addresses)

    def change(ledger: Ledger) -> frozenset[Address]:
        free: set[Address] = set()
        for network, members in by_block.items():
            block = ledger.block(network)
            if block is None:
                free.update(members)
                continue
            free.update(a for a in members if block.attributes_of(a) is None)
            put_back(ledger, block, members)
        return frozenset(free)

    return _change(store, _Part(tuple(by_block)), change, note)


def _by_block(addresses: Iterable[Address]) -> dict[Network, list[Address]]:
    by_block: dict[Network, list[Address]] = {}
    for address in addresses:
        by_block.setdefault(block_of(address), []).append(address)
    return by_block


def put_back(ledger: Ledger, block: Block, members: Collection[Address]) -> None:
    """Give addresses of a block back, and the block if nothing keeps it."""
    left = give_back(block, members)
    if left != block:
        _keep(ledger, left)


def _keep(ledger: Ledger, block: Block) -> None:
    if is_empty(block) and block.affinity is None:
        ledger.drop(block.cidr)
    else:
        ledger.put(block)


def release_handle(
    store: Store, handle: str, note: Note, *, keep: Collection[Address] = ()
) -> tuple[Address, ...]:
    """Give back every address that was taken under a handle.

    Args:
        store: The datastore.
        handle: The handle.
        note: For the history of the datastore.
        keep: Addresses that are still in use.

    Returns:
        The addresses given back, ascending by block; empty when there are none.

    Raises:
        InvalidResource: A block or the handle in the datastore cannot be read.
        Conflict: Others kept changing the same blocks.
        Unavailable: The datastore cannot be used; what is left was not given
            back.
    """
    item = store.get(ipam_handle_key(handle))
    if item is None:
        return ()
    released: list[Address] = []
    for networks in _steps(decode_handle(handle, item.value).counts):
        released += _release_handle(store, handle, networks, note, keep)
    return tuple(released)


def _release_handle(
    store: Store,
    handle: str,
    networks: tuple[Network, ...],
    note: Note,
    keep: Collection[Address],
) -> list[Address]:
    def change(ledger: Ledger) -> list[Address]:
        released: list[Address] = []
        for network in networks:
            block = ledger.block(network)
            if block is not None:
                members = [a for a in allocated_under(block, handle) if a not in keep]
                released.extend(members)
                put_back(ledger, block, members)
        return released

    part = _Part(networks, handles=frozenset([handle]))
    return _change(store, part, change, note)


def list_handles(store: Store, prefix: str) -> tuple[str, ...]:
    """List the handles whose text starts with `prefix`, which is not empty."""
    start = ipam_handle_key(prefix)
    decoded = (
        decode_ipam_handle_key(item.key)
        for item in store.list_prefix(start).items
        if item.key.startswith(IPAM_HANDLE_PREFIX)
    )
    return tuple(handle for handle in decoded if handle is not None)


class PoolRemains(NamedTuple):
    """What is left of blocks that were given up.

    Attributes:
        n_blocks: How many blocks have allocations.
        n_addresses: How many addresses of them are allocated.
    """

    n_blocks: int
    n_addresses: int


def release_pool(store: Store, pool: Network, note: Note) -> PoolRemains:
    """Give up every affinity to blocks of a pool that is being removed.

    Blocks that are empty are deleted; the others keep their allocations. Nobody
    may take addresses from the pool any more: it is disabled.

    Raises:
        InvalidResource: A block in the datastore cannot be read; it stays, and
            everything else is done.
        Conflict: Others kept changing the same blocks.
        Unavailable: The datastore cannot be used; what is left is unchanged.
    """
    family = family_of(pool)
    items = store.list_prefix(ipam_blocks_prefix(family)).items
    networks = (decode_ipam_block_key(item.key) for item in items)
    within = [n for n in networks if n is not None and n.network_address in pool]
    return _disown_all(store, within, None, note)


def release_host(store: Store, host: HostName, note: Note) -> None:
    """Give up every affinity of a host that is being removed.

    Blocks that are empty are deleted; the others keep their allocations.

    Raises:
        InvalidResource: A block in the datastore cannot be read; it stays, and
            everything else is done.
        Conflict: Others kept changing the same blocks.
        Unavailable: The datastore cannot be used; what is left is unchanged.
    """
    for family in Family:
        prefix = ipam_affinity_prefix(host, family)
        items = store.list_prefix(prefix).items
        marks = [decode_ipam_affinity_key(item.key) for item in items]
        _disown_all(store, [mark[1] for mark in marks if mark is not None], host, note)


def _disown_all(
    store: Store, networks: Iterable[Network], host: HostName | None, note: Note
) -> PoolRemains:
    """Give up blocks in steps: of one host, or whoever's they are."""
    n_blocks = n_addresses = 0
    unreadable: InvalidResource | None = None
    for step in _steps(networks):

        def change(
            ledger: Ledger, step: tuple[Network, ...] = step
        ) -> tuple[list[int], InvalidResource | None]:
            return _disown_some(ledger, step, host)

        left, error = _change(store, _Part(step), change, note)
        unreadable = unreadable or error
        n_blocks += len(left)
        n_addresses += sum(left)
    if unreadable is not None:
        raise unreadable
    return PoolRemains(n_blocks, n_addresses)


def _disown_some(
    ledger: Ledger, networks: Collection[Network], host: HostName | None
) -> tuple[list[int], InvalidResource | None]:
    """Give up blocks; return how many addresses of each are allocated."""
    left: list[int] = []
    unreadable: InvalidResource | None = None
    for network in networks:
        try:
            block = ledger.block(network)
        except InvalidResource as error:
            unreadable = error
            continue
        if host is not None and (block is None or block.affinity != host):
            ledger.delete_key(ipam_affinity_key(host, network))
        elif block is not None:
            disown(ledger, block)
            if not is_empty(block):
                left.append(sum(1 for _ in allocated(block)))
    return left, unreadable


def disown(ledger: Ledger, block: Block) -> None:
    """Give up the affinity of a block, and the block with it if it is empty."""
    if block.affinity is not None:
        ledger.delete_key(ipam_affinity_key(block.affinity, block.cidr))
        block = replace(block, affinity=None)
        _keep(ledger, block)
    elif is_empty(block):
        ledger.drop(block.cidr)


@dataclass(frozen=True, slots=True)
class _Part:
    """What a change is about: blocks and handles."""

    networks: tuple[Network, ...]
    handles: frozenset[str] = frozenset()

    def scope(self, handles: frozenset[str]) -> Scope:
        return Scope(
            (
                *map(ipam_block_key, self.networks),
                *map(ipam_handle_key, sorted(handles)),
            )
        )


def _change(store: Store, part: _Part, change: Callable[[Ledger], T], note: Note) -> T:
    """Make a change, reading the handles that it turns out to concern."""
    handles = part.handles
    for _ in range(_MAX_TRIES):
        known = handles

        def decide(
            view: View, known: frozenset[str] = known
        ) -> tuple[Transaction | None, T]:
            ledger = Ledger(view, known)
            result = change(ledger)
            return ledger.transaction(note), result

        try:
            _, result = store.update(part.scope(known), decide)
        except HandleNotRead as missing:
            handles = known | {missing.handle}
        else:
            return result
    raise Conflict(part.scope(frozenset()).keys[0], 0, 0)
