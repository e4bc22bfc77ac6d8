"""The contract of `calico.store.api` as tests that every store must pass.

Revisions are counted from the one that the store is at when a test begins: it is
0 where the store counts its own, and any other where it shares its count.

A backend's test file makes a subclass of `StoreContract` whose name starts
with `Test` and overrides the fixture `backend`.
"""

import select
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calico.model.errors import Compacted, Conflict, LeaseExpired, StoreWentBack
from calico.store.api import (
    NO_REVISION,
    Batch,
    Change,
    Compare,
    Delete,
    DeletePrefix,
    KeyRevision,
    KeyValue,
    Note,
    Operation,
    Put,
    Revision,
    Scope,
    Store,
    Survey,
    Transaction,
    View,
    Watch,
)

NOTE = Note("alice", "host-1", "calicoctl profile add WEB", "because")
DEADLINE_S = 10.0
TTL_S = 60.0


class Backend(ABC):
    """One store, and what a test needs around it.

    Attributes:
        ttl_s: A time for leases to live that the test can wait for.
        n_examples: How many series of transactions to try.
        forgets_ends: `last_change` does not count what the end of a lease deletes.
    """

    ttl_s = TTL_S
    forgets_ends = False
    n_examples = 40

    @abstractmethod
    def open(self) -> Store:
        """Return a client of the store, independent of the other clients."""

    @abstractmethod
    def pass_time(self, seconds: float) -> None:
        """Let leases age; by a clock of its own, or by waiting."""

    @abstractmethod
    def fresh(self) -> "Backend":
        """Return another store, which is empty."""


def change(*operations: Operation, compares: tuple[Compare, ...] = ()) -> Transaction:
    return Transaction(compares, operations, NOTE)


def put(store: Store, key: str, value: bytes = b"v") -> Revision:
    return store.commit(change(Put(key, value)))


def counted(store: Store) -> Callable[[int], Revision]:
    """Return what gives a revision its number, counted from now on."""
    begun = store.list_prefix("/").revision
    return lambda number: Revision(begun + number)


def keys(store: Store, prefix: str = "") -> list[str]:
    return [kv.key for kv in store.list_prefix(prefix).items]


def read_until(watch: Watch, revision: Revision) -> list[Batch]:
    """Read on until a revision has been delivered or passed."""
    batches = list(watch.read(0))
    until = time.monotonic() + DEADLINE_S
    while watch.revision < revision:
        batches.extend(watch.read(0.05))
        assert time.monotonic() < until, "the watch went silent"
    return batches


