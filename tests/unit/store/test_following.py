"""Which datastore is believed, and when what it shows is asked for twice."""

from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import pytest

from calico.codec.keys import READY_KEY
from calico.model.errors import Compacted, Unavailable
from calico.model.names import Revision
from calico.model.snapshot import ReadyKey
from calico.store.api import (
    Batch,
    Delete,
    DeletePrefix,
    Listing,
    Note,
    Operation,
    Put,
    Store,
    Transaction,
    Watch,
)
from calico.store.feed import Changes, Everything, FeedEvent, PolicyFeed
from calico.store.following import (
    MEMORY_NAME,
    EventsLost,
    StoreAnswers,
    StoreSilent,
    forget_datastore,
    is_much,
    resync_spread,
)
from calico.store.memory import MemoryStore

N_MANY = 40


def _commit(store: Store, *operations: Operation) -> Revision:
    return store.commit(Transaction((), operations, Note("t", "h", "c")))


def _tags(n: int) -> str:
    return f"/calico/v1/policy/profile/P{n}/tags"


@pytest.fixture
def store() -> MemoryStore:
    filled = MemoryStore()
    _commit(filled, Put(READY_KEY, b"true"))
    _commit(filled, *(Put(_tags(n), b"[]") for n in range(N_MANY)))
    return filled


@pytest.mark.parametrize(
    ("n_keys", "expected_s"), [(0, 1.0), (10_000, 1.0), (100_000, 10.0)]
)
def test_more_keys_are_read_anew_over_a_longer_time(
    n_keys: int, expected_s: float
) -> None:
    assert resync_spread(n_keys) == expected_s


