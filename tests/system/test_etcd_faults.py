"""Members that end, freeze or are alone: nothing is lost, doubled or misplaced."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from etcd_backend import EtcdBackend
from etcd_servers import Authority, EtcdCluster, Member, etcd_cluster, wait_for
from store_contract import DEADLINE_S, change, counted, put

from calico.model.errors import (
    Compacted,
    Conflict,
    OutcomeUnknown,
    TransactionTooLarge,
    Unavailable,
)
from calico.store.api import (
    NO_REVISION,
    Batch,
    Compare,
    Delete,
    Put,
    Revision,
    Scope,
    Transaction,
    View,
    Watch,
)
from calico.store.etcd import EtcdStore, open_etcd
from calico.store.etcd_place import read_place

pytestmark = pytest.mark.system

N_WRITERS = 3
N_ENDS = 2


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    directory: Path = tmp_path_factory.mktemp("etcd")
    authority = Authority(directory / "tls")
    with etcd_cluster(directory, size=3, authority=authority) as cluster:
        yield cluster


@pytest.fixture
def cluster(three: EtcdCluster) -> Iterator[EtcdCluster]:
    """Give the cluster whole, and mend it afterwards."""
    EtcdBackend(three)
    yield three
    for member in three.members:
        if member.process is None:
            member.start()
        else:
            member.thaw()
    three.wait_until_healthy()


def opening(cluster: EtcdCluster, *members: Member) -> EtcdStore:
    urls = [member.url for member in members]
    return open_etcd(read_place(cluster.settings(*urls)), may_make=True)


class Writer:
    """Counts a key up by compare-and-set, and notes what it was told."""

    def __init__(self, cluster: EtcdCluster, name: str) -> None:
        self.key = f"/calico/v1/{name}"
        self.acknowledged: list[tuple[Revision, int]] = []
        self.n_unknown = 0
        self.is_over = threading.Event()
        self._cluster = cluster
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self.is_over.set()
        self._thread.join()

    def _run(self) -> None:
        store = opening(self._cluster)
        while not self.is_over.is_set():
            try:
                self._count(store)
            except OutcomeUnknown:
                self.n_unknown += 1
            except (Unavailable, Conflict):
                continue
        store.close()

    def _count(self, store: EtcdStore) -> None:
        found = store.get(self.key)
        number = int(found.value) + 1 if found else 1
        seen = found.modified if found else NO_REVISION
        made = change(
            Put(self.key, b"%d" % number), compares=(Compare(self.key, seen),)
        )
        self.acknowledged.append((store.commit(made), number))


def have_gone_on(writers: list[Writer], n_before: list[int]) -> bool:
    return all(
        len(writer.acknowledged) > number + 5
        for writer, number in zip(writers, n_before, strict=True)
    )


def read_to(watch: Watch, revision: Revision) -> list[Batch]:
    """Read until a revision has come; the watch may be lost on the way."""
    found: list[Batch] = []
    until = time.monotonic() + 20.0
    while not found or found[-1].revision < revision:
        assert time.monotonic() < until, "the watch went silent"
        try:
            found.extend(watch.read(0.5))
        except Unavailable:
            continue
    return found


@pytest.mark.parametrize("end", [Member.kill, Member.end])
def test_leader_ended_again_and_again_loses_nothing(
    cluster: EtcdCluster, end: Callable[[Member], None]
) -> None:
    store = opening(cluster)
    begun = put(store, "/calico/v1/begin")
    watch = store.watch("/calico/v1/", begun)
    writers = [Writer(cluster, f"w{number}") for number in range(N_WRITERS)]
    ended: list[Member] = []
    try:
        for _ in range(N_ENDS):
            n_before = [len(writer.acknowledged) for writer in writers]
            leader = cluster.leader()
            end(leader)
            ended.append(leader)
            wait_for(partial(have_gone_on, writers, n_before), "writes to go on")
            leader.start()
            cluster.wait_until_healthy()
    finally:
        for writer in writers:
            writer.end()
    last = put(store, "/calico/v1/end")
    batches = read_to(watch, last)
    watch.close()
    assert len(ended) == N_ENDS
    revisions = [batch.revision for batch in batches]
    assert revisions == sorted(set(revisions))
    seen = {
        (batch.revision, each.key, each.value)
        for batch in batches
        for each in batch.changes
    }
    for writer in writers:
        told = {(at, writer.key, b"%d" % number) for at, number in writer.acknowledged}
        assert told <= seen
        shown = [
            int(each.value or b"0")
            for batch in batches
            for each in batch.changes
            if each.key == writer.key
        ]
        # Each number once and in order: also what nobody knew the outcome of.
        assert shown == list(range(1, len(shown) + 1))
        assert len(told) <= len(shown) <= len(told) + writer.n_unknown
    store.close()


def test_watch_leaves_a_frozen_member_for_another(cluster: EtcdCluster) -> None:
    leader = cluster.leader()
    frozen = next(each for each in cluster.members if each is not leader)
    others = [each for each in cluster.members if each is not frozen]
    follower = opening(cluster, frozen, *others)
    watch = follower.watch("/calico/v1/", put(follower, "/calico/v1/begin"))
    assert watch.read(0) == ()
    frozen.freeze()
    writer = opening(cluster, *others)
    revision = put(writer, "/calico/v1/end")
    assert [batch.revision for batch in read_to(watch, revision)] == [revision]
    # It is frozen still, so this came from another member.
    with pytest.raises(Unavailable):
        opening(cluster, frozen)
    got = follower.get("/calico/v1/end")
    assert got is not None
    assert got.modified == revision
    watch.close()
    follower.close()
    writer.close()


def test_write_to_a_member_that_freezes_has_no_known_outcome(
    cluster: EtcdCluster,
) -> None:
    member = cluster.members[0]
    store = opening(cluster, member)
    put(store, "/calico/v1/a", b"1")
    member.freeze()
    with pytest.raises(OutcomeUnknown) as caught:
        put(store, "/calico/v1/a", b"2")
    assert caught.value.where == member.url
    member.thaw()
    # Looking tells: it is one or the other, and a compare makes trying again safe.
    found = store.get("/calico/v1/a")
    assert found is not None
    assert found.value in {b"1", b"2"}
    store.close()


def test_member_without_quorum_answers_nothing(cluster: EtcdCluster) -> None:
    alone, *others = cluster.members
    store = opening(cluster, alone)
    seen = put(store, "/calico/v1/a")
    watch = store.watch("/calico/v1/", seen)
    assert watch.read(0) == ()
    for member in others:
        member.kill()
    stale = cluster.etcdctl(
        *("get", "/calico/v1/a", "--consistency=s"), urls=(alone.url,)
    )
    assert "/calico/v1/a" in stale.stdout
    with pytest.raises(Unavailable) as caught:
        store.get("/calico/v1/a")
    assert "leader" in str(caught.value)

    def says_so() -> bool:
        try:
            watch.read(0.2)
        except Unavailable:
            return True
        return False

    wait_for(says_so, "the watch to miss the leader")
    for member in others:
        member.start()
    cluster.wait_until_healthy()
    revision = put(store, "/calico/v1/a")
    assert [batch.revision for batch in read_to(watch, revision)] == [revision]
    watch.close()
    store.close()


def test_watch_that_was_away_over_a_compaction_says_so(cluster: EtcdCluster) -> None:
    store = opening(cluster)
    at = counted(store)
    seen = put(store, "/calico/v1/a")
    for _ in range(4):
        put(store, "/calico/v1/a")
    store.compact(at(4))
    stopped = store.watch("/calico/v1/", seen)
    with pytest.raises(Compacted) as caught:
        stopped.read(DEADLINE_S)
    assert (caught.value.asked, caught.value.oldest) == (seen, at(4))
    stopped.close()
    store.close()


def test_all_members_restarted_at_once_are_found_again(cluster: EtcdCluster) -> None:
    store = opening(cluster)
    watch = store.watch("/calico/v1/", put(store, "/calico/v1/a"))
    for member in cluster.members:
        member.kill()
    with pytest.raises(Unavailable) as caught:
        store.get("/calico/v1/a")
    assert "no member can be used" in str(caught.value)
    for member in cluster.members:
        member.start()
    cluster.wait_until_healthy()
    revision = put(store, "/calico/v1/a")
    assert [batch.revision for batch in read_to(watch, revision)] == [revision]
    watch.close()
    store.close()


def test_transaction_that_is_too_large_is_refused_with_the_limit(
    cluster: EtcdCluster,
) -> None:
    store = opening(cluster)
    many = change(*(Put(f"/calico/v1/{n}", b"") for n in range(200)))
    with pytest.raises(TransactionTooLarge, match="--max-txn-ops"):
        store.commit(many)
    large = change(*(Put(f"/calico/v1/{n}", b"x" * 500_000) for n in range(4)))
    with pytest.raises(TransactionTooLarge, match="--max-request-bytes"):
        store.commit(large)
    assert store.list_prefix("/calico/v1/").items == ()
    store.close()


def test_change_of_a_large_prefix_sees_what_others_do_meanwhile(
    cluster: EtcdCluster,
) -> None:
    store, other = opening(cluster), opening(cluster)
    for first in range(0, 200, 100):
        puts = (Put(f"/calico/v1/k{n:03}", b"") for n in range(first, first + 100))
        store.commit(change(*puts))
    meddling = iter(
        [
            lambda: other.commit(change(Put("/calico/v1/k000", b"new"))),
            lambda: other.commit(change(Put("/calico/v1/k500", b""))),
            lambda: other.commit(change(Delete("/calico/v1/k001"))),
        ]
    )
    n_seen: list[int] = []

    def decide(view: View) -> tuple[Transaction, int]:
        n_seen.append(len(view.items))
        next(meddling, lambda: None)()
        return change(Put("/calico/v1/sum", b"%d" % len(view.items))), len(view.items)

    _, result = store.update(Scope(prefixes=("/calico/v1/",)), decide)
    assert n_seen == [200, 200, 201, 200]
    assert result == 200
    store.close()
    other.close()


def test_one_of_many_forgets_what_is_old(cluster: EtcdCluster) -> None:
    stores = [opening(cluster) for _ in range(3)]
    hour = 3600.0
    put(stores[0], "/calico/v1/a")
    for store in stores:
        store.tidy(hour)
    first = stores[0].list_prefix("/calico/").revision
    # Only one of them has left a mark, and nothing is old yet.
    assert first == put(stores[0], "/calico/v1/a") - 1
    assert stores[0].list_prefix("/calico/v1/", at=first).revision == first
    before = put(stores[0], "/calico/v1/a")
    for store in stores:
        store.tidy(2 * hour + 1)
    with pytest.raises(Compacted):
        stores[0].list_prefix("/calico/v1/", at=Revision(first - 2))
    assert stores[0].list_prefix("/calico/v1/", at=before).revision == before
    for store in stores:
        store.close()


def fill(store: EtcdStore) -> None:
    for number in range(100):
        put(store, f"/calico/v1/{number}", b"x" * 100_000)


def test_full_database_is_said(tmp_path: Path) -> None:
    with etcd_cluster(tmp_path, extra=["--quota-backend-bytes=2000000"]) as cluster:
        store = opening(cluster)
        with pytest.raises(Unavailable, match="NOSPACE"):
            fill(store)
        assert any("NOSPACE" in warning for warning in store.warnings())
        assert store.get("/calico/v1/0") is not None
        store.close()
