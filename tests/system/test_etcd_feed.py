"""Following policy in an etcd that is emptied, swapped, set back or compacted."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest
from etcd_backend import EtcdBackend
from etcd_servers import EtcdCluster, etcd_cluster
from store_contract import DEADLINE_S, change

from calico.codec.keys import POLICY_PREFIX
from calico.model.errors import Unavailable
from calico.model.names import ProfileId
from calico.model.snapshot import ProfileTagsKey, ReadyKey
from calico.store.api import (
    Batch,
    Delete,
    DeletePrefix,
    Listing,
    Put,
    Revision,
    Store,
    Watch,
)
from calico.store.etcd import open_etcd
from calico.store.etcd_place import read_place
from calico.store.feed import Changes, Everything, FeedEvent, PolicyFeed
from calico.store.following import EventsLost, StoreAnswers, StoreSilent

pytestmark = pytest.mark.system

N_PROFILES = 25


class OverError(Exception):
    """Nobody follows any more."""


class Follower:
    """A feed in a thread of its own; ends when its store is closed to it."""

    def __init__(self, opening: Callable[[], Store], every_s: float = 600.0) -> None:
        self._opening = opening
        self._is_over = False
        self._found: SimpleQueue[FeedEvent] = SimpleQueue()
        feed = PolicyFeed(self._open, compare_every_s=every_s)
        self._thread = threading.Thread(target=self._run, args=(feed,), daemon=True)
        self._thread.start()

    def _open(self) -> Store:
        if self._is_over:
            raise OverError
        return self._opening()

    def _run(self, feed: PolicyFeed) -> None:
        with suppress(OverError):
            for event in feed.events():
                self._found.put(event)
                if self._is_over:
                    return

    def next(self) -> FeedEvent:
        return self._found.get(timeout=3 * DEADLINE_S)

    def until(self, kind: type[FeedEvent]) -> tuple[list[FeedEvent], FeedEvent]:
        """Return what comes before the first event of a kind, and that."""
        before: list[FeedEvent] = []
        while not isinstance(event := self.next(), kind):
            before.append(event)
        return before, event

    def nothing_more(self) -> bool:
        try:
            self._found.get_nowait()
        except Empty:
            return True
        return False

    def end(self) -> None:
        self._is_over = True


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path / "etcd") as started:
        yield started


@pytest.fixture
def store(cluster: EtcdCluster) -> Iterator[Store]:
    opened = EtcdBackend(cluster).open()
    opened.commit(change(Put("/calico/v1/Ready", b"true")))
    for number in range(N_PROFILES):
        opened.commit(change(Put(tags(number), b'["A"]')))
    yield opened
    opened.close()


@pytest.fixture
def follow(cluster: EtcdCluster) -> Iterator[Callable[..., Follower]]:
    started: list[Follower] = []

    def begin(
        wrap: Callable[[Store], Store] = lambda s: s, every_s: float = 600.0
    ) -> Follower:
        place = read_place(cluster.settings())
        started.append(
            Follower(lambda: wrap(open_etcd(place, may_make=False)), every_s)
        )
        return started[-1]

    yield begin
    for each in started:
        each.end()


def tags(number: int) -> str:
    return f"/calico/v1/policy/profile/P{number:02}/tags"


def key(number: int) -> ProfileTagsKey:
    return ProfileTagsKey(ProfileId(f"P{number:02}"))


def is_deletion(event: FeedEvent) -> bool:
    return isinstance(event, Changes) and any(value is None for _, value in event.items)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("prefix", ["/calico/", "/calico/v1/"])
def test_emptied_etcd_takes_no_policy_away(
    cluster: EtcdCluster, follow: Callable[..., Follower], prefix: str
) -> None:
    follower = follow()
    first = follower.next()
    assert isinstance(first, Everything)
    assert len(first.items) == N_PROFILES + 1
    gone = cluster.etcdctl("del", "--prefix", prefix).stdout
    assert int(gone) > N_PROFILES
    before, said = follower.until(StoreSilent)
    assert not any(map(is_deletion, before))
    assert isinstance(said, StoreSilent)
    wanted = "holds no Calico data" if prefix == "/calico/" else "it was emptied"
    assert wanted in said.reason
    # Somebody begins anew in it: that is not what we followed.
    again = open_etcd(read_place(cluster.settings()), may_make=True)
    again.commit(change(Put("/calico/v1/Ready", b"true"), Put(tags(0), b'["B"]')))
    again.close()
    before = [follower.next() for _ in range(4)]
    assert all(isinstance(event, StoreSilent) for event in before)
    # A restart is what confirms it.
    restarted = follow().next()
    assert isinstance(restarted, Everything)
    assert dict(restarted.items) == {ReadyKey(): True, key(0): ("B",)}


def test_older_state_that_is_restored_is_not_believed(
    cluster: EtcdCluster, store: Store, follow: Callable[..., Follower]
) -> None:
    (member,) = cluster.members
    kept = cluster.directory / "kept"
    member.kill()
    shutil.copytree(member.data, kept)
    member.start()
    cluster.wait_until_healthy()
    store.commit(change(Put(tags(0), b'["NEW"]')))
    follower = follow()
    assert isinstance(follower.next(), Everything)
    member.kill()
    shutil.rmtree(member.data)
    shutil.move(kept, member.data)
    member.start()
    cluster.wait_until_healthy()

    def says(words: str) -> bool:
        before, said = follower.until(StoreSilent)
        assert not any(isinstance(e, Everything | Changes) for e in before)
        return isinstance(said, StoreSilent) and words in said.reason

    while not says("has been at"):
        pass
    # It goes on from there, past the revision that was seen.
    other = open_etcd(read_place(cluster.settings()), may_make=False)
    for _ in range(5):
        other.commit(change(Put(tags(1), b'["OTHER"]')))
    other.close()
    while not says("has another past"):
        pass


def test_many_missing_objects_are_confirmed_before_they_go(
    store: Store, follow: Callable[..., Follower]
) -> None:
    n_breaks = [0]

    class Breaking:
        """A store whose first watch is lost after something was forgotten."""

        def __init__(self, inner: Store) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> object:
            if name == "watch" and not n_breaks[0]:
                n_breaks[0] += 1
                gone = [f"/calico/v1/policy/profile/P{n}" for n in (0, 1)]
                store.commit(change(*map(DeletePrefix, gone)))
                newest = store.commit(change(Put("/calico/felix/x", b"")))
                store.compact(newest)
                raise Unavailable("there", "broken")
            return getattr(self._inner, name)

    follower = follow(Breaking)
    first = follower.next()
    assert isinstance(first, Everything)
    _, broken = follower.until(StoreSilent)
    assert broken == StoreSilent("there: broken")
    before, held = follower.until(StoreSilent)
    assert n_breaks == [1]
    assert not any(isinstance(event, Everything | Changes) for event in before)
    assert isinstance(held, StoreSilent)
    assert "much of what it held is missing" in held.reason
    assert follower.nothing_more()
    store.commit(change(Put("/calico/felix/v1/host/h/status", b"{}")))
    _, second = follower.until(Everything)
    assert isinstance(second, Everything)
    assert len(second.items) == N_PROFILES + 1 - 20


def test_what_others_put_after_a_listing_hides_no_deletion_before_it(
    cluster: EtcdCluster, store: Store, follow: Callable[..., Follower]
) -> None:
    class Meddled:
        """A store to which another program adds while it is listed."""

        def __init__(self, inner: Store) -> None:
            self._inner = inner

        def list_prefix(self, prefix: str, at: Revision | None = None) -> Listing:
            listing = self._inner.list_prefix(prefix, at)
            if prefix == POLICY_PREFIX:
                cluster.etcdctl("put", tags(N_PROFILES), '["LATER"]')
            return listing

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

    deleted = store.commit(change(Delete(tags(0))))
    follower = follow(Meddled)
    first = follower.next()
    assert isinstance(first, Everything)
    assert first.revision == deleted
    _, later = follower.until(Changes)
    assert isinstance(later, Changes)
    assert [changed for changed, _ in later.items] == [key(N_PROFILES)]


def test_event_that_never_came_is_found_and_repaired(
    store: Store, follow: Callable[..., Follower]
) -> None:
    lost: list[Batch] = []

    class Forgetful:
        """A watch that loses the first change."""

        def __init__(self, inner: Watch) -> None:
            self._inner = inner

        def read(self, timeout_s: float | None) -> tuple[Batch, ...]:
            batches = self._inner.read(timeout_s)
            if batches and not lost:
                lost.append(batches[0])
                return batches[1:]
            return batches

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

    class Losing:
        def __init__(self, inner: Store) -> None:
            self._inner = inner

        def watch(self, prefix: str, after: Revision) -> Forgetful:
            return Forgetful(self._inner.watch(prefix, after))

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

    follower = follow(Losing, 1.0)
    assert isinstance(follower.next(), Everything)
    store.commit(change(Put(tags(0), b'["NEW"]')))
    _, differed = follower.until(EventsLost)
    assert [batch.changes[0].key for batch in lost] == [tags(0)]
    assert isinstance(differed, EventsLost)
    assert tags(0) in differed.reason
    everything = follower.next()
    assert isinstance(everything, Everything)
    assert dict(everything.items)[key(0)] == ("NEW",)


def test_feed_goes_on_over_an_outage(
    cluster: EtcdCluster, store: Store, follow: Callable[..., Follower]
) -> None:
    follower = follow()
    assert isinstance(follower.next(), Everything)
    (member,) = cluster.members
    member.kill()
    _, said = follower.until(StoreSilent)
    assert isinstance(said, StoreSilent)
    assert "Connection refused" in said.reason
    member.start()
    cluster.wait_until_healthy()
    store.commit(change(Put(tags(0), b'["NEW"]')))
    _, changes = follower.until(Changes)
    assert isinstance(changes, Changes)
    assert changes.items == [(key(0), ("NEW",))]
    assert follower.nothing_more() or isinstance(follower.next(), StoreAnswers)


def test_watch_does_not_go_on_in_an_etcd_that_was_swapped(
    cluster: EtcdCluster, store: Store
) -> None:
    (member,) = cluster.members
    seen = store.list_prefix("/").revision
    watch = store.watch("/calico/v1/", seen)
    try:
        store.commit(change(Put(tags(0), b'["B"]')))
        assert [batch.changes[0].key for batch in watch.read(DEADLINE_S)] == [tags(0)]
        # Nobody reads while it is away, so nobody hears of that.
        member.kill()
        shutil.rmtree(member.data)
        member.start()
        cluster.wait_until_healthy()
        other = open_etcd(read_place(cluster.settings()), may_make=True)
        while other.commit(change(Put(tags(0), b'["OTHER"]'))) <= seen + 10:
            pass
        other.close()

        def read_until_refused() -> None:
            while True:
                assert watch.read(DEADLINE_S) == ()

        with pytest.raises(Unavailable, match=r"is another datastore|but has been at"):
            read_until_refused()
    finally:
        watch.close()