class Opened:
    """Hands out a store again and again, and counts; what it hands out can change."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.n_opened = 0

    def __call__(self) -> Store:
        self.n_opened += 1
        return self.store


class Faulty:
    """A store that shows a test's own listings and watches, once each."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.store_id = store.store_id
        self.listings: list[Callable[[Listing], Listing]] = []
        self.watches: list[Callable[[Watch], object]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def list_prefix(self, prefix: str, at: Revision | None = None) -> Listing:
        shown = self._store.list_prefix(prefix, at)
        if prefix == READY_KEY or not self.listings:
            return shown
        return self.listings.pop(0)(shown)

    def watch(self, prefix: str, after: Revision) -> object:
        watch = self._store.watch(prefix, after)
        return self.watches.pop(0)(watch) if self.watches else watch


class Losing:
    """A watch that keeps a key's changes to itself."""

    def __init__(self, watch: Watch, lost: str) -> None:
        self._watch = watch
        self._lost = lost

    def __getattr__(self, name: str) -> object:
        return getattr(self._watch, name)

    def read(self, timeout_s: float | None) -> tuple[Batch, ...]:
        left = (
            Batch(b.revision, tuple(c for c in b.changes if c.key != self._lost))
            for b in self._watch.read(timeout_s)
        )
        return tuple(batch for batch in left if batch.changes)


def _follow(
    opening: Callable[[], Store], **more: float | Path
) -> "closing[Generator[FeedEvent]]":
    feed = PolicyFeed(opening, **more)  # type: ignore[arg-type]
    return closing(feed.events())  # type: ignore[arg-type]


def test_emptied_store_takes_nothing_away(store: MemoryStore) -> None:
    opened = Opened(store)
    with _follow(opened) as events:
        assert isinstance(next(events), Everything)
        # Whoever empties it makes it another one: what opens it now says so.
        _commit(store, DeletePrefix("/calico/"))
        opened.store = MemoryStore()
        silent = next(events)
        assert isinstance(silent, StoreSilent)
        assert "has been replaced by another one; policy stays" in silent.reason


def test_removal_of_much_by_the_same_store_is_believed(store: MemoryStore) -> None:
    opened = Opened(store)
    with _follow(opened) as events:
        next(events)
        _commit(store, DeletePrefix("/calico/v1/policy/"))
        changes = next(events)
        assert isinstance(changes, Changes)
        assert all(value is None for _, value in changes.items)
        assert len(changes.items) == N_MANY
        assert opened.n_opened == 2, "a second client has confirmed it"


def test_removal_of_little_is_not_asked_for_twice(store: MemoryStore) -> None:
    opened = Opened(store)
    with _follow(opened) as events:
        next(events)
        _commit(store, Delete(_tags(0)))
        changes = next(events)
        assert isinstance(changes, Changes)
        assert opened.n_opened == 1


def test_listing_that_lacks_much_is_read_again(store: MemoryStore) -> None:
    faulty = Faulty(store)

    def compacted(watch: Watch) -> object:
        watch.close()
        raise Compacted(1, 2)

    def half(listing: Listing) -> Listing:
        return Listing(listing.items[: N_MANY // 2], listing.revision)

    faulty.watches.append(compacted)
    opened = Opened(faulty)  # type: ignore[arg-type]
    with _follow(opened) as events:
        first = next(events)
        faulty.listings.append(half)
        held = next(events)
        assert isinstance(first, Everything)
        assert isinstance(held, StoreSilent)
        assert "much of what it held is missing" in held.reason
        assert faulty.listings == [], "the faulty listing was shown"
        # It shows all again; that counts from a later revision on.
        _commit(store, Put("/calico/felix/v1/host/h/status", b"{}"))
        second = next(events)
        assert isinstance(second, Everything)
        assert second.items == first.items
        assert next(events) == StoreAnswers()


def test_events_that_were_lost_are_found_and_read(store: MemoryStore) -> None:
    faulty = Faulty(store)
    faulty.watches.append(lambda watch: Losing(watch, _tags(3)))
    with _follow(Opened(faulty), compare_every_s=0.01) as events:  # type: ignore[arg-type]
        first = next(events)
        assert isinstance(first, Everything)
        assert (ReadyKey(), True) in first.items
        newest = _commit(store, Put(_tags(3), b'["X"]'))
        lost = next(events)
        assert isinstance(lost, EventsLost)
        assert _tags(3) in lost.reason
        again = next(events)
        assert isinstance(again, Everything)
        assert again.revision == newest
        assert ("X",) in dict(again.items).values()


def test_deletion_that_was_lost_is_found(store: MemoryStore) -> None:
    faulty = Faulty(store)
    faulty.watches.append(lambda watch: Losing(watch, _tags(3)))
    with _follow(Opened(faulty), compare_every_s=0.01) as events:  # type: ignore[arg-type]
        next(events)
        _commit(store, Delete(_tags(3)))
        lost = next(events)
        assert isinstance(lost, EventsLost)
        assert f"{N_MANY} keys are there, {N_MANY + 1} are known" in lost.reason
        again = next(events)
        assert isinstance(again, Everything)
        assert len(again.items) == N_MANY


def test_store_that_went_back_is_not_believed(store: MemoryStore) -> None:
    older = MemoryStore()
    _commit(older, Put(READY_KEY, b"true"))
    restored = Faulty(older)
    restored.store_id = store.store_id
    breaking = Faulty(store)
    breaking.watches.append(Failing)
    opened = Opened(breaking)  # type: ignore[arg-type]
    with _follow(opened) as events:
        assert isinstance(next(events), Everything)
        assert next(events) == StoreSilent("there: gone")
        opened.store = restored  # type: ignore[assignment]
        refused = next(events)
        assert isinstance(refused, StoreSilent)
        assert "is at revision 1 but has been at 2" in refused.reason


class Failing:
    """A watch that reads once and then fails."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._has_read = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._watch, name)

    def read(self, _timeout_s: float | None) -> tuple[Batch, ...]:
        if self._has_read:
            raise Unavailable("there", "gone")
        self._has_read = True
        return self._watch.read(0)


def test_identity_is_kept_beyond_the_process_until_the_node_starts_again(
    store: MemoryStore, tmp_path: Path
) -> None:
    memory = tmp_path / MEMORY_NAME
    with _follow(Opened(store), memory=memory) as events:
        assert isinstance(next(events), Everything)
    other = MemoryStore()
    _commit(other, Put(READY_KEY, b"true"))
    with _follow(Opened(other), memory=memory) as events:
        silent = next(events)
        assert isinstance(silent, StoreSilent)
        assert "replaced by another" in silent.reason
    forget_datastore(tmp_path)
    forget_datastore(tmp_path)
    with _follow(Opened(other), memory=memory) as events:
        everything = next(events)
        assert isinstance(everything, Everything)
        assert everything.items == [(ReadyKey(), True)]


@pytest.mark.parametrize(
    ("n_removed", "n_known", "expected"),
    [(10, 10, False), (11, 12, True), (30, 100, False), (31, 100, True)],
)
def test_much_is_more_than_ten_and_than_three_in_ten(
    n_removed: int,
    n_known: int,
    expected: bool,  # noqa: FBT001 -- a parameter of the table above
) -> None:
    assert is_much(n_removed, n_known) is expected
