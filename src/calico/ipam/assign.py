"""Take addresses out of blocks.

Where the next address comes from: the blocks affine to the host; then, unless
the settings forbid it, a new block of its own, looked for in an order that
differs from host to host; then, unless affinity is strict, any block at all.
The first of these is tried on the host's own blocks alone, because nearly
every allocation ends there; only when they are full is everything read.

Source:
    libcalico, calico_containers/pycalico/ipam.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from calico.codec.keys import (
    IPAM_CONFIG_KEY,
    POOL_PREFIXES,
    decode_ipam_affinity_key,
    ipam_affinity_prefix,
    ipam_block_key,
    ipam_blocks_prefix,
    ipam_handle_key,
)
from calico.ipam.blocks import candidate_blocks, has_free, take, take_next
from calico.ipam.errors import (
    AlreadyAssigned,
    BlockOfAnotherHost,
    Exhausted,
    PoolNotFound,
)
from calico.ipam.ledger import Ledger
from calico.model.block import Attributes, Block, block_of, make_block
from calico.model.names import HostName
from calico.model.network import Pool
from calico.netset import Address, Family, Network, family_of
from calico.store.api import Note, Scope, Store, Transaction, View


@dataclass(frozen=True, slots=True)
class Claim:
    """Who takes an address, and what is written down about it.

    Attributes:
        host: The host that the address is for.
        attributes: The handle and whatever else shall be known.
        note: For the history of the datastore.
    """

    host: HostName
    attributes: Attributes
    note: Note


def assign_next(
    store: Store, family: Family, claim: Claim, pool: Network | None = None
) -> Address:
    """Take the next address that is free.

    Args:
        store: The datastore.
        family: The family of the address.
        claim: Who takes it.
        pool: Take it from this pool; without it, from any enabled one.

    Raises:
        Exhausted: There is none.
        Unavailable: The datastore cannot be used; nothing was taken.
        OutcomeUnknown: An address may have been taken, under its handle.
    """
    own = store.list_prefix(ipam_affinity_prefix(claim.host, family)).items
    marks = (decode_ipam_affinity_key(item.key) for item in own)
    affine = tuple(sorted(mark[1] for mark in marks if mark is not None))
    search = _Search(family, claim, pool, affine)
    pools = POOL_PREFIXES[family]
    found = None
    if affine:
        keys = (*map(ipam_block_key, affine), *_fixed_keys(claim))
        scope = Scope(keys, (pools,))
        _, found = store.update(scope, _decide(claim, search.own))
    if found is None:
        scope = Scope(_fixed_keys(claim), (pools, ipam_blocks_prefix(family)))
        _, found = store.update(scope, _decide(claim, search.everywhere))
    if found is None:
        is_v4 = family is Family.V4
        raise Exhausted(n_ipv4=int(is_v4), n_ipv6=int(not is_v4))
    return found


def _fixed_keys(claim: Claim) -> tuple[str, ...]:
    handle = claim.attributes.handle
    return (IPAM_CONFIG_KEY, *([ipam_handle_key(handle)] if handle else []))


def _decide(
    claim: Claim, change: Callable[[Ledger], Address | None]
) -> Callable[[View], tuple[Transaction | None, Address | None]]:
    handle = claim.attributes.handle
    handles = frozenset([handle] if handle else [])

    def decide(view: View) -> tuple[Transaction | None, Address | None]:
        ledger = Ledger(view, handles)
        address = change(ledger)
        return ledger.transaction(claim.note), address

    return decide


@dataclass(frozen=True, slots=True)
class _Search:
    """The search for the next address.

    Attributes:
        family: Of this family.
        claim: Who takes it.
        pool: Only in this pool, if given.
        affine: The blocks that were the host's when the search began.
    """

    family: Family
    claim: Claim
    pool: Network | None
    affine: tuple[Network, ...]

    def own(self, ledger: Ledger) -> Address | None:
        """Take an address from the host's own blocks."""
        pools = self._pools(ledger)
        return self._take(ledger, self._own_blocks(ledger, pools, self.affine))

    def everywhere(self, ledger: Ledger) -> Address | None:
        """Take an address from wherever there is one, in the right order."""
        pools = self._pools(ledger)
        config = ledger.config()
        existing = tuple(sorted(ledger.networks(self.family)))
        blocks = self._own_blocks(ledger, pools, existing)
        if config.auto_allocate_blocks:
            blocks = chain(
                blocks, self._new_block(ledger, pools, is_strict=config.strict_affinity)
            )
        if not config.strict_affinity:
            blocks = chain(blocks, self._any_blocks(ledger, pools, existing))
        return self._take(ledger, blocks)

    def _pools(self, ledger: Ledger) -> tuple[Pool, ...]:
        pools = ledger.pools(self.family)
        return tuple(p for p in pools if self.pool is None or p.cidr == self.pool)

    def _own_blocks(
        self, ledger: Ledger, pools: tuple[Pool, ...], networks: tuple[Network, ...]
    ) -> Iterator[Block]:
        for block in self._any_blocks(ledger, pools, networks):
            if block.affinity == self.claim.host:
                yield block

    def _any_blocks(
        self, ledger: Ledger, pools: tuple[Pool, ...], networks: tuple[Network, ...]
    ) -> Iterator[Block]:
        for network in networks:
            if any(_is_inside(network, pool.cidr) for pool in pools):
                block = ledger.usable_block(network)
                if block is not None and not _is_closed(block, self.claim.host):
                    yield block

    def _new_block(
        self, ledger: Ledger, pools: tuple[Pool, ...], *, is_strict: bool
    ) -> Iterator[Block]:
        for pool in pools:
            for network in candidate_blocks(pool.cidr, self.claim.host):
                if not ledger.has_block(network):
                    block = make_block(network, self.claim.host, is_strict=is_strict)
                    ledger.claim(block)
                    yield block
                    return

    def _take(self, ledger: Ledger, blocks: Iterator[Block]) -> Address | None:
        for block in blocks:
            if has_free(block):
                changed, address = take_next(block, self.claim.attributes)
                ledger.put(changed)
                return address
        return None


