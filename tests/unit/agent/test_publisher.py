import contextlib
from collections.abc import Generator
from pathlib import Path
from threading import Thread

import pytest

from calico.agent.publisher import (
    HOSTS_PER_S,
    SHORTEST_S,
    Publisher,
    Report,
    spread_s,
)
from calico.codec.host_status import decode_host_status
from calico.codec.keys import STATUS_HOST_PREFIX, host_status_key
from calico.model.errors import Unavailable
from calico.model.names import HostName, Revision
from calico.store.api import Store, Watch
from calico.store.sqlite import SqliteStore

HOST = HostName("h1")
DEADLINE_S = 30.0
MANY = 1_000_000
"""So many hosts that no turn comes while a test lasts."""


@contextlib.contextmanager
def running(publisher: Publisher) -> Generator[None]:
    thread = Thread(target=publisher.run)
    thread.start()
    try:
        yield
    finally:
        publisher.end()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


@contextlib.contextmanager
def watching(directory: Path) -> Generator[tuple[Store, Watch]]:
    store = SqliteStore.open(directory)
    watch = store.watch(STATUS_HOST_PREFIX, Revision(0))
    try:
        yield store, watch
    finally:
        watch.close()
        store.close()


def told_until(watch: Watch, revision: int) -> list[int]:
    """Return the revisions that are told, up to one of them."""
    told: list[int] = []
    while revision not in told:
        batches = watch.read(DEADLINE_S)
        assert batches, f"revision {revision} is not told"
        for batch in batches:
            told.extend(
                decode_host_status(change.value).revision
                for change in batch.changes
                if change.key == host_status_key(HOST) and change.value is not None
            )
    return told


def no_rival(reason: str | None) -> None:
    assert reason is None


def report(revision: int, **problems: str) -> Report:
    return Report(Revision(revision), problems)


@pytest.mark.parametrize(
    ("n_hosts", "expected_s"),
    [(0, 0.0), (3, 0.0), (40, 0.0), (200, 1.0), (1000, 5.0)],
)
def test_hosts_share_a_budget(n_hosts: int, expected_s: float) -> None:
    assert spread_s(n_hosts) == expected_s
    assert spread_s(int(HOSTS_PER_S * SHORTEST_S)) == 0


def test_few_hosts_tell_each_revision_at_once(tmp_path: Path) -> None:
    publisher = Publisher(
        lambda: SqliteStore.open(tmp_path), HOST, pytest.fail, no_rival
    )
    with watching(tmp_path) as (_, watch), running(publisher):
        for revision in (1, 2, 3):
            publisher.publish(report(revision), 3)
            assert told_until(watch, revision) == [revision]


def test_one_of_many_hosts_waits_with_a_revision_and_not_with_a_problem(
    tmp_path: Path,
) -> None:
    publisher = Publisher(
        lambda: SqliteStore.open(tmp_path), HOST, pytest.fail, no_rival
    )
    with watching(tmp_path) as (_, watch), running(publisher):
        publisher.publish(report(1), MANY)
        assert told_until(watch, 1) == [1]
        for revision in range(2, 10):
            publisher.publish(report(revision), MANY)
        publisher.publish(report(10, key="broken"), MANY)
        assert told_until(watch, 10) == [10]
        publisher.publish(report(11, key="broken"), MANY)
        publisher.publish(report(12), MANY)
        assert told_until(watch, 12) == [12]


def test_what_could_not_be_written_is_told_again(tmp_path: Path) -> None:
    complaints: list[str] = []
    n_opened = 0

    def open_store() -> Store:
        nonlocal n_opened
        n_opened += 1
        if n_opened == 1:
            raise Unavailable("the datastore", "does not answer")
        return SqliteStore.open(tmp_path)

    publisher = Publisher(open_store, HOST, complaints.append, no_rival)
    with watching(tmp_path) as (_, watch), running(publisher):
        publisher.publish(report(1), 3)
        assert told_until(watch, 1) == [1]
    assert len(complaints) == 1
    assert "does not answer" in complaints[0]


def test_status_goes_when_the_agent_ends(tmp_path: Path) -> None:
    publisher = Publisher(
        lambda: SqliteStore.open(tmp_path), HOST, pytest.fail, no_rival
    )
    with watching(tmp_path) as (store, watch):
        with running(publisher):
            publisher.publish(report(1))
            assert told_until(watch, 1) == [1]
            assert store.get(host_status_key(HOST)) is not None
        assert store.get(host_status_key(HOST)) is None
