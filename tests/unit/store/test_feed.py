"""Following the policy keys of a datastore."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from calico.model.errors import Unavailable
from calico.model.names import ProfileId
from calico.model.snapshot import ProfileTagsKey, ReadyKey, Undecodable
from calico.settings import Settings
from calico.store.api import Delete, Note, Operation, Put, Store, Transaction
from calico.store.feed import (
    Changes,
    Everything,
    FeedEvent,
    PolicyFeed,
)
from calico.store.following import (
    LONGEST_PAUSE_S,
    StoreAnswers,
    StoreSilent,
    pause_after,
)
from calico.store.open import open_store

TAGS = "/calico/v1/policy/profile/A/tags"
KEY = ProfileTagsKey(ProfileId("A"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    environ = {"HOSTNAME": "h", "CALICO_DATA_DIR": str(tmp_path)}
    return Settings.from_environment(environ)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = open_store(settings)
    yield opened
    opened.close()


def _commit(store: Store, *operations: Operation) -> int:
    note = Note("t", "h", "c")
    return store.commit(Transaction((), operations, note))


@pytest.fixture
def events(settings: Settings, store: Store) -> Iterator[Iterator[FeedEvent]]:
    _commit(store, Put("/calico/v1/Ready", b"true"), Put(TAGS, b'["A"]'))
    feed = PolicyFeed(lambda: open_store(settings)).events()
    yield feed
    feed.close()  # type: ignore[attr-defined]  # a generator behind its type


def test_everything_comes_first_and_then_each_change(
    store: Store, events: Iterator[FeedEvent]
) -> None:
    first = next(events)
    assert isinstance(first, Everything)
    assert dict(first.items) == {ReadyKey(): True, KEY: ("A",)}
    assert first.revision == 1
    _commit(store, Put("/calico/felix/v1/host/h/status", b"{}"))
    revision = _commit(store, Put(TAGS, b"{"), Put("/calico/v1/host/h/bird_ip", b"x"))
    change = next(events)
    assert isinstance(change, Changes)
    assert change.revision == revision
    (key, value), *rest = change.items
    assert (key, rest) == (KEY, [])
    assert isinstance(value, Undecodable)
    revision = _commit(store, Delete(TAGS))
    assert next(events) == Changes(revision, [(KEY, None)])  # type: ignore[arg-type]


def test_deletion_counts_as_the_newest_revision(
    store: Store, events: Iterator[FeedEvent]
) -> None:
    revision = _commit(store, Delete(TAGS))
    _commit(store, Put("/calico/felix/v1/host/h/status", b"{}"))
    first = next(events)
    assert isinstance(first, Everything)
    assert first.revision == revision


def test_compaction_leads_to_everything_again(store: Store, settings: Settings) -> None:
    _commit(store, Put(TAGS, b'["A"]'))
    stores: list[Store] = []

    def opening() -> Store:
        if stores:
            _commit(store, Put(TAGS, b'["B"]'))
            newest = _commit(store, Put(TAGS, b'["C"]'))
            store.compact(newest)  # type: ignore[arg-type]
        stores.append(open_store(settings))
        if len(stores) == 1:
            return _Breaking(stores[-1])  # type: ignore[return-value]
        return stores[-1]

    feed = PolicyFeed(opening).events()
    found = [next(feed) for _ in range(3)]
    assert isinstance(found[0], Everything)
    assert isinstance(found[1], StoreSilent)
    assert isinstance(found[2], Everything)
    assert found[2].items == [(KEY, ("C",))]
    _close(feed)


def test_silence_and_answer_are_told(settings: Settings, store: Store) -> None:
    _commit(store, Put(TAGS, b'["A"]'))
    failures = iter([Unavailable("there", "gone"), None])

    def opening() -> Store:
        error = next(failures, None)
        if error is not None:
            raise error
        return open_store(settings)

    feed = PolicyFeed(opening).events()
    assert next(feed) == StoreSilent("there: gone")
    assert isinstance(next(feed), Everything)
    assert next(feed) == StoreAnswers()
    _close(feed)


def test_another_datastore_is_not_believed(store: Store, tmp_path: Path) -> None:
    _commit(store, Put(TAGS, b'["A"]'))
    other = Settings.from_environment(
        {"HOSTNAME": "h", "CALICO_DATA_DIR": str(tmp_path / "other")}
    )
    mine = Settings.from_environment(
        {"HOSTNAME": "h", "CALICO_DATA_DIR": str(tmp_path)}
    )
    opened = iter([mine, other])

    def opening() -> Store:
        found = open_store(next(opened))
        return _Breaking(found) if found.store_id == store.store_id else found  # type: ignore[return-value]

    feed = PolicyFeed(opening).events()
    assert isinstance(next(feed), Everything)
    assert isinstance(next(feed), StoreSilent)
    refused = next(feed)
    assert isinstance(refused, StoreSilent)
    assert "replaced by another" in refused.reason
    _close(feed)


def test_pauses_grow_up_to_a_bound() -> None:
    pauses = [pause_after(n) for n in range(1, 30)]
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[1]
    assert pauses[-1] == LONGEST_PAUSE_S


class _Breaking:
    """A store that lists and then fails."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        if name == "watch":
            raise Unavailable("there", "broken")
        return getattr(self._store, name)


def _close(feed: object) -> None:
    close = getattr(feed, "close")  # noqa: B009 -- a generator behind its type
    close()
