"""Following what routing depends on."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from calico.codec import keys
from calico.model.errors import Unavailable
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.snapshot import PoolKey
from calico.netset import Family
from calico.settings import Settings
from calico.store.api import (
    Batch,
    Delete,
    Note,
    Operation,
    Put,
    Revision,
    Store,
    Transaction,
    Watch,
)
from calico.store.following import EventsLost, StoreAnswers, StoreSilent
from calico.store.open import open_store
from calico.store.resources import put_resource
from calico.store.routing_feed import RoutingEvent, RoutingFeed, RoutingRead

A = HostName("a")
ADDRESS = keys.bgp_address_key(A, Family.V4)
POOL = Pool(ip_network("10.0.0.0/16"))
BLOCK = ip_network("10.0.0.0/26")


def _settings(directory: Path) -> Settings:
    environ = {"HOSTNAME": "h", "CALICO_DATA_DIR": str(directory)}
    return Settings.from_environment(environ)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(_settings(tmp_path))) as opened:
        yield opened


def _commit(store: Store, *operations: Operation) -> Revision:
    return store.commit(Transaction((), operations, Note("t", "h", "c")))


def _follow(opening: Callable[[], Store]) -> "closing[Generator[RoutingEvent]]":
    return closing(RoutingFeed(opening).events())


def test_all_comes_first_and_then_only_what_makes_a_difference(
    store: Store, tmp_path: Path
) -> None:
    _commit(store, Put(ADDRESS, b"192.0.2.1"))
    with _follow(lambda: open_store(_settings(tmp_path))) as events:
        first = next(events)
        assert isinstance(first, RoutingRead)
        assert first.snapshot.hosts[A].addresses == {
            Family.V4: ip_address("192.0.2.1"),
        }
        # None of these changes what routes are computed from.
        _commit(store, Put("/calico/v1/policy/profile/A/tags", b"[]"))
        _commit(store, Put("/calico/felix/v1/host/a/status", b"{}"))
        _commit(store, Put("/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-26", b"{}"))
        _commit(store, Put(ADDRESS, b"192.0.2.1"))
        _commit(store, Delete(keys.bgp_address_key(A, Family.V6)))
        _commit(
            store,
            Put(keys.ipam_affinity_key(A, BLOCK), b""),
            put_resource(PoolKey(POOL.cidr), POOL),
        )
        second = next(events)
        assert isinstance(second, RoutingRead)
        assert second.snapshot.blocks == {A: {BLOCK}}
        assert second.snapshot.pools == {POOL.cidr: POOL}
        _commit(store, Delete(ADDRESS))
        third = next(events)
        assert isinstance(third, RoutingRead)
        assert third.snapshot.hosts[A].addresses == {}


def test_silence_is_told_and_what_was_missed_follows(
    store: Store, tmp_path: Path
) -> None:
    _commit(store, Put(ADDRESS, b"192.0.2.1"))
    openings = iter([_Breaking, None])

    def opening() -> Store:
        opened = open_store(_settings(tmp_path))
        wrap = next(openings, None)
        return opened if wrap is None else wrap(opened)  # type: ignore[return-value]

    with _follow(opening) as events:
        assert isinstance(next(events), RoutingRead)
        assert next(events) == StoreSilent("there: broken")
        _commit(store, Put(ADDRESS, b"192.0.2.7"))
        assert next(events) == StoreAnswers()
        after = next(events)
        assert isinstance(after, RoutingRead)
        assert after.snapshot.hosts[A].addresses == {Family.V4: ip_address("192.0.2.7")}


def test_compaction_leads_to_everything_again(store: Store, tmp_path: Path) -> None:
    _commit(store, Put(ADDRESS, b"192.0.2.1"))
    openings = iter([_Breaking, None])

    def opening() -> Store:
        wrap = next(openings, None)
        if wrap is None:
            _commit(store, Put(ADDRESS, b"192.0.2.2"))
            store.compact(_commit(store, Put(ADDRESS, b"192.0.2.3")))
        opened = open_store(_settings(tmp_path))
        return opened if wrap is None else wrap(opened)  # type: ignore[return-value]

    with _follow(opening) as events:
        assert isinstance(next(events), RoutingRead)
        assert isinstance(next(events), StoreSilent)
        again = next(events)
        assert isinstance(again, RoutingRead)
        assert again.snapshot.hosts[A].addresses == {Family.V4: ip_address("192.0.2.3")}


def test_another_datastore_is_not_believed(store: Store, tmp_path: Path) -> None:
    _commit(store, Put(ADDRESS, b"192.0.2.1"))
    opened = iter([tmp_path, tmp_path / "other"])

    def opening() -> Store:
        found = open_store(_settings(next(opened)))
        return _Breaking(found) if found.store_id == store.store_id else found  # type: ignore[return-value]

    with _follow(opening) as events:
        assert isinstance(next(events), RoutingRead)
        assert isinstance(next(events), StoreSilent)
        refused = next(events)
        assert isinstance(refused, StoreSilent)
        assert "replaced by another" in refused.reason


def test_events_that_were_lost_are_said_and_read(store: Store, tmp_path: Path) -> None:
    _commit(store, Put(ADDRESS, b"192.0.2.1"))
    openings = iter([_Losing])

    def opening() -> Store:
        opened = open_store(_settings(tmp_path))
        wrap = next(openings, None)
        return opened if wrap is None else wrap(opened)  # type: ignore[return-value]

    feed = RoutingFeed(opening, compare_every_s=0.01)
    with closing(feed.events()) as events:
        first = next(events)
        assert isinstance(first, RoutingRead)
        assert A in first.snapshot.hosts
        _commit(store, Put(ADDRESS, b"192.0.2.7"))
        lost = next(events)
        assert isinstance(lost, EventsLost)
        assert ADDRESS in lost.reason
        after = next(events)
        assert isinstance(after, RoutingRead)
        assert after.snapshot.hosts[A].addresses == {Family.V4: ip_address("192.0.2.7")}


class _Losing:
    """A store whose watches tell of nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def watch(self, prefix: str, after: Revision) -> "_Deaf":
        return _Deaf(self._store.watch(prefix, after))


class _Deaf:
    """A watch that keeps everything to itself."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __getattr__(self, name: str) -> object:
        return getattr(self._watch, name)

    def read(self, timeout_s: float | None) -> tuple[Batch, ...]:
        self._watch.read(timeout_s)
        return ()


class _Breaking:
    """A store that lists and then fails."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        if name == "watch":
            raise Unavailable("there", "broken")
        return getattr(self._store, name)
