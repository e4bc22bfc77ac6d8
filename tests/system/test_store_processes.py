"""One SQLite store, several processes, some of which are killed."""

import os
import random
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import store_programs
from store_contract import DEADLINE_S, change, put, read_until

from calico.model.errors import StoreBusy
from calico.store.api import (
    NO_REVISION,
    Batch,
    Change,
    Put,
    Revision,
    Store,
)
from calico.store.sqlite import SqliteStore
from calico.store.sqlite_files import StoreFiles
from calico.store.sqlite_lock import WriterLock

KILL_ROUNDS = int(os.environ.get("CALICO_TEST_KILL_ROUNDS", "40"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = SqliteStore.open(tmp_path)
    yield store
    store.close()


@pytest.mark.parametrize("program", ["update_counter", "compare_counter"])
def test_concurrent_counting_is_exact(
    store: Store, tmp_path: Path, program: str
) -> None:
    writers = [store_programs.start(program, tmp_path, 100) for _ in range(4)]
    for writer in writers:
        store_programs.finish(writer)
        assert writer.returncode == 0
    found = store.get("/counter")
    assert found is not None
    assert found.value == b"400"
    assert found.modified == store.list_prefix("").revision == 400
    watch = store.watch("", NO_REVISION)
    changes = [batch.changes for batch in read_until(watch, found.modified)]
    watch.close()
    assert changes == [(Change("/counter", b"%d" % n),) for n in range(1, 401)]


def test_processes_that_race_to_make_a_store_share_one(tmp_path: Path) -> None:
    directory = tmp_path / "new"
    racers = [store_programs.start("open_and_put", directory) for _ in range(6)]
    revisions = [store_programs.finish(racer) for racer in racers]
    assert sorted(revisions) == [[n] for n in range(1, 7)]


def test_nothing_acknowledged_is_lost_when_writers_are_killed(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 -- shown when the test fails
    chance = random.Random(seed)
    store = SqliteStore.open(tmp_path)
    watch = store.watch("", NO_REVISION)
    watched: list[Revision] = []
    acknowledged = {"x": 0, "y": 0}
    for _ in range(KILL_ROUNDS):
        _kill_two_writers(tmp_path, acknowledged, chance.uniform(0, 0.08))
        watched.extend(batch.revision for batch in watch.read(0))
        reader = SqliteStore.open(tmp_path)
        reader.verify()
        for name, number in acknowledged.items():
            pair = [reader.get(f"/{name}/a"), reader.get(f"/{name}/b")]
            first, second = (store_programs.value_of(found) for found in pair)
            assert first == second >= number
        reader.close()
    assert sum(acknowledged.values()) > KILL_ROUNDS, "the writers hardly wrote"
    current = store.list_prefix("").revision
    watched.extend(batch.revision for batch in read_until(watch, current))
    assert watched == list(range(1, current + 1))
    watch.close()
    store.close()


def _kill_two_writers(
    directory: Path, acknowledged: dict[str, int], delay_s: float
) -> None:
    """Start a writer for each name, kill both, and note what they were told."""
    writers = {
        name: store_programs.start("write_pairs", directory, name)
        for name in acknowledged
    }
    outputs = [w.stdout for w in writers.values() if w.stdout is not None]
    ready, _, _ = select.select(outputs, [], [], DEADLINE_S)
    assert ready, "no writer wrote anything"
    until = time.monotonic() + delay_s
    while (left := until - time.monotonic()) > 0:
        select.select([], [], [], left)
    for writer in writers.values():
        writer.send_signal(signal.SIGKILL)
    for name, writer in writers.items():
        numbers = store_programs.finish(writer)
        assert writer.returncode == -signal.SIGKILL
        acknowledged[name] = max([acknowledged[name], *numbers])


def test_change_of_a_writer_killed_before_it_notifies_is_delivered(
    store: Store, tmp_path: Path
) -> None:
    watch = store.watch("/", NO_REVISION)
    assert watch.read(0) == ()
    writer = store_programs.start("die_before_notifying", tmp_path)
    got: tuple[Batch, ...] = ()
    while not got:
        # The descriptor, because `read` looks once more when its time is up.
        assert select.select([watch.fileno()], [], [], DEADLINE_S)[0]
        got = watch.read(0)
    assert got == (Batch(Revision(1), (Change("/last", b"words"),)),)
    writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    watch.close()


def test_lock_of_a_living_writer_is_waited_for_and_named(
    store: Store, tmp_path: Path
) -> None:
    holder = store_programs.start("hold_lock", tmp_path)
    assert holder.stdout is not None
    holder.stdout.readline()
    lock = WriterLock(StoreFiles(tmp_path).lock)
    for wait_s in (0, 0.05):
        with pytest.raises(StoreBusy) as caught:
            lock.acquire(wait_s)
        assert f"process {holder.pid} (" in caught.value.holder
        assert "hold_lock" in caught.value.holder
        assert str(tmp_path / "calico.db") in str(caught.value)
    assert store.list_prefix("").revision == 0, "readers do not wait"
    holder.communicate()
    lock.acquire(DEADLINE_S)
    lock.release()
    lock.close()
    assert put(store, "/a") == 1


def test_lock_of_a_killed_writer_is_free(store: Store, tmp_path: Path) -> None:
    holder = store_programs.start("hold_lock", tmp_path)
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.send_signal(signal.SIGKILL)
    assert put(store, "/a") == 1
    holder.communicate()


def test_waiting_writer_goes_on_when_the_lock_is_released(
    store: Store, tmp_path: Path
) -> None:
    holder = store_programs.start("hold_lock", tmp_path)
    assert holder.stdout is not None
    holder.stdout.readline()
    writer = store_programs.start("open_and_put", tmp_path)
    holder.communicate()
    assert store_programs.finish(writer) == [1]
    assert store.get("/a") is not None


def test_expiry_reaches_a_watch_while_nobody_writes(store: Store) -> None:
    lease = store.grant(0.05)
    seen = store.commit(change(Put("/a", b"", lease)))
    watch = store.watch("/", seen)
    assert watch.read(DEADLINE_S) == (Batch(Revision(seen + 1), (Change("/a", None),)),)
    watch.close()


def test_store_opened_before_a_fork_refuses_to_work_after_it(store: Store) -> None:
    child = os.fork()
    if child == 0:
        try:
            store.get("/a")
        except RuntimeError:
            os._exit(17)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 17
    assert put(store, "/a") == 1
