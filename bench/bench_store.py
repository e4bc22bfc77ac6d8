"""Speed of the SQLite store, beside SQLite itself on the same disk.

Prints one line per figure. Ratios are to a bare commit of one row by the
sqlite3 module, with the same durability, in the same run.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from calico.store.api import (
    Compare,
    Note,
    Put,
    Revision,
    Scope,
    Store,
    Transaction,
    View,
)
from calico.store.sqlite import SqliteStore
from calico.store.sqlite_notify import NotifyFile

NOTE = Note("bench", "host", "bench_store")
VALUE = b"v" * 200
N_WRITES = 2000
N_EVENTS = 600
N_DEATHS = 50
N_KEYS = 100_000


def measure(action: Callable[[int], object], times: int) -> list[float]:
    """Return how long each of several calls took, sorted, in milliseconds."""
    took: list[float] = []
    for number in range(times):
        start = time.perf_counter()
        action(number)
        took.append((time.perf_counter() - start) * 1000)
    return sorted(took)


def show(name: str, took: list[float], bare_ms: float) -> None:
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    print(
        f"{name:34} p50 {p50:8.3f} ms  p99 {p99:8.3f} ms  "
        f"max {took[-1]:8.3f} ms  {p50 / bare_ms:7.2f} x bare commit"
    )


def bare_commit(directory: Path) -> list[float]:
    connection = sqlite3.connect(directory / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID")

    def write(number: int) -> None:
        row = (f"/k/{number % 100}", VALUE)
        connection.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", row)

    took = measure(write, N_WRITES)
    connection.close()
    return took


def put(store: Store, number: int) -> Revision:
    operations = (Put(f"/k/{number % 100}", VALUE),)
    return store.commit(Transaction((), operations, NOTE))


def compare_and_set(store: Store, number: int) -> Revision:
    key = f"/k/{number % 100}"
    found = store.get(key)
    compares = (Compare(key, found.modified if found else Revision(0)),)
    return store.commit(Transaction(compares, (Put(key, VALUE),), NOTE))


def update(store: Store, number: int) -> Revision:
    key = f"/k/{number % 100}"

    def decide(_: View) -> tuple[Transaction, None]:
        return Transaction((), (Put(key, VALUE),), NOTE), None

    return store.update(Scope((key,)), decide)[0]


def time_events(directory: str) -> None:
    """Watch in a process of its own; print the delay of each event."""
    store = SqliteStore.open(Path(directory))
    watch = store.watch("/event/", store.list_prefix("").revision)
    print("ready", flush=True)
    seen = 0
    while seen < N_EVENTS:
        for batch in watch.read(10):
            now = time.monotonic_ns()
            seen += 1
            begun = int(batch.changes[0].value or b"0")
            print((now - begun) / 1e6)
    watch.close()
    store.close()


def watch_delay(store: Store, directory: Path) -> list[float]:
    watcher = subprocess.Popen(
        [sys.executable, "-P", __file__, str(directory)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None  # noqa: S101 -- it was asked for
    watcher.stdout.readline()
    for number in range(N_EVENTS):
        # Begun before the commit, so the delay contains the write itself.
        begun = b"%d" % time.monotonic_ns()
        store.commit(Transaction((), (Put(f"/event/{number % 9}", begun),), NOTE))
        time.sleep(0.003)
    text, _ = watcher.communicate(timeout=60)
    return sorted(float(line) for line in text.splitlines())


def die_unannounced(directory: str) -> None:
    """Commit the time in a process of its own, and end before anybody is told."""

    def die(_notify: NotifyFile, _revision: Revision) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    NotifyFile.announce = die  # type: ignore[method-assign]
    store = SqliteStore.open(Path(directory))
    begun = b"%d" % time.monotonic_ns()
    store.commit(Transaction((), (Put("/death", begun),), NOTE))


def death_delay(store: Store, directory: Path) -> list[float]:
    """Watch while writers die between their commit and telling of it."""
    watch = store.watch("/death", store.list_prefix("").revision)
    argv = [sys.executable, "-P", __file__, str(directory), "die"]
    took: list[float] = []
    for _ in range(N_DEATHS):
        writer = subprocess.Popen(argv)
        (batch,) = watch.read(10)
        now = time.monotonic_ns()
        took.append((now - int(batch.changes[0].value or b"0")) / 1e6)
        writer.wait()
    watch.close()
    return sorted(took)


def fill(store: Store) -> None:
    for first in range(0, N_KEYS, 1000):
        keys = (f"/fill/{number:06}" for number in range(first, first + 1000))
        operations = tuple(Put(key, VALUE) for key in keys)
        store.commit(Transaction((), operations, NOTE))


def main() -> None:
    directory = Path(
        tempfile.mkdtemp(prefix="calico-bench-", dir=os.environ.get("TMP"))
    )
    try:
        bare = bare_commit(directory)
        bare_ms = bare[len(bare) // 2]
        show("bare sqlite3 commit", bare, bare_ms)
        store = SqliteStore.open(directory / "store")
        show("put", measure(lambda n: put(store, n), N_WRITES), bare_ms)
        took = measure(lambda n: compare_and_set(store, n), N_WRITES)
        show("get and compare-and-set", took, bare_ms)
        show("update", measure(lambda n: update(store, n), N_WRITES), bare_ms)
        show("get", measure(lambda n: store.get(f"/k/{n % 100}"), N_WRITES), bare_ms)
        delays = watch_delay(store, directory / "store")
        show("write begun to watch in other process", delays, bare_ms)
        delays = death_delay(store, directory / "store")
        show("  writer dies before it notifies", delays, bare_ms)
        show("fill 100,000 keys", measure(lambda _: fill(store), 1), bare_ms)
        took = measure(lambda _: store.list_prefix("/fill/"), 5)
        show("list 100,000 keys", took, bare_ms)
        before = Revision(store.list_prefix("/k/").revision - 1000)
        took = measure(lambda _: store.list_prefix("/k/", at=before), 5)
        show("list at 1,000 revisions ago", took, bare_ms)
        show("verify 100,000 keys", measure(lambda _: store.verify(), 3), bare_ms)
        store.close()

        def open_and_get(_: int) -> None:
            again = SqliteStore.open(directory / "store")
            again.get("/k/1")
            again.close()

        show("open, get, close", measure(open_and_get, 50), bare_ms)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        program = die_unannounced if "die" in sys.argv else time_events
        program(sys.argv[1])
    else:
        main()
