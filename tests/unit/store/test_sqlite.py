"""The SQLite store keeps the contract, and what only it promises."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from store_backends import SqliteBackend
from store_contract import NOTE, Backend, StoreContract, change, keys, put

from calico.store.api import NO_REVISION, Put, Revision, Scope, Store


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return SqliteBackend(tmp_path)


@pytest.fixture
def backend(tmp_path: Path) -> SqliteBackend:
    return SqliteBackend(tmp_path)


@pytest.fixture
def store(backend: SqliteBackend) -> Iterator[Store]:
    store = backend.open()
    yield store
    store.close()


def test_everything_survives_closing(backend: SqliteBackend) -> None:
    first = backend.open()
    lease = first.grant(60)
    first.commit(change(Put("/a", b"1"), Put("/b", b"2", lease)))
    before = (first.store_id, first.list_prefix(""), first.history())
    first.close()
    second = backend.open()
    assert (second.store_id, second.list_prefix(""), second.history()) == before
    second.keep_alive(lease)
    second.close()


def test_lease_of_an_earlier_boot_is_over(backend: SqliteBackend, store: Store) -> None:
    store.commit(change(Put("/a", b"", store.grant(3600)), Put("/b", b"")))
    backend.clock.reboot()
    assert keys(store) == ["/b"]


def test_catching_up_returns_a_thousand_revisions_at_most(store: Store) -> None:
    for number in range(1100):
        put(store, f"/{number}")
    watch = store.watch("", NO_REVISION)
    first = watch.read(0)
    assert [batch.revision for batch in first] == list(range(1, 1001))
    assert watch.revision == 1000
    rest = watch.read(0)
    assert [batch.revision for batch in rest] == list(range(1001, 1101))
    watch.close()


def test_using_the_store_inside_a_decision_is_a_bug(store: Store) -> None:
    with pytest.raises(RuntimeError, match="while it is being used"):
        store.update(Scope(), lambda _: (None, store.get("/a")))
    assert put(store, "/a") == 1


def test_closed_store_is_not_used_again(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(RuntimeError, match="closed"):
        store.get("/a")


def test_quiet_store_forgets_nothing_that_is_young(
    backend: SqliteBackend, store: Store
) -> None:
    for _ in range(300):
        put(store, "/a")
    backend.pass_time(48 * 3600)
    for _ in range(300):
        put(store, "/a")
    assert len(store.history(limit=1000)) == 600
    assert store.history(limit=1)[0].note == NOTE
    assert store.list_prefix("", at=Revision(1)).items[0].modified == 1