def _is_inside(block: Network, pool: Network) -> bool:
    return block.network_address in pool


def _is_closed(block: Block, host: HostName) -> bool:
    return block.is_strict and block.affinity != host


def assign(store: Store, address: Address, claim: Claim) -> None:
    """Take one particular address.

    Its block becomes the host's if it does not exist yet.

    Raises:
        PoolNotFound: It is in no pool that addresses are handed out from.
        AlreadyAssigned: It is taken.
        BlockOfAnotherHost: Affinity is strict and the block is not ours.
        InvalidResource: Its block in the datastore cannot be read.
        Unavailable: The datastore cannot be used; nothing was taken.
        OutcomeUnknown: The address may have been taken, under its handle.
    """
    network = block_of(address)
    family = family_of(address)

    def change(ledger: Ledger) -> Address:
        pools = ledger.pools(family)
        pool = next((each.cidr for each in pools if address in each.cidr), None)
        if pool is None:
            raise PoolNotFound(address)
        block = ledger.block(network)
        if block is None:
            is_strict = ledger.config().strict_affinity
            block = make_block(network, claim.host, is_strict=is_strict)
            ledger.claim(block)
        known = block.attributes_of(address)
        if known is not None:
            raise AlreadyAssigned(address, pool, known.handle)
        if _is_closed(block, claim.host):
            raise BlockOfAnotherHost(address, network, block.affinity)
        ledger.put(take(block, address, claim.attributes))
        return address

    keys = (ipam_block_key(network), *_fixed_keys(claim))
    store.update(Scope(keys, (POOL_PREFIXES[family],)), _decide(claim, change))
