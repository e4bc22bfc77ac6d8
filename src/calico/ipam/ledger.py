"""Blocks and handles as one transaction sees them, and what it changes.

A `Ledger` stands between a view of the datastore and the operations that
follow from it: blocks are put in and taken out as values, and the counts of
the handles follow from what changed, so they cannot disagree.
"""

from collections import Counter
from collections.abc import Iterator

from calico.codec.block_json import (
    decode_block,
    decode_handle,
    decode_ipam_config,
    encode_block,
    encode_handle,
    is_plainly_full,
)
from calico.codec.keys import (
    IPAM_CONFIG_KEY,
    POOL_PREFIXES,
    decode_ipam_block_key,
    ipam_affinity_key,
    ipam_block_key,
    ipam_blocks_prefix,
    ipam_handle_key,
)
from calico.model.block import Block, Handle, IpamConfig
from calico.model.errors import CalicoError, InvalidResource
from calico.model.network import Pool
from calico.netset import Family, Network
from calico.store.api import Delete, Note, Operation, Put, Transaction, View
from calico.store.resources import decode_item


class HandleNotRead(CalicoError):  # noqa: N818 -- says what happened
    """A change concerns a handle that the view does not cover: read it too.

    Attributes:
        handle: The handle.
    """

    def __init__(self, handle: str) -> None:
        super().__init__(handle)
        self.handle = handle

    def __str__(self) -> str:
        return f"handle {self.handle} changed meanwhile; try again"


class Ledger:
    """The blocks of a view, with the changes of one transaction.

    Args:
        view: Of whatever blocks, pools and handles are needed.
        handles: The handles that the view covers, absent ones included.
    """

    def __init__(self, view: View, handles: frozenset[str]) -> None:
        self._view = view
        self._handles = handles
        self._decoded: dict[Network, Block] = {}
        self._after: dict[Network, Block | None] = {}
        self._affinities: list[Operation] = []

    def config(self) -> IpamConfig:
        """Return the settings of ipam, the usual ones where none are stored."""
        item = self._view.get(IPAM_CONFIG_KEY)
        return IpamConfig() if item is None else decode_ipam_config(item.value)

    def pools(self, family: Family) -> tuple[Pool, ...]:
        """Return the pools that addresses are handed out from, by their keys."""
        decoded = map(decode_item, self._view.below(POOL_PREFIXES[family]))
        values = (each[1] for each in decoded if each is not None)
        return tuple(
            pool
            for pool in values
            if isinstance(pool, Pool) and pool.is_for_ipam and not pool.is_disabled
        )

    def networks(self, family: Family) -> Iterator[Network]:
        """Yield the networks of the blocks in the view, usable or not."""
        for item in self._view.below(ipam_blocks_prefix(family)):
            network = decode_ipam_block_key(item.key)
            if network is not None:
                yield network

    def has_block(self, cidr: Network) -> bool:
        """Report whether there is a block, usable or not."""
        return self._view.get(ipam_block_key(cidr)) is not None

    def block(self, cidr: Network) -> Block | None:
        """Return a block as it is now.

        Raises:
            InvalidResource: It cannot be read.
        """
        if cidr in self._after:
            return self._after[cidr]
        return self._before(cidr)

    def may_have_room(self, cidr: Network) -> bool:
        """Tell whether a block is worth reading by who looks for an address."""
        item = self._view.get(ipam_block_key(cidr))
        return item is not None and not is_plainly_full(item.value)

    def usable_block(self, cidr: Network) -> Block | None:
        """Return a block as it is now; `None` also when it cannot be read."""
        try:
            return self.block(cidr)
        except InvalidResource:
            return None

    def _before(self, cidr: Network) -> Block | None:
        key = ipam_block_key(cidr)
        item = self._view.get(key)
        if item is None:
            return None
        if cidr in self._decoded:
            return self._decoded[cidr]
        try:
            return self._decoded.setdefault(cidr, decode_block(cidr, item.value))
        except InvalidResource as error:
            raise InvalidResource(
                f"{key} {error.where}", error.found, error.accepted, error.next_step
            ) from None

    def put(self, block: Block) -> None:
        """Keep a block."""
        self._after[block.cidr] = block

    def claim(self, block: Block) -> None:
        """Keep a new block and mark it as its host's."""
        self.put(block)
        if block.affinity is not None:
            key = ipam_affinity_key(block.affinity, block.cidr)
            self._affinities.append(Put(key, b""))

    def drop(self, cidr: Network) -> None:
        """Delete a block."""
        self._after[cidr] = None

    def delete_key(self, key: str) -> None:
        """Delete a mark of affinity."""
        self._affinities.append(Delete(key))

    def transaction(self, note: Note) -> Transaction | None:
        """Return what makes the changes, or `None` when there are none.

        Raises:
            HandleNotRead: A handle changes that the view does not cover.
        """
        blocks: list[Operation] = [
            Delete(ipam_block_key(cidr))
            if block is None
            else Put(ipam_block_key(cidr), encode_block(block))
            for cidr, block in self._after.items()
        ]
        operations = (*blocks, *self._affinities, *self._handle_operations())
        return Transaction((), operations, note) if operations else None

    def _handle_operations(self) -> Iterator[Operation]:
        changed: dict[str, Counter[Network]] = {}
        for cidr, block in self._after.items():
            before, after = _uses(self._before(cidr)), _uses(block)
            for handle in sorted(before.keys() | after.keys()):
                difference = after[handle] - before[handle]
                if difference:
                    changed.setdefault(handle, Counter())[cidr] += difference
        for handle, differences in changed.items():
            yield self._handle_operation(handle, differences)

    def _handle_operation(
        self, handle: str, differences: Counter[Network]
    ) -> Operation:
        if handle not in self._handles:
            raise HandleNotRead(handle)
        key = ipam_handle_key(handle)
        item = self._view.get(key)
        counts = dict(decode_handle(handle, item.value).counts) if item else {}
        for cidr, difference in differences.items():
            counts[cidr] = counts.get(cidr, 0) + difference
        left = {cidr: count for cidr, count in counts.items() if count > 0}
        return Put(key, encode_handle(Handle(handle, left))) if left else Delete(key)


def _uses(block: Block | None) -> Counter[str]:
    if block is None:
        return Counter()
    indices = Counter(index for index in block.allocations if index is not None)
    uses = Counter[str]()
    for index, number in indices.items():
        handle = block.attributes[index].handle
        if handle is not None:
            uses[handle] += number
    return uses
