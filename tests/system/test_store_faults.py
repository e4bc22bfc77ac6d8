"""What the SQLite store says and keeps when the disk or a file goes wrong."""

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import store_programs
from store_contract import change, keys, put

from calico.model.errors import (
    StoreCorrupt,
    StoreNotPermitted,
    StoreWentBack,
    Unavailable,
)
from calico.store.api import NO_REVISION, Put, Revision, Scope, Store
from calico.store.sqlite import SqliteStore
from calico.store.sqlite_files import StoreFiles

NOBODY = 65534
FLIPS = int(os.environ.get("CALICO_TEST_FLIPS", "150"))
NEEDLE = b"the-value-that-is-damaged"


@pytest.fixture
def files(tmp_path: Path) -> StoreFiles:
    """A closed store that holds a few hundred keys."""
    files = StoreFiles(tmp_path / "store")
    store = SqliteStore.open(files.directory)
    for number in range(5):
        puts = (Put(f"/k/{number}/{n}", b"%d" % n * 40) for n in range(60))
        store.commit(change(*puts))
    put(store, "/needle", NEEDLE)
    put(store, "/last", b"")
    store.close()
    return files


@pytest.fixture
def store(files: StoreFiles) -> Iterator[Store]:
    store = SqliteStore.open(files.directory)
    yield store
    store.close()