class StoreContract:
    """Subclass it, and override `backend`."""

    @pytest.fixture
    def backend(self) -> Backend:
        raise NotImplementedError

    @pytest.fixture
    def store(self, backend: Backend) -> Iterator[Store]:
        store = backend.open()
        yield store
        store.close()

    @pytest.fixture
    def other(self, backend: Backend) -> Iterator[Store]:
        store = backend.open()
        yield store
        store.close()

    @pytest.fixture
    def watch(self, store: Store) -> Iterator[Callable[..., Watch]]:
        opened: list[Watch] = []

        begun = store.list_prefix("/").revision

        def start(prefix: str = "", after: Revision = begun) -> Watch:
            opened.append(store.watch(prefix, after))
            return opened[-1]

        yield start
        for watch in opened:
            watch.close()

    # Reading and writing.

    def test_new_store_is_empty(self, store: Store) -> None:
        assert store.list_prefix("").items == ()
        assert store.survey("", NO_REVISION).n_keys == 0
        assert store.get("/a") is None
        assert store.last_change(("/",)) == 0
        assert store.history() == ()

    def test_every_client_sees_the_same_store(
        self, store: Store, other: Store, backend: Backend
    ) -> None:
        put(store, "/a")
        assert other.get("/a") == store.get("/a")
        assert other.store_id == store.store_id
        stranger = backend.fresh().open()
        assert stranger.store_id != store.store_id
        stranger.close()

    def test_put_keeps_created_and_moves_modified(self, store: Store) -> None:
        at = counted(store)
        put(store, "/a", b"1")
        put(store, "/b", b"2")
        put(store, "/a", b"3")
        assert store.get("/a") == KeyValue("/a", b"3", at(1), at(3))

    def test_put_after_delete_is_created_anew(self, store: Store) -> None:
        at = counted(store)
        put(store, "/a")
        store.commit(change(Delete("/a")))
        put(store, "/a")
        assert store.get("/a") == KeyValue("/a", b"v", at(3), at(3))

    def test_transaction_makes_one_revision_of_all_its_keys(self, store: Store) -> None:
        at = counted(store)
        revision = store.commit(change(Put("/b", b"2"), Put("/a", b"1"), Delete("/x")))
        assert [(kv.key, kv.modified) for kv in store.list_prefix("/").items] == [
            ("/a", revision),
            ("/b", revision),
        ]
        assert revision == at(1)

    def test_survey_counts_all_and_names_what_is_newer(self, store: Store) -> None:
        first = store.commit(change(Put("/a", b"1"), Put("/b", b"2"), Put("/c", b"3")))
        store.commit(change(Delete("/c")))
        put(store, "/elsewhere")
        newest = put(store, "/b")
        found = store.survey("/", first)
        assert found.n_keys == 3
        assert found.modified[0] == KeyRevision("/b", newest)
        assert [item.key for item in found.modified] == ["/b", "/elsewhere"]
        assert found.revision == newest
        assert store.survey("/b", newest) == Survey((), 1, newest)
        assert store.survey("/none", NO_REVISION) == Survey((), 0, newest)

    def test_putting_the_same_value_is_a_change(self, store: Store) -> None:
        first = put(store, "/a", b"1")
        assert put(store, "/a", b"1") == first + 1

    def test_nothing_to_do_returns_the_current_revision(self, store: Store) -> None:
        present = put(store, "/a")
        assert store.commit(change(Delete("/x"), DeletePrefix("/y/"))) == present
        assert store.commit(change()) == present
        assert store.history()[0].revision == present

    def test_values_are_kept_byte_for_byte(self, store: Store) -> None:
        for value in (b"", b"\0", bytes(range(256)), b"x" * 600_000):
            put(store, "/a", value)
            found = store.get("/a")
            assert found is not None
            assert found.value == value

    def test_listing_is_sorted_and_stays_below_its_prefix(self, store: Store) -> None:
        names = ("/a", "/a/", "/a/b", "/a/b/c", "/a0", "/a/é", "/a/\U0001f600", "/b")
        for name in reversed(names):
            put(store, name)
        assert keys(store, "/a/") == ["/a/", "/a/b", "/a/b/c", "/a/é", "/a/\U0001f600"]
        assert keys(store) == sorted(names)
        assert keys(store, "/\U0010ffff") == []

    def test_delete_prefix_deletes_what_starts_with_it(self, store: Store) -> None:
        for name in ("/a", "/a/1", "/a/2", "/ab"):
            put(store, name)
        store.commit(change(DeletePrefix("/a/"), Delete("/absent")))
        assert keys(store) == ["/a", "/ab"]
        store.commit(change(DeletePrefix("/a"), DeletePrefix("/ab")))
        assert keys(store) == []

    # Compare and set.

    def test_compare_with_the_revision_read_succeeds(self, store: Store) -> None:
        seen = put(store, "/a")
        compares = (Compare("/a", seen), Compare("/b", NO_REVISION))
        assert store.commit(change(Put("/b", b""), compares=compares)) == seen + 1

    @pytest.mark.parametrize(
        ("key", "expected", "found"),
        [("/a", 1, 2), ("/a", None, 2), ("/absent", 1, None), ("/deleted", 3, None)],
    )
    def test_compare_that_does_not_hold_changes_nothing(
        self, store: Store, key: str, expected: int | None, found: int | None
    ) -> None:
        at = counted(store)
        compare = Compare(key, NO_REVISION if expected is None else at(expected))
        put(store, "/a", b"1")
        put(store, "/a", b"2")
        put(store, "/deleted")
        before = store.commit(change(Delete("/deleted")))
        with pytest.raises(Conflict) as caught:
            store.commit(
                change(Put("/new", b""), DeletePrefix("/a"), compares=(compare,))
            )
        error = caught.value
        assert (error.key, error.expected, error.found) == (
            compare.key,
            compare.modified,
            NO_REVISION if found is None else at(found),
        )
        assert keys(store) == ["/a"]
        assert store.list_prefix("").revision == before

    # Read, decide, write.

    def test_update_shows_the_scope_and_writes(self, store: Store) -> None:
        at = counted(store)
        for name in ("/k", "/p/2", "/p/1", "/q"):
            put(store, name)
        seen: list[View] = []

        def decide(view: View) -> tuple[Transaction, str]:
            seen.append(view)
            return change(Put("/k", b"new")), "result"

        scope = Scope(keys=("/k", "/absent"), prefixes=("/p/",))
        assert store.update(scope, decide) == (at(5), "result")
        (view,) = seen
        assert list(view.items) == ["/k", "/p/1", "/p/2"]
        assert [kv.key for kv in view.below("/p/")] == ["/p/1", "/p/2"]
        assert view.get("/absent") is None
        assert view.revision == at(4)

    def test_update_that_wants_no_change_makes_none(self, store: Store) -> None:
        seen = put(store, "/a")
        found = store.update(Scope(("/a",)), lambda view: (None, len(view.items)))
        assert found == (seen, 1)

    def test_error_in_update_changes_nothing_and_store_goes_on(
        self, store: Store
    ) -> None:
        def decide(_: View) -> tuple[None, None]:
            raise KeyError("no such profile")

        at = counted(store)
        with pytest.raises(KeyError):
            store.update(Scope(("/a",)), decide)
        assert put(store, "/a") == at(1)

    def test_compare_inside_update_is_checked(self, store: Store) -> None:
        put(store, "/a")
        bad = change(Put("/b", b""), compares=(Compare("/a", NO_REVISION),))
        with pytest.raises(Conflict):
            store.update(Scope(), lambda _: (bad, None))
        assert keys(store) == ["/a"]

    # Old revisions.

    def test_listing_shows_any_remembered_revision(self, store: Store) -> None:
        at = counted(store)
        put(store, "/a", b"1")
        put(store, "/b", b"1")
        store.commit(change(Put("/a", b"2"), Delete("/b"), Put("/c", b"1")))
        put(store, "/b", b"2")
        begun = at(0)
        shown = [
            [
                (kv.key, kv.value, kv.created - begun, kv.modified - begun)
                for kv in listing.items
            ]
            for listing in (store.list_prefix("/", at=at(r)) for r in range(5))
        ]
        assert shown == [
            [],
            [("/a", b"1", 1, 1)],
            [("/a", b"1", 1, 1), ("/b", b"1", 2, 2)],
            [("/a", b"2", 1, 3), ("/c", b"1", 3, 3)],
            [("/a", b"2", 1, 3), ("/b", b"2", 4, 4), ("/c", b"1", 3, 3)],
        ]

    def test_listing_of_the_future_is_refused(self, store: Store) -> None:
        newest = put(store, "/a")
        with pytest.raises(StoreWentBack):
            store.list_prefix("/", at=Revision(newest + 1))

    def test_compaction_forgets_the_past_and_nothing_else(self, store: Store) -> None:
        at = counted(store)
        for value in (b"1", b"2", b"3", b"4", b"5"):
            put(store, "/a", value)
        store.compact(at(4))
        with pytest.raises(Compacted) as caught:
            store.list_prefix("/", at=at(2))
        assert (caught.value.asked, caught.value.oldest) == (at(2), at(4))
        assert store.list_prefix("/", at=at(4)).items[0].value == b"4"
        assert store.list_prefix("/").items[0].value == b"5"
        assert store.last_change(("/a",)) == at(5)

    def test_last_change_survives_compaction_for_what_is_there(
        self, store: Store
    ) -> None:
        first = put(store, "/a")
        store.compact(put(store, "/b"))
        assert store.last_change(("/a",)) == first

    def test_last_change_counts_deletions_and_only_its_prefixes(
        self, store: Store
    ) -> None:
        at = counted(store)
        put(store, "/p/a")
        put(store, "/q/a")
        store.commit(change(Delete("/p/a")))
        put(store, "/status")
        assert store.last_change(("/p/",)) == at(3)
        assert store.last_change(("/p/a",)) == at(3)
        assert store.last_change(("/p/b",)) == 0
        assert store.last_change(("/q/",)) == at(2)
        assert store.last_change(("/p/", "/q/")) == at(3)
        assert store.last_change(("/none/",)) == 0
        assert store.last_change(()) == 0
        for prefixes in (("/p/",), ("/p/", "/q/"), ("/p/b",), ("/none/",), ()):
            shown = store.last_change(prefixes, store.list_prefix("/"))
            assert shown == store.last_change(prefixes)

    def test_history_tells_who_did_what_newest_first(self, store: Store) -> None:
        at = counted(store)
        store.commit(change(Put("/b", b""), Put("/a", b"")))
        put(store, "/q")
        store.commit(change(DeletePrefix("/a")))
        entries = store.history()
        assert [(e.revision, e.keys) for e in entries] == [
            (at(3), ("/a",)),
            (at(2), ("/q",)),
            (at(1), ("/a", "/b")),
        ]
        assert all(entry.note == NOTE for entry in entries)
        assert [e.revision for e in store.history("/a")] == [at(3), at(1)]
        assert store.history("/a")[1].keys == ("/a",)
        assert [e.revision for e in store.history(before=at(3))] == [at(2), at(1)]
        assert [e.revision for e in store.history(limit=1)] == [at(3)]

    # Watching.

    def test_watch_delivers_whole_revisions_in_order(
        self, store: Store, watch: Callable[..., Watch]
    ) -> None:
        at = counted(store)
        started = watch("/p/")
        store.commit(change(Put("/p/b", b"1"), Put("/p/a", b"1"), Put("/q", b"")))
        put(store, "/q")
        store.commit(change(Delete("/p/a"), Put("/p/b", b"2")))
        assert read_until(started, at(3)) == [
            Batch(at(1), (Change("/p/a", b"1"), Change("/p/b", b"1"))),
            Batch(at(3), (Change("/p/a", None), Change("/p/b", b"2"))),
        ]

    def test_watch_resumes_after_any_revision(
        self, store: Store, watch: Callable[..., Watch]
    ) -> None:
        at = counted(store)
        for number in range(6):
            put(store, f"/{number}")
        everything = read_until(watch("", at(0)), at(6))
        for after in range(6):
            rest = read_until(watch("", at(after)), at(6))
            assert rest == everything[after:]

    def test_watch_moves_on_over_what_it_does_not_show(
        self, store: Store, watch: Callable[..., Watch]
    ) -> None:
        at = counted(store)
        started = watch("/p/")
        for _ in range(3):
            put(store, "/q")
        assert started.read(0) == ()
        assert started.revision == at(3)
        store.compact(at(3))
        put(store, "/p/a")
        assert [b.revision for b in read_until(started, at(4))] == [at(4)]

    def test_watch_that_has_nothing_returns_at_its_time(
        self, store: Store, watch: Callable[..., Watch]
    ) -> None:
        started = watch("", put(store, "/a"))
        assert started.read(0) == ()
        assert started.read(0.05) == ()

    def test_watch_of_a_forgotten_revision_says_so(
        self, store: Store, watch: Callable[..., Watch]
    ) -> None:
        at = counted(store)
        for _ in range(6):
            put(store, "/a")
        store.compact(at(5))
        with pytest.raises(Compacted) as caught:
            watch("", at(2)).read(DEADLINE_S)
        assert (caught.value.asked, caught.value.oldest) == (at(2), at(5))

    def test_watch_sees_what_other_clients_write(
        self, other: Store, watch: Callable[..., Watch]
    ) -> None:
        started = watch("/")
        assert started.read(0) == ()
        revision = put(other, "/a", b"1")
        assert read_until(started, revision) == [Batch(revision, (Change("/a", b"1"),))]

    def test_descriptor_is_readable_when_there_is_something_to_read(
        self, other: Store, watch: Callable[..., Watch]
    ) -> None:
        started = watch("/")
        revision = put(other, "/a")
        got: list[Batch] = []
        while not got:
            assert select.select([started.fileno()], [], [], DEADLINE_S)[0]
            got.extend(started.read(0))
        assert [batch.revision for batch in got] == [revision]

    def test_long_history_is_delivered_without_gap(
        self, store: Store, watch: Callable[..., Watch]
    ) -> None:
        at = counted(store)
        for number in range(0, 2500, 100):
            put(store, f"/{number}")
        read = read_until(watch("", at(0)), at(25))
        assert [batch.revision for batch in read] == [at(n) for n in range(1, 26)]

    # Leases.

    def test_keys_of_an_expired_lease_are_gone(
        self, store: Store, other: Store, backend: Backend
    ) -> None:
        lease = store.grant(backend.ttl_s)
        store.commit(change(Put("/leased", b"", lease), Put("/kept", b"")))
        assert keys(other) == ["/kept", "/leased"]
        backend.pass_time(backend.ttl_s * 1.1)
        assert other.get("/leased") is None
        assert keys(other) == ["/kept"]
        assert other.update(Scope(("/leased",)), lambda v: (None, len(v.items)))[1] == 0
        compares = (Compare("/leased", NO_REVISION),)
        other.commit(change(Put("/leased", b"again"), compares=compares))
        assert keys(store) == ["/kept", "/leased"]

    def test_expiry_reaches_a_watch_as_a_revision(
        self, store: Store, backend: Backend, watch: Callable[..., Watch]
    ) -> None:
        lease = store.grant(backend.ttl_s)
        seen = store.commit(change(Put("/b", b"", lease), Put("/a", b"", lease)))
        started = watch("/", seen)
        assert started.read(0) == ()
        backend.pass_time(backend.ttl_s * 1.1)
        got: list[Batch] = []
        until = time.monotonic() + DEADLINE_S
        while not got:
            assert time.monotonic() < until, "the watch went silent"
            got.extend(started.read(0.05))
        gone = Revision(seen + 1)
        assert got == [Batch(gone, (Change("/a", None), Change("/b", None)))]
        assert store.last_change(("/a",)) == (seen if backend.forgets_ends else gone)

    def test_lease_kept_alive_lives_on(self, store: Store, backend: Backend) -> None:
        lease = store.grant(backend.ttl_s)
        revision = store.commit(change(Put("/a", b"", lease)))
        for _ in range(3):
            backend.pass_time(backend.ttl_s * 0.7)
            store.keep_alive(lease)
        assert keys(store) == ["/a"]
        assert store.list_prefix("").revision == revision
        backend.pass_time(backend.ttl_s * 1.1)
        assert keys(store) == []

    def test_revoked_lease_takes_its_keys_along(
        self, store: Store, backend: Backend
    ) -> None:
        at = counted(store)
        lease = store.grant(backend.ttl_s)
        store.commit(change(Put("/a", b"", lease), Put("/b", b"")))
        store.revoke(lease)
        assert keys(store) == ["/b"]
        store.revoke(lease)
        assert store.list_prefix("").revision == at(2)

    def test_lease_that_is_over_is_refused(
        self, store: Store, backend: Backend
    ) -> None:
        expired, revoked = store.grant(backend.ttl_s), store.grant(backend.ttl_s)
        store.revoke(revoked)
        backend.pass_time(backend.ttl_s * 1.1)
        for lease in (expired, revoked):
            with pytest.raises(LeaseExpired) as caught:
                store.keep_alive(lease)
            assert caught.value.lease == lease
            with pytest.raises(LeaseExpired):
                store.commit(change(Put("/x", b""), Put("/a", b"", lease)))
        assert keys(store) == []

    def test_last_put_decides_on_the_lease(
        self, store: Store, backend: Backend
    ) -> None:
        short, long = store.grant(backend.ttl_s), store.grant(backend.ttl_s * 10)
        store.commit(change(*(Put(key, b"", short) for key in ("/a", "/b", "/c"))))
        put(store, "/a")
        store.commit(change(Put("/b", b"", long)))
        backend.pass_time(backend.ttl_s * 1.1)
        assert keys(store) == ["/a", "/b"]
        store.revoke(long)
        assert keys(store) == ["/a"]

    # All of it, against a model.

    def test_any_transactions_agree_with_a_mapping(self, backend: Backend) -> None:
        # Made here, so that each store has a function of its own for Hypothesis.
        @settings(max_examples=backend.n_examples, deadline=None)
        @given(plan=st.lists(_steps, max_size=12))
        def agree(plan: list[tuple[Operation, ...]]) -> None:
            store = backend.fresh().open()
            try:
                at = counted(store)
                check_against(store, _play_all(store, plan), at)
                store.verify()
            finally:
                store.close()

        agree()


