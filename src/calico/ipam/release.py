"""Give addresses, blocks and affinities back.

A block that is empty and no host's own is deleted. Whatever changes an
allocation changes the count of its handle in the same transaction; as the
handles are known only once the blocks have been read, a change that turns out
to concern another one is made anew with it.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from calico.codec.block_json import decode_handle
from calico.codec.keys import (
    IPAM_HANDLE_PREFIX,
    decode_ipam_affinity_key,
    decode_ipam_handle_key,
    ipam_affinity_key,
    ipam_affinity_prefix,
    ipam_block_key,
    ipam_blocks_prefix,
    ipam_handle_key,
)
from calico.ipam.blocks import allocated_under, give_back, is_empty
from calico.ipam.ledger import HandleNotRead, Ledger
from calico.model.block import Attributes, Block, block_of
from calico.model.errors import Conflict
from calico.model.names import HostName
from calico.netset import Address, Family, Network, family_of
from calico.store.api import Note, Scope, Store, Transaction, View

_MAX_TRIES = 100

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
    """Give addresses back, all of them at once.

    Returns:
        Those that were free already.

    Raises:
        InvalidResource: A block in the datastore cannot be read.
        Conflict: Others kept changing the same blocks.
        Unavailable: The datastore cannot be used; nothing was given back.
    """
    by_block = _by_block(addresses)

    def change(ledger: Ledger) -> frozenset[Address]:
        free: set[Address] = set()
        for network, members in by_block.items():
            block = ledger.block(network)
            if block is None:
                free.update(members)
                continue
            free.update(a for a in members if block.attributes_of(a) is None)
            _put_back(ledger, block, members)
        return frozenset(free)

    return _change(store, _Part(tuple(by_block)), change, note)


def _by_block(addresses: Iterable[Address]) -> dict[Network, list[Address]]:
    by_block: dict[Network, list[Address]] = {}
    for address in addresses:
        by_block.setdefault(block_of(address), []).append(address)
    return by_block


def _put_back(ledger: Ledger, block: Block, members: Collection[Address]) -> None:
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
        Unavailable: The datastore cannot be used; nothing was given back.
    """
    item = store.get(ipam_handle_key(handle))
    if item is None:
        return ()
    networks = tuple(decode_handle(handle, item.value).counts)

    def change(ledger: Ledger) -> tuple[Address, ...]:
        released: list[Address] = []
        for network in networks:
            block = ledger.block(network)
            if block is not None:
                members = [a for a in allocated_under(block, handle) if a not in keep]
                released.extend(members)
                _put_back(ledger, block, members)
        return tuple(released)

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


def release_pool(store: Store, pool: Network, note: Note) -> None:
    """Give up every affinity to blocks of a pool that is being removed.

    Blocks that are empty are deleted; the others keep their allocations.

    Raises:
        InvalidResource: A block in the datastore cannot be read.
        Conflict: Others kept changing the same blocks.
        Unavailable: The datastore cannot be used; nothing was changed.
    """
    family = family_of(pool)

    def change(ledger: Ledger) -> None:
        for network in tuple(ledger.networks(family)):
            if network.network_address in pool:
                _disown(ledger, ledger.block(network))

    _change(store, _Part(prefixes=(ipam_blocks_prefix(family),)), change, note)


def _disown(ledger: Ledger, block: Block | None) -> None:
    if block is not None and block.affinity is not None:
        ledger.delete_key(ipam_affinity_key(block.affinity, block.cidr))
        _keep(ledger, replace(block, affinity=None))


def release_host(store: Store, host: HostName, note: Note) -> None:
    """Give up every affinity of a host that is being removed.

    Blocks that are empty are deleted; the others keep their allocations.

    Raises:
        InvalidResource: A block in the datastore cannot be read.
        Conflict: Others kept changing the same blocks.
        Unavailable: The datastore cannot be used; nothing was changed.
    """
    for family in Family:
        prefix = ipam_affinity_prefix(host, family)
        items = store.list_prefix(prefix).items
        marks = [decode_ipam_affinity_key(item.key) for item in items]
        networks = tuple(mark[1] for mark in marks if mark is not None)

        def change(ledger: Ledger, networks: tuple[Network, ...] = networks) -> None:
            for network in networks:
                block = ledger.block(network)
                if block is not None and block.affinity == host:
                    _disown(ledger, block)
                else:
                    ledger.delete_key(ipam_affinity_key(host, network))

        if networks:
            _change(store, _Part(networks), change, note)


@dataclass(frozen=True, slots=True)
class _Part:
    """What a change is about: blocks, by network or key prefix, and handles."""

    networks: tuple[Network, ...] = ()
    prefixes: tuple[str, ...] = ()
    handles: frozenset[str] = frozenset()

    def scope(self, handles: frozenset[str]) -> Scope:
        return Scope(
            (
                *map(ipam_block_key, self.networks),
                *map(ipam_handle_key, sorted(handles)),
            ),
            self.prefixes,
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
    key = part.scope(frozenset())
    raise Conflict((*key.keys, *key.prefixes)[0], 0, 0)
