"""Typed reading on top of a store of bytes."""

from ipaddress import ip_network

from calico.codec.keys import encode_key
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    OrchestratorId,
    ProfileId,
    TagName,
    WorkloadId,
)
from calico.model.network import Pool
from calico.model.rule import Action, ProfileRules, Rule
from calico.model.snapshot import (
    PoolKey,
    ProfileLabelsKey,
    ProfileRulesKey,
    ProfileTagsKey,
    ReadyKey,
    Resource,
    ResourceKey,
    SettingKey,
    Snapshot,
    Undecodable,
)
from calico.store.api import Note, Put, Transaction
from calico.store.memory import MemoryStore
from calico.store.resources import (
    count_reserved,
    decode_item,
    delete_resource,
    profiles_in,
    put_resource,
    read_snapshot,
)

WEB, APP, OLD = ProfileId("WEB"), ProfileId("APP"), ProfileId("OLD")
HOST = HostName("h")
CIDR = ip_network("10.0.0.0/16")
EP = EndpointKey(HOST, OrchestratorId("o"), WorkloadId("w"), EndpointId("e"))
NOTE = Note("test", "h", "test")
RESOURCES: list[tuple[ResourceKey, Resource]] = [
    (ProfileTagsKey(WEB), (TagName("WEB"),)),
    (ProfileRulesKey(WEB), ProfileRules((Rule(Action.ALLOW),), ())),
    (ProfileLabelsKey(OLD), {}),
    (PoolKey(CIDR), Pool(CIDR)),
    (SettingKey("x", HOST), "y"),
    (ReadyKey(), True),
]


def test_snapshot_holds_what_policy_depends_on_and_what_cannot_be_read() -> None:
    store = MemoryStore()
    store.commit(Transaction((), tuple(put_resource(k, v) for k, v in RESOURCES), NOTE))
    bad_rules, bad_endpoint = encode_key(ProfileRulesKey(APP)), encode_key(EP)
    operations = (Put(bad_rules, b"{"), Put(bad_endpoint, b"{}"))
    second = store.commit(Transaction((), operations, NOTE))
    elsewhere = Put("/calico/felix/v1/host/h/status", b"{}")
    store.commit(Transaction((), (elsewhere,), NOTE))

    snapshot = read_snapshot(store)

    assert snapshot.revision == second
    assert snapshot.tags == {WEB: ("WEB",)}
    assert snapshot.rules[WEB] == ProfileRules((Rule(Action.ALLOW),), ())
    found = snapshot.rules[APP]
    assert isinstance(found, Undecodable)
    assert found.store_key == bad_rules
    assert isinstance(snapshot.endpoints[EP], Undecodable)
    assert snapshot.pools == {CIDR: Pool(CIDR)}
    assert snapshot.settings == {SettingKey("x", HOST): "y"}


def test_empty_store_is_an_empty_snapshot() -> None:
    assert read_snapshot(MemoryStore()) == Snapshot()


def test_older_revision_is_read_when_asked_for() -> None:
    store = MemoryStore()
    key = SettingKey("x")
    first = store.commit(Transaction((), (put_resource(key, "1"),), NOTE))
    store.commit(Transaction((), (delete_resource(key),), NOTE))
    assert read_snapshot(store, first).settings == {key: "1"}
    assert read_snapshot(store).settings == {}


def test_profile_is_there_if_any_of_its_keys_is() -> None:
    store = MemoryStore()
    store.commit(Transaction((), tuple(put_resource(k, v) for k, v in RESOURCES), NOTE))
    assert profiles_in(store.list_prefix("").items) == (OLD, WEB)


def test_keys_that_nobody_uses_are_counted_by_kind() -> None:
    store = MemoryStore()
    keys = (
        "policy/tier/t/metadata",
        "policy/tier/u/metadata",
        "host/h/endpoint/e",
        "Ready",
    )
    operations = tuple(Put(f"/calico/v1/{key}", b"true") for key in keys)
    store.commit(Transaction((), operations, NOTE))
    items = store.list_prefix("").items
    assert count_reserved(items) == {"tier": 2, "host endpoint": 1}
    assert decode_item(items[-1]) is not None
