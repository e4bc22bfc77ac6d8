"""Take addresses out of blocks.

Where the next address comes from: the blocks affine to the host, the one that
was claimed last first; then, unless the settings forbid it, a new block of its
own, looked for in an order that differs from host to host; then, unless
affinity is strict, any block at all. Nearly every allocation ends in the block
that the host claimed last; only when its own are full is everything read.

In the pools of an overlay nobody takes an address of another host's block: the
tunnels lead to the host that has the block.

Whatever is chosen from, one transaction reads and changes one block: it has a
handful of compares however many blocks there are, and hosts that take from
different blocks never disturb each other.

Source:
    libcalico, calico_containers/pycalico/ipam.py.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

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
from calico.model.block import Attributes, Block, IpamConfig, block_of, make_block
from calico.model.errors import Conflict
from calico.model.names import HostName
from calico.model.network import Pool
from calico.netset import Address, Family, Network, family_of
from calico.store.api import Note, Scope, Store, Transaction, View

_MAX_TRIES = 100
_N_BLOCKS_AT_ONCE = 32


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
        Conflict: Others kept changing the same blocks.
        Unavailable: The datastore cannot be used; nothing was taken.
        OutcomeUnknown: An address may have been taken, under its handle.
    """
    return Assigner(store).assign_next(family, claim, pool)


class Assigner:
    """Takes addresses for a process that stays.

    It remembers the block that it took from last and looks there first, which
    saves looking for the host's blocks. What is remembered is only where to
    look: the block is judged anew each time.

    Args:
        store: The datastore.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last: dict[tuple[HostName, Family, Network | None], Network] = {}

    def assign_next(
        self, family: Family, claim: Claim, pool: Network | None = None
    ) -> Address:
        """Take the next address that is free; as the function of this name."""
        search = _Search(self._store, family, claim, pool)
        place = (claim.host, family, pool)
        last = self._last.get(place)
        found = None if last is None else search.take_from_own(last)
        if found is None:
            found = _take_anywhere(search)
            self._last[place] = block_of(found)
        return found


def _take_anywhere(search: "_Search") -> Address:
    found = search.take_from_any(search.own())
    for _ in range(_MAX_TRIES):
        if found is not None:
            return found
        candidates = search.everywhere()
        if not candidates:
            is_v4 = search.family is Family.V4
            raise Exhausted(n_ipv4=int(is_v4), n_ipv6=int(not is_v4))
        found = search.take_from_any(candidates)
    raise Conflict(ipam_blocks_prefix(search.family), 0, 0)


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
        store: The datastore.
        family: Of this family.
        claim: Who takes it.
        pool: Only in this pool, if given.
    """

    store: Store
    family: Family
    claim: Claim
    pool: Network | None

    def own(self) -> Iterator[Network]:
        """Yield the host's own blocks, the one claimed last first.

        Of the others only those that had a free address just now.
        """
        items = self.store.list_prefix(
            ipam_affinity_prefix(self.claim.host, self.family)
        ).items
        newest_first = sorted(items, key=lambda item: (-item.created, item.key))
        marks = (decode_ipam_affinity_key(item.key) for item in newest_first)
        networks = [mark[1] for mark in marks if mark is not None]
        yield from networks[:1]
        for first in range(1, len(networks), _N_BLOCKS_AT_ONCE):
            yield from self._with_room(networks[first : first + _N_BLOCKS_AT_ONCE])

    def _with_room(self, networks: Sequence[Network]) -> list[Network]:
        def look(view: View) -> tuple[None, list[Network]]:
            ledger = Ledger(view, frozenset())
            return None, [each for each in networks if ledger.may_have_room(each)]

        scope = Scope(tuple(map(ipam_block_key, networks)))
        return self.store.update(scope, look)[1]

    def everywhere(self) -> list[Network]:
        """List the blocks to try, in order, as all of them are now.

        Nothing is compared with what is read here: each block that is then
        tried is judged anew, on its own.
        """
        blocks = self.store.list_prefix(ipam_blocks_prefix(self.family))
        scope = Scope((IPAM_CONFIG_KEY,), (POOL_PREFIXES[self.family],))
        _, others = self.store.update(scope, lambda view: (None, view))
        items = {**{item.key: item for item in blocks.items}, **others.items}
        ledger = Ledger(View(items, blocks.revision), frozenset())
        config = ledger.config()
        pools = self._pools(ledger)
        with_room: list[Block] = []
        for network in sorted(ledger.networks(self.family)):
            if ledger.may_have_room(network) and any(
                _is_inside(network, pool.cidr) for pool in pools
            ):
                block = ledger.usable_block(network)
                if block is not None and has_free(block):
                    with_room.append(block)
        host = self.claim.host
        found = [block.cidr for block in with_room if block.affinity == host]
        if config.auto_allocate_blocks:
            found += self._new_block(ledger, pools)
        if not config.strict_affinity:
            rest = (
                block
                for block in with_room
                if not (block.is_strict or block.affinity == host)
                and not _is_overlaid(block.cidr, pools)
            )
            found += [block.cidr for block in _spread(rest, host)]
        return found

    def _new_block(self, ledger: Ledger, pools: tuple[Pool, ...]) -> list[Network]:
        for pool in pools:
            for network in candidate_blocks(pool.cidr, self.claim.host):
                if not ledger.has_block(network):
                    return [network]
        return []

    def take_from_any(self, networks: Iterable[Network]) -> Address | None:
        """Take an address from the first of some blocks that still has one."""
        taken = (self._take_from(network) for network in networks)
        return next((address for address in taken if address is not None), None)

    def take_from_own(self, network: Network) -> Address | None:
        """Take an address from a block, if it is there and the host's."""
        return self._take_from(network, only_own=True)

    def _take_from(self, network: Network, *, only_own: bool = False) -> Address | None:
        """Take an address from one block, claiming it if there is none."""

        def change(ledger: Ledger) -> Address | None:
            if only_own and not self._is_own(ledger.usable_block(network)):
                return None
            pools = self._pools(ledger)
            if not any(_is_inside(network, p.cidr) for p in pools):
                return None
            config = ledger.config()
            if not ledger.has_block(network):
                if not config.auto_allocate_blocks:
                    return None
                ledger.claim(
                    make_block(
                        network, self.claim.host, is_strict=config.strict_affinity
                    )
                )
            block = ledger.usable_block(network)
            if block is None or not has_free(block):
                return None
            if not self._may_use(block, config, pools):
                return None
            changed, address = take_next(block, self.claim.attributes)
            ledger.put(changed)
            return address

        keys = (ipam_block_key(network), *_fixed_keys(self.claim))
        scope = Scope(keys, (POOL_PREFIXES[self.family],))
        return self.store.update(scope, _decide(self.claim, change))[1]

    def _is_own(self, block: Block | None) -> bool:
        return block is not None and block.affinity == self.claim.host

    def _may_use(
        self, block: Block, config: IpamConfig, pools: tuple[Pool, ...]
    ) -> bool:
        if block.affinity == self.claim.host:
            return True
        if _is_overlaid(block.cidr, pools):
            return False
        return not (block.is_strict or config.strict_affinity)

    def _pools(self, ledger: Ledger) -> tuple[Pool, ...]:
        pools = ledger.pools(self.family)
        return tuple(p for p in pools if self.pool is None or p.cidr == self.pool)


