"""Making and recognising a SQLite store.

A new store is made complete under another name and renamed into place, so
nobody ever sees half of one, and an empty or headless file is never taken for
a store that has yet to be filled.
"""

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from calico.model.errors import StoreCorrupt, Unavailable
from calico.model.names import Revision
from calico.store.sqlite_faults import corrupt
from calico.store.sqlite_files import (
    StoreFiles,
    file_size,
    open_beside,
    share,
    sync_directory,
)
from calico.store.sqlite_rows import META_COLUMNS, Meta

if TYPE_CHECKING:
    from _typeshed import SupportsLenAndGetItem

APPLICATION_ID = 0x63616C69
"""`cali` in ASCII, in the header of every database of ours."""

SCHEMA = 1
"""The number of the schema below."""

BUSY_WAIT_S = 5.0
"""How long SQLite waits for its own locks: only opening and closing use them."""

_TABLES = """
CREATE TABLE meta (
    id INTEGER PRIMARY KEY, revision INTEGER, compacted INTEGER,
    digest INTEGER, store_id TEXT, crc INTEGER
);
CREATE TABLE kv (
    key TEXT PRIMARY KEY, value BLOB, created INTEGER, modified INTEGER,
    lease INTEGER, crc INTEGER
) WITHOUT ROWID;
CREATE INDEX kv_lease ON kv (lease) WHERE lease IS NOT NULL;
CREATE TABLE log (
    revision INTEGER, key TEXT, value BLOB, prev_value BLOB,
    prev_created INTEGER, prev_modified INTEGER, prev_lease INTEGER, crc INTEGER,
    PRIMARY KEY (revision, key)
) WITHOUT ROWID;
CREATE TABLE note (
    revision INTEGER PRIMARY KEY, wall_ms INTEGER,
    actor TEXT, host TEXT, command TEXT, reason TEXT, crc INTEGER
);
CREATE TABLE lease (
    id INTEGER PRIMARY KEY, ttl_ms INTEGER, boot TEXT, ends_ms INTEGER, crc INTEGER
);
"""


class _Connection(sqlite3.Connection):
    """One that raises nothing but `sqlite3.Error` when a database is damaged.

    SQLite quotes the schema when it cannot read it. Where the damage is no
    UTF-8, Python 3.11 to 3.13 fail to decode the message, and raise that.
    """

    def execute(
        self,
        sql: str,
        parameters: "SupportsLenAndGetItem[object] | Mapping[str, object]" = (),
        /,
    ) -> sqlite3.Cursor:
        try:
            return super().execute(sql, parameters)
        except UnicodeDecodeError as error:
            text = error.object.decode(errors="backslashreplace")
            raise sqlite3.DatabaseError(text) from error


def connect(database: Path) -> sqlite3.Connection:
    """Open an existing database as we always do; never makes one."""
    connection = sqlite3.connect(
        f"file:{_quoted(database)}?mode=rw",
        uri=True,
        timeout=BUSY_WAIT_S,
        isolation_level=None,
        factory=_Connection,
    )
    try:
        # The log is synced with every commit: an acknowledged change survives
        # a power cut. Memory-mapped reading would turn an I/O error into a
        # signal that ends the process.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA mmap_size=0")
        connection.execute("PRAGMA journal_size_limit=67108864")
    except BaseException:
        connection.close()
        raise
    return connection


def must_create(files: StoreFiles) -> bool:
    """Report whether no store was ever made here.

    Raises:
        StoreCorrupt: There was one, and it is gone or emptied.
    """
    size = file_size(files.database)
    if size:
        return False
    if size == 0:
        raise corrupt(files, "is empty: it was cut to nothing")
    marked = read_marker(files)
    if marked is not None:
        raise corrupt(files, f"is missing, but {files.marker.name} says it was here")
    if file_size(files.wal):
        raise corrupt(files, f"is missing, but its log {files.wal.name} is here")
    return True


def create(files: StoreFiles) -> None:
    """Make an empty store; the caller holds the writer lock.

    Raises:
        sqlite3.Error: SQLite could not write it; nothing is in place yet.
        Unavailable: The file system did not let us.
    """
    fresh = files.fresh
    for left in (fresh, *(Path(f"{fresh}{end}") for end in ("-wal", "-shm"))):
        left.unlink(missing_ok=True)
    os.close(open_beside(fresh))
    meta = Meta(Revision(0), Revision(0), 0, os.urandom(16).hex())
    connection = connect(fresh)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA}")
        connection.executescript(f"BEGIN;{_TABLES}COMMIT;")
        connection.execute(
            f"INSERT INTO meta (id, {META_COLUMNS}) VALUES (1, ?, ?, ?, ?, ?)",  # noqa: S608 -- a constant
            meta.to_row(),
        )
    finally:
        connection.close()
    fresh.rename(files.database)
    sync_directory(files.directory)
    write_marker(files, meta.store_id)


def check_schema(files: StoreFiles, connection: sqlite3.Connection) -> None:
    """Refuse a database that is not ours, or of a version we do not know.

    Raises:
        StoreCorrupt: It is something else.
        Unavailable: A newer Calico made it.
    """
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise corrupt(files, "is a SQLite database, but not one of Calico's")
    if version != SCHEMA:
        raise Unavailable(
            str(files.database),
            f"has schema {version}, this version of Calico knows {SCHEMA}",
            ("use the version of Calico that wrote it",),
        )


def read_marker(files: StoreFiles) -> str | None:
    """Return the identifier of the store that was made here; `None` if none."""
    try:
        return files.marker.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(str(files.marker), error.strerror or str(error)) from error


def write_marker(files: StoreFiles, store_id: str) -> None:
    """Leave the store's identifier beside it; the caller holds the lock."""
    descriptor = open_beside(files.marker)
    try:
        share(descriptor, files.directory)
        os.pwrite(descriptor, f"{store_id}\n".encode(), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(files.directory)


def check_marker(files: StoreFiles, store_id: str) -> bool:
    """Compare the marker with the store; report whether it is there.

    Raises:
        StoreCorrupt: The marker belongs to another store.
    """
    marked = read_marker(files)
    if not marked:
        # Whoever made the store died before it could mark it.
        return False
    if marked != store_id:
        raise StoreCorrupt(
            str(files.database),
            f"is another store ({store_id}) than the one that was here ({marked})",
            (
                "put the right file back",
                f"if it was replaced on purpose, remove {files.marker}",
            ),
        )
    return True


def _quoted(path: Path) -> str:
    text = str(path)
    for char in "%?#":
        text = text.replace(char, f"%{ord(char):02x}")
    return text