_names = st.sampled_from(["/a", "/a/1", "/a/2", "/ab", "/b", "/b/é"])
_puts = st.builds(Put, key=_names, value=st.binary(max_size=3))
_deletes = st.builds(Delete, key=_names)
_prefixes = st.builds(DeletePrefix, prefix=st.sampled_from(["/", "/a", "/a/", "/b/"]))


def _is_transaction(operations: tuple[Operation, ...]) -> bool:
    try:
        Transaction((), operations, NOTE)
    except ValueError:
        return False
    return True


_steps = (
    st.lists(_puts | _deletes | _prefixes, max_size=4)
    .map(tuple)
    .filter(_is_transaction)
)


def _play(
    state: dict[str, bytes], operations: tuple[Operation, ...]
) -> dict[str, bytes] | None:
    """Return the state after a transaction, or `None` if it changes nothing."""
    puts = {o.key: o.value for o in operations if isinstance(o, Put)}
    gone = {o.key for o in operations if isinstance(o, Delete)}
    below = tuple(o.prefix for o in operations if isinstance(o, DeletePrefix))
    left = {
        key: value
        for key, value in state.items()
        if key not in gone and not key.startswith(below)
    }
    return left | puts if puts or left != state else None


def _play_all(
    store: Store, plan: list[tuple[Operation, ...]]
) -> list[dict[str, bytes]]:
    """Commit transactions, and return the state of the model at each revision."""
    states: list[dict[str, bytes]] = [{}]
    at = counted(store)
    for step in plan:
        wanted = _play(states[-1], step)
        revision = store.commit(Transaction((), step, NOTE))
        if wanted is not None:
            states.append(wanted)
        assert revision == at(len(states) - 1)
    return states


def check_against(
    store: Store, states: list[dict[str, bytes]], at: Callable[[int], Revision]
) -> None:
    """Check every revision as listed, and as replayed by watches."""
    for number, state in enumerate(states):
        listed = store.list_prefix("", at=at(number))
        assert {kv.key: kv.value for kv in listed.items} == state
    newest = len(states) - 1
    for prefix in ("", "/a/"):
        for after in (0, newest // 2):
            below = {k: v for k, v in states[after].items() if k.startswith(prefix)}
            watch = store.watch(prefix, at(after))
            for batch in read_until(watch, at(newest)):
                for done in batch.changes:
                    if done.value is None:
                        del below[done.key]
                    else:
                        below[done.key] = done.value
                assert below == {
                    k: v
                    for k, v in states[batch.revision - at(0)].items()
                    if k.startswith(prefix)
                }
            watch.close()
            assert below == {
                k: v for k, v in states[newest].items() if k.startswith(prefix)
            }
