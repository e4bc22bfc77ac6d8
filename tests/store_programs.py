"""Programs that use a SQLite store in a process of their own.

Run as `python store_programs.py PROGRAM DIRECTORY [ARGUMENT…]`; each writes
one line of JSON per result.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calico.model.errors import CalicoError, Conflict, OutcomeUnknown, StoreFull
from calico.store.api import (
    NO_REVISION,
    Compare,
    KeyValue,
    Note,
    Operation,
    Put,
    Revision,
    Scope,
    Transaction,
    View,
)
from calico.store.sqlite import SqliteStore
from calico.store.sqlite_files import StoreFiles
from calico.store.sqlite_lock import WriterLock
from calico.store.sqlite_notify import NotifyFile

NOTE = Note("test", "host", "program")


def is_without_strace() -> bool:
    """Report whether strace may be missing, and is; in CI its lack fails."""
    return shutil.which("strace") is None and os.environ.get("CI") != "true"


def command(program: str, directory: Path, *arguments: object) -> list[str]:
    """Return the command line that runs a program."""
    return [
        *(sys.executable, "-P", __file__, program, str(directory)),
        *(str(argument) for argument in arguments),
    ]


def start(
    program: str, directory: Path, *arguments: object, before: Sequence[str] = ()
) -> "subprocess.Popen[str]":
    """Start a program, if wanted under another command."""
    return subprocess.Popen(
        [*before, *command(program, directory, *arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def results(text: str) -> list[Any]:
    """Return the results in a program's output; half a line at its end is none."""
    whole, _, _ = text.rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def finish(process: "subprocess.Popen[str]") -> list[Any]:
    """Wait for a program to end and return its results."""
    text, _ = process.communicate(timeout=120)
    return results(text)


def say(result: object) -> None:
    """Write one result, at once."""
    os.write(1, json.dumps(result).encode() + b"\n")


def value_of(found: KeyValue | None) -> int:
    """Return the number that a key holds; an absent one holds 0."""
    return int(found.value) if found else 0


def change(*operations: Operation, compare: Compare | None = None) -> Transaction:
    return Transaction((compare,) if compare else (), operations, NOTE)


def update_counter(directory: Path, times: str) -> None:
    """Add one under the lock, so many times."""
    store = SqliteStore.open(directory)

    def add(view: View) -> tuple[Transaction, None]:
        number = value_of(view.get("/counter")) + 1
        return change(Put("/counter", b"%d" % number)), None

    for _ in range(int(times)):
        store.update(Scope(("/counter",)), add)
    store.close()


def compare_counter(directory: Path, times: str) -> None:
    """Add one by compare-and-set, so many times; say how often others won."""
    store = SqliteStore.open(directory)
    conflicts = done = 0
    while done < int(times):
        found = store.get("/counter")
        put = Put("/counter", b"%d" % (value_of(found) + 1))
        seen = found.modified if found else NO_REVISION
        try:
            store.commit(change(put, compare=Compare("/counter", seen)))
            done += 1
        except Conflict:
            conflicts += 1
    say(conflicts)
    store.close()


def write_pairs(directory: Path, name: str, times: str = "1000000000") -> None:
    """Write pairs of equal keys, say each number once it is acknowledged."""
    store = SqliteStore.open(directory)
    number = value_of(store.get(f"/{name}/a"))
    for _ in range(int(times)):
        number += 1
        value = b"%d" % number
        revision = store.commit(
            change(
                Put(f"/{name}/a", value),
                Put(f"/{name}/b", value),
                Put(f"/{name}/many/{number % 50}", value * 50),
            )
        )
        say(number)
        if number % 40 == 0:
            store.compact(Revision(max(0, revision - 2000)))
    store.close()


def try_pairs(directory: Path, times: str) -> None:
    """Write pairs; say the number if acknowledged, else the kind of error."""
    try:
        store = SqliteStore.open(directory)
    except CalicoError as error:
        say(["open", type(error).__name__, str(error)])
        return
    for number in range(1, int(times) + 1):
        value = b"%d" % number
        try:
            store.commit(change(Put("/p/a", value), Put("/p/b", value)))
            say(["ok", number])
        except (OutcomeUnknown, CalicoError) as error:
            say(["error", number, type(error).__name__, str(error)])
        try:
            store.get("/p/a")
        except CalicoError as error:
            say(["read", number, type(error).__name__, str(error)])
    store.close()


def die_before_notifying(directory: Path) -> None:
    """Commit one key and be killed before anyone is told."""

    def die(_notify: NotifyFile, _revision: Revision) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    NotifyFile.announce = die  # type: ignore[method-assign, assignment]
    SqliteStore.open(directory).commit(change(Put("/last", b"words")))


def hold_lock(directory: Path) -> None:
    """Take the writer lock and keep it until the input ends."""
    WriterLock(StoreFiles(directory).lock).acquire(5)
    say("held")
    sys.stdin.read()


def fill_up(directory: Path) -> None:
    """Write until the disk is full, then make room and write on."""
    filler = directory / "filler"
    filler.write_bytes(b"x" * 300_000)
    store = SqliteStore.open(directory)
    acked = 0
    try:
        while acked < 10_000:
            store.commit(change(Put(f"/{acked}", os.urandom(3000))))
            acked += 1
    except StoreFull as error:
        say([acked, error.where, error.free_bytes, str(error)])
    other = SqliteStore.open(directory)
    say([len(s.list_prefix("/").items) for s in (store, other)])
    other.close()
    filler.unlink()
    store.commit(change(Put(f"/{acked}", b"after")))
    store.close()
    store = SqliteStore.open(directory)
    store.verify()
    say(len(store.list_prefix("/").items))


def open_and_put(directory: Path) -> None:
    """Put one key; say the revision, or the kind of error and its text."""
    try:
        store = SqliteStore.open(directory)
        say(store.commit(change(Put("/a", b"v"))))
        store.close()
    except CalicoError as error:
        say([type(error).__name__, str(error)])


PROGRAMS = {
    program.__name__: program
    for program in (
        *(update_counter, compare_counter, write_pairs, try_pairs),
        *(die_before_notifying, hold_lock, fill_up, open_and_put),
    )
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
