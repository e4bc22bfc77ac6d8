from ipaddress import ip_network

from calico.model.names import NO_REVISION, ProfileId
from calico.model.snapshot import (
    PoolKey,
    ProfileLabelsKey,
    ProfileRulesKey,
    ProfileTagsKey,
    ReadyKey,
    ReservedKey,
    ResourceKey,
    SettingKey,
    Snapshot,
)


def test_empty_snapshot_is_before_the_first_write() -> None:
    empty = Snapshot()
    assert empty.revision == NO_REVISION
    for part in (empty.tags, empty.rules, empty.labels, empty.endpoints):
        assert part == {}
    assert empty.pools == empty.settings == {}


def test_keys_of_different_kinds_are_different() -> None:
    name = ProfileId("web")
    keys: list[ResourceKey] = [
        ProfileTagsKey(name),
        ProfileRulesKey(name),
        ProfileLabelsKey(name),
        PoolKey(ip_network("10.0.0.0/8")),
        SettingKey("web"),
        ReadyKey(),
        ReservedKey("web"),
    ]
    assert len({*keys, *keys}) == len(keys)