def write_at(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def flip(path: Path, offset: int, bit: int = 0) -> None:
    byte = path.read_bytes()[offset]
    write_at(path, offset, bytes([byte ^ (1 << bit)]))


def read_everything(directory: Path) -> object:
    """Open a store as an agent does at its start, and read it."""
    store = SqliteStore.open(directory)
    try:
        store.verify()
        return store.list_prefix("")
    finally:
        store.close()


# Damage to a store that nobody has open.


def _is_emptied(files: StoreFiles) -> None:
    os.truncate(files.database, 0)


def _is_removed(files: StoreFiles) -> None:
    files.database.unlink()


def _is_emptied_and_unmarked(files: StoreFiles) -> None:
    os.truncate(files.database, 0)
    files.marker.unlink()


def _is_replaced_by_text(files: StoreFiles) -> None:
    files.database.write_text("this is no datastore\n" * 500)


def _is_cut_in_half(files: StoreFiles) -> None:
    os.truncate(files.database, files.database.stat().st_size // 2)


def _has_a_damaged_header(files: StoreFiles) -> None:
    write_at(files.database, 0, b"XQLite")


def _has_a_damaged_schema_page(files: StoreFiles) -> None:
    write_at(files.database, 100, b"\xff" * 64)


def _has_a_schema_that_is_no_text(files: StoreFiles) -> None:
    # SQLite quotes it in its message, which then is no text either.
    at = files.database.read_bytes().index(b"TABLE meta")
    flip(files.database, at, bit=7)


def _has_a_damaged_data_page(files: StoreFiles) -> None:
    page = files.database.read_bytes().index(NEEDLE) // 4096
    write_at(files.database, page * 4096, b"\xff" * 16)


def _has_a_bit_flipped_in_a_value(files: StoreFiles) -> None:
    content = files.database.read_bytes()
    at = content.index(NEEDLE)
    while at >= 0:
        flip(files.database, at)
        at = content.find(NEEDLE, at + 1)


def _is_another_store(files: StoreFiles) -> None:
    other = StoreFiles(files.directory.parent / "other")
    SqliteStore.open(other.directory).close()
    shutil.copy(other.database, files.database)
    os.truncate(files.notify, 0)


def _is_a_database_of_somebody_else(files: StoreFiles) -> None:
    files.database.unlink()
    connection = sqlite3.connect(files.database)
    connection.execute("CREATE TABLE t (a)")
    connection.close()


def _is_a_directory(files: StoreFiles) -> None:
    files.database.unlink()
    files.database.mkdir()


DAMAGES = (
    *(_is_emptied, _is_removed, _is_emptied_and_unmarked, _is_replaced_by_text),
    *(_is_cut_in_half, _has_a_damaged_header, _has_a_damaged_schema_page),
    *(_has_a_schema_that_is_no_text, _has_a_damaged_data_page),
    *(_has_a_bit_flipped_in_a_value, _is_another_store),
    *(_is_a_database_of_somebody_else, _is_a_directory),
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_store_that(damage: Callable[[StoreFiles], None], files: StoreFiles) -> None:
    damage(files)
    for _ in range(2):
        with pytest.raises(StoreCorrupt) as caught:
            read_everything(files.directory)
        assert str(files.database) in str(caught.value)


def test_flipped_bit_is_found_by_reading_the_key(files: StoreFiles) -> None:
    _has_a_bit_flipped_in_a_value(files)
    store = SqliteStore.open(files.directory)
    watch = store.watch("/", NO_REVISION)
    for read in (
        lambda: store.get("/needle"),
        lambda: store.list_prefix("/"),
        lambda: watch.read(0),
        lambda: store.update(Scope(("/needle",)), lambda _: (None, None)),
        lambda: put(store, "/needle"),
    ):
        with pytest.raises(StoreCorrupt, match=r"needle|/needle"):
            read()
    assert len(store.list_prefix("/k/").items) == 300
    watch.close()
    store.close()


def test_no_single_flipped_bit_changes_what_is_read(files: StoreFiles) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 -- shown when the test fails
    chance = random.Random(seed)
    truth = read_everything(files.directory)
    size = files.database.stat().st_size
    good = files.directory.with_name("good")
    shutil.copytree(files.directory, good)
    found = 0
    for _ in range(FLIPS):
        shutil.rmtree(files.directory)
        shutil.copytree(good, files.directory)
        offset, bit = chance.randrange(size), chance.randrange(8)
        flip(files.database, offset, bit)
        try:
            assert read_everything(files.directory) == truth, (offset, bit)
        except Unavailable:
            found += 1
    assert found > 0


def test_rot_in_the_log_of_a_crashed_store_is_not_silent(files: StoreFiles) -> None:
    writer = SqliteStore.open(files.directory)
    for number in range(20):
        put(writer, f"/later/{number}")
    crashed = StoreFiles(files.directory.with_name("crashed"))
    shutil.copytree(files.directory, crashed.directory)
    writer.close()
    (crashed.directory / "calico.db-shm").unlink()
    flip(crashed.wal, crashed.wal.stat().st_size // 2)
    with pytest.raises(StoreWentBack) as caught:
        SqliteStore.open(crashed.directory)
    assert caught.value.seen == 27
    assert 7 <= caught.value.current < 27
    assert "truncate -s 0" in str(caught.value)
    os.truncate(crashed.notify, 0)
    accepted = SqliteStore.open(crashed.directory)
    assert "/last" in keys(accepted)
    accepted.close()


def test_store_behind_its_notify_file_is_neither_read_on_nor_written(
    files: StoreFiles, store: Store
) -> None:
    watch = store.watch("", NO_REVISION)
    files.notify.write_bytes((99).to_bytes(8, "big"))
    for use in (
        lambda: watch.read(0),
        lambda: put(store, "/a"),
        lambda: SqliteStore.open(files.directory),
    ):
        with pytest.raises(StoreWentBack, match="99"):
            use()
    watch.close()


# Damage under the hands of somebody who has it open.


@pytest.mark.parametrize("damage", [_is_emptied, _is_removed, _is_another_store])
def test_store_in_use_that(
    damage: Callable[[StoreFiles], None], files: StoreFiles, store: Store
) -> None:
    watch = store.watch("", store.list_prefix("").revision)
    if damage is _is_another_store:
        files.database.rename(files.directory / "away")
    damage(files)
    for use in (
        lambda: store.get("/last"),
        lambda: store.list_prefix("/"),
        lambda: put(store, "/a"),
        lambda: watch.read(0),
    ):
        with pytest.raises(StoreCorrupt, match=str(files.database)):
            use()
    watch.close()


# Marker, versions, modes.


def test_lost_marker_is_written_again(files: StoreFiles) -> None:
    marked = files.marker.read_text()
    files.marker.unlink()
    SqliteStore.open(files.directory).close()
    assert files.marker.read_text() == marked


def test_half_made_store_is_made_anew(tmp_path: Path) -> None:
    files = StoreFiles(tmp_path)
    files.fresh.write_text("left by a process that died")
    store = SqliteStore.open(tmp_path)
    assert keys(store) == []
    assert not files.fresh.exists()
    store.close()


def test_log_without_its_database_is_not_adopted(tmp_path: Path) -> None:
    StoreFiles(tmp_path).wal.write_bytes(b"x" * 5000)
    with pytest.raises(StoreCorrupt, match="its log"):
        SqliteStore.open(tmp_path)


def test_newer_schema_is_refused(files: StoreFiles) -> None:
    connection = sqlite3.connect(files.database)
    connection.execute("PRAGMA user_version=2")
    connection.close()
    with pytest.raises(Unavailable, match="schema 2"):
        SqliteStore.open(files.directory)


def test_files_are_private_or_shared_as_their_directory_is(tmp_path: Path) -> None:
    for mode, wanted in ((0o700, 0o600), (0o770, 0o660), (0o2770, 0o660)):
        directory = tmp_path / f"{mode:o}"
        directory.mkdir()
        directory.chmod(mode)
        store = SqliteStore.open(directory)
        put(store, "/a")
        found = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
        assert set(found.values()) == {wanted}, found
        store.close()


# Disks that are not ours to write, full, or broken.


def _has_nobody() -> bool:
    """Report whether we are root where more users than one are mapped."""
    maps = Path("/proc/self/uid_map").read_text().splitlines()
    return os.geteuid() == 0 and any(int(line.split()[2]) > NOBODY for line in maps)


def _as_nobody(action: Callable[[], str]) -> str:
    """Run something in a child without privileges and return what it says."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        os.write(writer, action().encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.system
@pytest.mark.skipif(not _has_nobody(), reason="there is nobody else to become")
@pytest.mark.parametrize("what", ["directory", "database", "parent"])
def test_user_who_may_not_write_is_told_the_ways_out(what: str) -> None:
    # Not below tmp_path, which others may not enter.
    above = Path("/tmp") / f"calico-test-{os.getpid()}-{what}"  # noqa: S108 -- see above
    above.mkdir(mode=0o755)
    files = StoreFiles(above / "store")
    try:
        SqliteStore.open(files.directory).close()
        if what == "database":
            files.directory.chmod(0o777)
            for path in (files.lock, files.notify):
                path.chmod(0o666)
        if what == "parent":
            above.chmod(0o700)

        def attempt() -> str:
            try:
                SqliteStore.open(files.directory)
            except StoreNotPermitted as error:
                return str(error)
            return "it worked"

        said = _as_nobody(attempt)
    finally:
        shutil.rmtree(above)
    for part in (str(files.directory), "sudo", "group calico", "calicoctl lab"):
        assert part in said


def _in_small_disk(script: str, *arguments: object) -> list[Any]:
    """Run a shell script where /mnt is a file system of 1 MB of our own."""
    root = () if os.geteuid() == 0 else ("-r",)
    mount = f"set -e; mount -t tmpfs -o size=1m none /mnt; {script}"
    run = subprocess.run(
        ["unshare", *root, "-m", "sh", "-c", mount, "sh", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return store_programs.results(run.stdout)


@pytest.mark.system
def test_full_disk_is_named_and_nothing_acknowledged_is_lost() -> None:
    fill = store_programs.command("fill_up", Path("/mnt"))
    full, listed, after = _in_small_disk('"$@"', *fill)
    acknowledged, where, free_bytes, text = full
    assert acknowledged > 10
    assert where == "/mnt/calico.db"
    assert free_bytes < 64 * 1024
    assert f"{free_bytes} bytes free" in text
    assert listed == [acknowledged, acknowledged]
    assert after == acknowledged + 1


@pytest.mark.system
def test_disk_that_is_full_from_the_start_gives_a_clear_error() -> None:
    script = 'head -c 2000000 /dev/zero >/mnt/filler || true; "$@"'
    command = store_programs.command("open_and_put", Path("/mnt/store"))
    ((kind, text),) = _in_small_disk(script, *command)
    assert kind in {"StoreFull", "Unavailable"}
    assert "/mnt/store" in text
    assert "pace" in text


@pytest.mark.system
def test_read_only_file_system_is_named() -> None:
    command = store_programs.command("open_and_put", Path("/mnt/store"))
    script = '"$@"; mount -o remount,ro /mnt; "$@"'
    first, *refused = _in_small_disk(script, *command)
    assert first == 1
    for kind, text in refused:
        assert kind == "StoreNotPermitted"
        assert "read-only file system" in text


# Which calls of each kind fail; with `+`, all later ones too.
CALLS = {
    "pwrite64": ("1", "2", "5", "8", "13", "21", "9+", "14+"),
    "fdatasync": ("1", "2", "4", "3+"),
    "fsync": ("1", "1+"),
    "ftruncate": ("1", "1+"),
}


@pytest.mark.skipif(
    store_programs.is_without_strace(), reason="strace is not installed"
)
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("call", CALLS)
def test_failing_system_calls_lose_nothing_acknowledged(
    tmp_path: Path, call: str, error: str
) -> None:
    n_injected = 0
    for when in CALLS[call]:
        directory = tmp_path / when
        SqliteStore.open(directory).close()
        log = directory.with_suffix(".log")
        inject = f"inject={call}:error={error}:when={when}"
        strace = ("strace", "-f", "-qq", "-o", str(log), "-e", f"trace={call}")
        process = store_programs.start(
            "try_pairs", directory, 4, before=(*strace, "-e", inject)
        )
        said = store_programs.finish(process)
        assert process.returncode == 0, (when, said)
        n_injected += "INJECTED" in log.read_text()
        _check_survivors(directory, said)
    assert n_injected > 0 or call in {"fsync", "ftruncate"}


def _check_survivors(directory: Path, said: list[Any]) -> None:
    """Check that the store holds what was acknowledged, and nothing refused."""
    for result in said:
        if result[0] != "ok":
            assert str(directory) in str(result[-1])
    store = SqliteStore.open(directory)
    store.verify()
    first, second = (
        store_programs.value_of(store.get(key)) for key in ("/p/a", "/p/b")
    )
    assert first == second
    acknowledged = [result[1] for result in said if result[0] == "ok"]
    possible = [
        result[1] for result in said if result[0] == "ok" or "OutcomeUnknown" in result
    ]
    assert first >= max([0, *acknowledged])
    assert first in [0, *possible]
    assert put(store, "/after") >= Revision(1)
    store.close()
