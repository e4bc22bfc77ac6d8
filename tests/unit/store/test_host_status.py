from store_backends import MemoryBackend

from calico.codec.keys import STATUS_HOST_PREFIX
from calico.model.names import HostName, Revision
from calico.store.api import LeaseId, Put
from calico.store.host_status import (
    TTL_S,
    HostStatus,
    HostStatusWriter,
    list_live_hosts,
    note_host_changes,
    read_live_hosts,
)
from calico.store.memory import MemoryStore
from calico.store.values import Note, Transaction

ONE, OTHER = HostName("one"), HostName("other")
NOTE = Note("t", "t", "t")


class CountingStore(MemoryStore):
    """Counts how often a lease is prolonged."""

    n_renewals = 0

    def keep_alive(self, lease: LeaseId) -> None:
        self.n_renewals += 1
        super().keep_alive(lease)


def status(revision: int) -> HostStatus:
    return HostStatus("now", 1, is_first_update=True, revision=Revision(revision))


def test_live_hosts_follow_each_change() -> None:
    store = MemoryBackend().open()
    writers = {host: HostStatusWriter(store, host) for host in (ONE, OTHER)}
    writers[ONE].write(status(1))
    hosts, revision = list_live_hosts(store)
    assert hosts == {ONE: status(1)}
    watch = store.watch(STATUS_HOST_PREFIX, revision)
    for host, seen in ((OTHER, 2), (ONE, 3), (OTHER, 4)):
        writers[host].write(status(seen))
    for batch in watch.read(0):
        note_host_changes(hosts, batch)
    assert hosts == read_live_hosts(store) == {ONE: status(3), OTHER: status(4)}
    writers[ONE].withdraw()
    key = f"{STATUS_HOST_PREFIX}other/status"
    store.commit(Transaction((), (Put(key, b"?"),), NOTE))
    for batch in watch.read(0):
        note_host_changes(hosts, batch)
    assert hosts == read_live_hosts(store) == {OTHER: None}


def test_status_after_status_prolongs_no_lease() -> None:
    store = CountingStore(MemoryBackend().clock)
    writer = HostStatusWriter(store, ONE)
    for seen in range(1, 10):
        writer.write(status(seen))
    assert store.n_renewals == 0
    assert read_live_hosts(store) == {ONE: status(9)}


def test_status_of_host_that_was_away_comes_back() -> None:
    backend = MemoryBackend()
    store = backend.open()
    writer = HostStatusWriter(store, ONE)
    writer.write(status(1))
    backend.pass_time(TTL_S + 1)
    assert read_live_hosts(store) == {}
    writer.write(status(2))
    assert read_live_hosts(store) == {ONE: status(2)}
