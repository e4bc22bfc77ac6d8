"""The addresses that a host has of its own in pools of an overlay.

What a host sends to a workload of another host comes from such an address, so
that the reply takes the tunnel too. It is one of each family, and lies in a
block of this host: others find their way by blocks.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from calico.codec.block_json import decode_handle
from calico.codec.keys import encode_key, ipam_block_key, ipam_handle_key
from calico.ipam.assign import Claim, assign_next
from calico.ipam.blocks import allocated_under
from calico.ipam.errors import Exhausted
from calico.ipam.handles import tunnel_handle
from calico.ipam.ledger import Ledger
from calico.ipam.release import release_handle
from calico.model.block import Attributes, Block
from calico.model.names import HostName
from calico.model.snapshot import TUNNEL_SETTINGS, SettingKey
from calico.netset import Address, Family, Network, family_of
from calico.store.api import (
    NO_REVISION,
    Compare,
    Note,
    Operation,
    Put,
    Store,
    Transaction,
    View,
)
from calico.store.resources import delete_resource, put_resource


def keep_tunnel_addresses(
    store: Store, host: HostName, pools: Sequence[Network], note: Note
) -> frozenset[Address]:
    """Take what a host still needs, and give back what it no longer does.

    Args:
        store: The datastore.
        host: The host.
        pools: Every pool of an overlay; without any, all is given back.
        note: For the history of the datastore.

    Returns:
        One address of each family that a pool has, as far as there are any.

    Raises:
        InvalidResource: A block or the handle in the datastore cannot be read.
        Conflict: Others kept changing the same blocks.
        Unavailable: The datastore cannot be used.
        OutcomeUnknown: It did not say what became of the change.
    """
    known = _known(store, host, pools)
    release_handle(store, tunnel_handle(host), note, keep=known.values())
    for family in Family:
        of_family = [pool for pool in pools if family_of(pool) is family]
        if family not in known and of_family:
            address = _take(store, host, of_family, note)
            if address is not None:
                known[family] = address
    _tell(store, host, known, note)
    return frozenset(known.values())


def release_tunnel_addresses(store: Store, host: HostName, note: Note) -> None:
    """Give back what a host has; it is being removed, or has no tunnel any more.

    Raises:
        InvalidResource: A block or the handle in the datastore cannot be read.
        Conflict: Others kept changing the same blocks.
        Unavailable: The datastore cannot be used.
        OutcomeUnknown: It did not say what became of the change.
    """
    keep_tunnel_addresses(store, host, (), note)


def _known(
    store: Store, host: HostName, pools: Sequence[Network]
) -> dict[Family, Address]:
    """Find what the host has and may keep; the lowest where it has several."""
    handle = tunnel_handle(host)
    item = store.get(ipam_handle_key(handle))
    found: dict[Family, Address] = {}
    if item is None:
        return found
    for network in decode_handle(handle, item.value).counts:
        block = _read_block(store, network)
        if block is None or block.affinity != host:
            continue
        for address in allocated_under(block, handle):
            if _is_within(address, pools):
                found.setdefault(family_of(address), address)
    return found


def _read_block(store: Store, network: Network) -> Block | None:
    item = store.get(ipam_block_key(network))
    if item is None:
        return None
    return Ledger(View({item.key: item}, item.modified), frozenset()).block(network)


def _is_within(address: Address, pools: Iterable[Network]) -> bool:
    return any(address in pool for pool in pools)


def _take(
    store: Store, host: HostName, pools: Sequence[Network], note: Note
) -> Address | None:
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    attributes = Attributes(tunnel_handle(host), {"time": at})
    claim = Claim(host, attributes, note)
    for pool in pools:
        with suppress(Exhausted):  # disabled, perhaps; the next one may do
            return assign_next(store, family_of(pool), claim, pool)
    return None


def _tell(
    store: Store, host: HostName, addresses: Mapping[Family, Address], note: Note
) -> None:
    """Write down what the host has, unless its addresses were taken back meanwhile.

    An address that is not told is a leak for whoever looks for some. So the
    handle is compared, and put again for whoever has looked before.
    """
    key = ipam_handle_key(tunnel_handle(host))
    handle = store.get(key)
    operations: list[Operation] = []
    for family, name in TUNNEL_SETTINGS.items():
        setting = SettingKey(name, host)
        item = store.get(encode_key(setting))
        told = None if item is None else item.value.decode("utf-8", "replace")
        address = addresses.get(family)
        if address is None and told is not None:
            operations.append(delete_resource(setting))
        elif address is not None and told != str(address):
            operations.append(put_resource(setting, str(address)))
    if not operations:
        return
    held = NO_REVISION if handle is None else handle.modified
    if handle is not None:
        operations.append(Put(key, handle.value))
    store.commit(Transaction((Compare(key, held),), tuple(operations), note))
