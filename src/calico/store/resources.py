"""Typed reading and writing on top of a store of bytes.

What callers above the store need of the codec: which key holds a resource,
what is under it, and all of it at once as a `Snapshot`. An object that cannot
be read is an `Undecodable` in its place, never an error of the whole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from calico.codec.keys import POLICY_PREFIX, POLICY_PREFIXES, decode_key, encode_key
from calico.codec.resources import decode_resource, encode_resource
from calico.model.endpoint import WorkloadEndpoint
from calico.model.errors import Unavailable
from calico.model.names import (
    NO_REVISION,
    EndpointKey,
    ProfileId,
    Revision,
    TagName,
)
from calico.model.network import Pool
from calico.model.rule import ProfileRules
from calico.model.snapshot import (
    PoolKey,
    ProfileLabelsKey,
    ProfileRulesKey,
    ProfileTagsKey,
    ReservedKey,
    Resource,
    ResourceKey,
    SettingKey,
    Snapshot,
    Undecodable,
)
from calico.store.api import Delete, KeyValue, Listing, Put, Store

_N_TRIES = 10


def decode_item(item: KeyValue) -> tuple[ResourceKey, Resource] | None:
    """Read one item of a listing; `None` when policy does not depend on it."""
    key = decode_key(item.key)
    return None if key is None else (key, decode_resource(key, item.key, item.value))


def put_resource(key: ResourceKey, resource: Resource) -> Put:
    """Make the operation that writes a resource.

    Raises:
        InvalidResource: It is too large, or its name cannot be a key.
    """
    return Put(encode_key(key), encode_resource(key, resource))


def delete_resource(key: ResourceKey) -> Delete:
    """Make the operation that deletes a resource."""
    return Delete(encode_key(key))


def read_snapshot(store: Store, at: Revision | None = None) -> Snapshot:
    """Read everything that policy depends on, at one revision.

    Args:
        store: The store.
        at: The revision; without it, the current one.

    Raises:
        Compacted: That revision is no longer remembered.
        StoreWentBack: That revision is not reached yet.
        Unavailable: The store cannot be read.
    """
    return make_snapshot(store.list_prefix(POLICY_PREFIX, at))


def read_policy(store: Store, prefix: str) -> tuple[Listing, Revision]:
    """Read what is below a prefix, and the policy revision that it stands at.

    That is newer than every item of it when the last change was a deletion.

    Args:
        store: The store.
        prefix: Covers at least everything that policy is computed from.

    Raises:
        Unavailable: The store cannot be read, or policy does not stand still.
    """
    for _ in range(_N_TRIES):
        listing = store.list_prefix(prefix)
        revision = store.last_change(POLICY_PREFIXES, listing)
        if revision <= listing.revision:
            return listing, revision
    reason = f"was changed {_N_TRIES} times while it was read"
    raise Unavailable("the datastore", reason, ("try again",))


def make_snapshot(listing: Listing) -> Snapshot:
    """Decode a listing of everything below `POLICY_PREFIX`."""
    drawers = _Drawers()
    newest = NO_REVISION
    for item in listing.items:
        decoded = decode_item(item)
        if decoded is not None:
            newest = max(newest, item.modified)
            drawers.put(*decoded)
    return Snapshot(
        revision=newest,
        tags=drawers.tags,
        rules=drawers.rules,
        endpoints=drawers.endpoints,
        pools={key.cidr: pool for key, pool in drawers.pools.items()},
        settings=drawers.settings,
        labels=drawers.labels,
    )


@dataclass(slots=True)
class _Drawers:
    """A snapshot in the making: each resource goes where its type belongs.

    `Ready` and what is reserved decide no packet and are left out.
    """

    tags: dict[ProfileId, tuple[TagName, ...] | Undecodable] = field(
        default_factory=dict[ProfileId, tuple[TagName, ...] | Undecodable]
    )
    rules: dict[ProfileId, ProfileRules | Undecodable] = field(
        default_factory=dict[ProfileId, ProfileRules | Undecodable]
    )
    endpoints: dict[EndpointKey, WorkloadEndpoint | Undecodable] = field(
        default_factory=dict[EndpointKey, WorkloadEndpoint | Undecodable]
    )
    pools: dict[PoolKey, Pool | Undecodable] = field(
        default_factory=dict[PoolKey, Pool | Undecodable]
    )
    settings: dict[SettingKey, str | Undecodable] = field(
        default_factory=dict[SettingKey, str | Undecodable]
    )
    labels: dict[ProfileId, Mapping[str, str] | Undecodable] = field(
        default_factory=dict[ProfileId, Mapping[str, str] | Undecodable]
    )

    def put(self, key: ResourceKey, value: Resource) -> None:
        match key:
            case ProfileTagsKey() if isinstance(value, tuple | Undecodable):
                self.tags[key.profile] = value
            case ProfileRulesKey() if isinstance(value, ProfileRules | Undecodable):
                self.rules[key.profile] = value
            case EndpointKey() if isinstance(value, WorkloadEndpoint | Undecodable):
                self.endpoints[key] = value
            case PoolKey() if isinstance(value, Pool | Undecodable):
                self.pools[key] = value
            case SettingKey() if isinstance(value, str | Undecodable):
                self.settings[key] = value
            case ProfileLabelsKey() if isinstance(value, Mapping | Undecodable):
                self.labels[key.profile] = value
            case _:
                pass


def profiles_in(items: Iterable[KeyValue]) -> tuple[ProfileId, ...]:
    """List the profiles that any of these keys belongs to, sorted."""
    keys = (decode_key(item.key) for item in items)
    return tuple(
        sorted(
            {
                key.profile
                for key in keys
                if isinstance(key, ProfileTagsKey | ProfileRulesKey | ProfileLabelsKey)
            }
        )
    )


def count_reserved(items: Iterable[KeyValue]) -> Mapping[str, int]:
    """Count the keys that nobody uses, by kind in the user's words."""
    counts: dict[str, int] = {}
    for item in items:
        key = decode_key(item.key)
        if isinstance(key, ReservedKey):
            counts[key.kind] = counts.get(key.kind, 0) + 1
    return counts
