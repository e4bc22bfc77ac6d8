"""The writer of a host's status, and how it knows that it is not alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from calico.codec.keys import bird_ip_key, host_status_key
from calico.model.names import HostName, Revision
from calico.settings import Settings
from calico.store.api import Delete, Note, Put, Store, Transaction
from calico.store.host_status import HostStatus, HostStatusWriter, read_live_hosts
from calico.store.open import open_store

HOST = HostName("h")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(Settings(HOST, data_dir=tmp_path))
    yield opened
    opened.close()


def _status(uptime_s: int) -> HostStatus:
    return HostStatus("now", uptime_s, is_first_update=False, revision=Revision(1))


def _commit(store: Store, operation: Put | Delete) -> None:
    store.commit(Transaction((), (operation,), Note("t", "t", "t")))


def test_writer_that_is_alone_knows_it(store: Store) -> None:
    writer = HostStatusWriter(store, HOST)
    assert [writer.write(_status(each)) for each in (1, 2, 2, 3)] == [True] * 4
    assert read_live_hosts(store) == {HOST: _status(3)}


def test_two_writers_of_one_host_notice_each_other(store: Store) -> None:
    first, second = HostStatusWriter(store, HOST), HostStatusWriter(store, HOST)
    assert first.write(_status(1))
    # It may have followed one that ended a moment ago.
    assert second.write(_status(2))
    assert not first.write(_status(3))
    assert not second.write(_status(4))
    # The newest is there all the same, and it ends when one of them does.
    assert read_live_hosts(store) == {HOST: _status(4)}
    assert second.write(_status(5))


def test_writer_of_another_host_is_none_of_its_business(store: Store) -> None:
    writer = HostStatusWriter(store, HOST)
    assert writer.write(_status(1))
    assert HostStatusWriter(store, HostName("other")).write(_status(7))
    assert writer.write(_status(2))


def test_status_that_was_removed_is_no_rival(store: Store) -> None:
    writer = HostStatusWriter(store, HOST)
    assert writer.write(_status(1))
    _commit(store, Delete(host_status_key(HOST)))
    assert writer.write(_status(2))
    assert read_live_hosts(store) == {HOST: _status(2)}


def test_next_writer_of_a_host_is_no_rival(store: Store) -> None:
    first = HostStatusWriter(store, HOST)
    assert first.write(_status(1))
    first.withdraw()
    assert read_live_hosts(store) == {}
    second = HostStatusWriter(store, HOST)
    assert second.write(_status(2))
    assert second.write(_status(3))


def test_rival_is_described_by_where_it_may_be(store: Store) -> None:
    writer = HostStatusWriter(store, HOST)
    assert writer.describe_rival().startswith("another agent runs as host h, too: ")
    _commit(store, Put(bird_ip_key(HOST), b"10.0.0.2"))
    said = writer.describe_rival()
    assert said.startswith("another agent runs as host h, too; 10.0.0.2 started last: ")
    assert "`calicoctl node stop`" in said
