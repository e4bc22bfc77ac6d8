"""What routing is computed from, read out of a store of bytes.

Not here: following it (`routing_feed`).
"""

from collections.abc import Iterable

from calico.codec.bgp_values import decode_routing_value
from calico.codec.routing_keys import ROUTING_PREFIXES, decode_routing_key
from calico.model.names import Revision
from calico.model.routing import RoutingKey, RoutingResource, RoutingSnapshot
from calico.store.api import KeyValue, Store


def decode_routing_item(
    store_key: str, value: bytes | None
) -> tuple[RoutingKey, RoutingResource | None] | None:
    """Read a key with its value.

    Returns:
        `None` when routing does not depend on the key. The resource is absent
        when the key is, or when it says so.
    """
    key = decode_routing_key(store_key)
    if key is None:
        return None
    if value is None:
        return key, None
    return key, decode_routing_value(key, store_key, value)


def read_routing(store: Store, at: Revision | None = None) -> RoutingSnapshot:
    """Read everything that routing is computed from, at one revision.

    Args:
        store: The store.
        at: The revision; without it, the current one.

    Raises:
        Compacted: That revision is no longer remembered.
        Unavailable: The store cannot be read.
    """
    items, _ = list_routing(store, at)
    return RoutingSnapshot.of(decode_all(items))


def list_routing(
    store: Store, at: Revision | None = None
) -> tuple[list[KeyValue], Revision]:
    """List all that is below the routing prefixes, at one revision."""
    items: list[KeyValue] = []
    for prefix in ROUTING_PREFIXES:
        listing = store.list_prefix(prefix, at)
        at = listing.revision
        items.extend(listing.items)
    return items, at or Revision(0)


def decode_all(items: Iterable[KeyValue]) -> dict[RoutingKey, RoutingResource]:
    """Read those of the items that routing depends on."""
    found = (decode_routing_item(item.key, item.value) for item in items)
    return {
        key: value
        for key, value in (each for each in found if each is not None)
        if value is not None
    }