def _spread(blocks: Iterable[Block], host: HostName) -> list[Block]:
    """Order blocks of others so that hosts that borrow seldom meet."""

    def rank(block: Block) -> bytes:
        return sha256(f"{host} {block.cidr}".encode()).digest()

    return sorted(blocks, key=rank)


def _is_inside(block: Network, pool: Network) -> bool:
    return block.network_address in pool


def _is_overlaid(block: Network, pools: Iterable[Pool]) -> bool:
    return any(
        (pool.ipip or pool.vxlan) and _is_inside(block, pool.cidr) for pool in pools
    )


def _is_closed(block: Block, host: HostName) -> bool:
    return block.is_strict and block.affinity != host


def assign(store: Store, address: Address, claim: Claim) -> None:
    """Take one particular address.

    Its block becomes the host's if it does not exist yet.

    Raises:
        PoolNotFound: It is in no pool that addresses are handed out from.
        AlreadyAssigned: It is taken.
        BlockOfAnotherHost: The block is not ours, and affinity is strict or a
            tunnel leads to the host that has it.
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
        is_foreign = block.affinity != claim.host
        if _is_closed(block, claim.host) or (
            is_foreign and _is_overlaid(network, pools)
        ):
            raise BlockOfAnotherHost(address, network, block.affinity)
        ledger.put(take(block, address, claim.attributes))
        return address

    keys = (ipam_block_key(network), *_fixed_keys(claim))
    store.update(Scope(keys, (POOL_PREFIXES[family],)), _decide(claim, change))
