"""Reading the SQLite store, inside a transaction that the caller holds.

Everything here sees one revision, and leaves out the keys of leases that are
over at the time given, whether or not their deletion has been written yet.
Every row is verified before it is used.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby

from calico.model.errors import Compacted, StoreWentBack
from calico.model.names import Revision
from calico.store.api import (
    NO_REVISION,
    Batch,
    Change,
    HistoryEntry,
    KeyValue,
    LeaseId,
    Listing,
    Note,
    Scope,
    View,
)
from calico.store.clock import Clock, Instant
from calico.store.prefix import range_end
from calico.store.sqlite_rows import (
    KV_COLUMNS,
    LEASE_COLUMNS,
    LOG_COLUMNS,
    META_COLUMNS,
    NOTE_COLUMNS,
    DamagedRowError,
    KvRow,
    Lease,
    LogRow,
    Meta,
    check_kv,
    check_lease,
    check_log,
    check_meta,
    check_note,
)

_BELOW = "key >= ? AND key < ?"
_ABOVE_ALL_KEYS = b""  # In SQLite every blob is above every text.

_META = f"SELECT {META_COLUMNS} FROM meta WHERE id = 1"  # noqa: S608 -- constants
_KV = f"SELECT {KV_COLUMNS} FROM kv WHERE key = ?"  # noqa: S608 -- constants
_KV_BELOW = f"SELECT {KV_COLUMNS} FROM kv WHERE {_BELOW} ORDER BY key"  # noqa: S608 -- constants
_LEASES = f"SELECT {LEASE_COLUMNS} FROM lease"  # noqa: S608 -- constants
_LOG = f"SELECT {LOG_COLUMNS} FROM log WHERE revision > ? AND {_BELOW} ORDER BY revision, key"  # noqa: E501, S608 -- constants
_LAST_LOG = f"SELECT revision FROM log WHERE {_BELOW} ORDER BY revision DESC LIMIT 1"  # noqa: S608 -- constants
_LAST_KV = f"SELECT max(modified) FROM kv WHERE {_BELOW}"  # noqa: S608 -- constants
_NOTES = f"SELECT {NOTE_COLUMNS} FROM note WHERE revision < ? ORDER BY revision DESC"  # noqa: S608 -- constants
_LOG_KEYS = f"SELECT key FROM log WHERE revision = ? AND {_BELOW} ORDER BY key"  # noqa: S608 -- constants

_NO_LIMIT = (1 << 63) - 1


def key_range(prefix: str) -> tuple[str, str | bytes]:
    """Return the first key below a prefix, and the first above all of them."""
    end = range_end(prefix)
    return (prefix, _ABOVE_ALL_KEYS if end is None else end)


def select_meta(connection: sqlite3.Connection) -> Meta:
    """Read the row about the whole store."""
    return check_meta(connection.execute(_META).fetchone())


def select_leases(connection: sqlite3.Connection) -> tuple[Lease, ...]:
    """Read all leases, those that are over included."""
    return tuple(check_lease(row) for row in connection.execute(_LEASES))


def select_row(connection: sqlite3.Connection, key: str) -> KvRow | None:
    """Read one key's row, whether or not its lease is over."""
    row: KvRow | None = connection.execute(_KV, (key,)).fetchone()
    if row is not None:
        check_kv(row)
    return row


def select_rows(connection: sqlite3.Connection, prefix: str) -> Iterator[KvRow]:
    """Read the rows below a prefix, not verified, in the order of keys."""
    rows: Iterator[KvRow] = connection.execute(_KV_BELOW, key_range(prefix))
    return rows


def select_key(
    connection: sqlite3.Connection, key: str, clock: Clock
) -> KeyValue | None:
    """Read one key."""
    row: KvRow | None = connection.execute(_KV, (key,)).fetchone()
    if row is None:
        return None
    found = check_kv(row)
    if row[4] is None or row[4] in _living(connection, clock()):
        return found
    return None


def select_below(
    connection: sqlite3.Connection, prefix: str, now: Instant
) -> tuple[KeyValue, ...]:
    """Read everything below a prefix as it is now."""
    living = _living(connection, now)
    return tuple(
        check_kv(row)
        for row in select_rows(connection, prefix)
        if row[4] is None or row[4] in living
    )


def select_listing(
    connection: sqlite3.Connection, prefix: str, now: Instant
) -> Listing:
    """Read everything below a prefix with the revision it is at."""
    items = select_below(connection, prefix, now)
    return Listing(items, select_meta(connection).revision)


def select_listing_at(
    connection: sqlite3.Connection, prefix: str, at: Revision, where: str
) -> Listing:
    """Read everything below a prefix as it was at a revision.

    That is what has not changed since, and of what has, the value before its
    first change since.

    Raises:
        Compacted: The changes since then are no longer remembered.
        StoreWentBack: The store has not come that far.
    """
    meta = select_meta(connection)
    if at < meta.compacted:
        raise Compacted(at, meta.compacted)
    if at > meta.revision:
        raise StoreWentBack(where, at, meta.revision)
    items: dict[str, KeyValue | None] = {}
    for row in _select_log(connection, prefix, at):
        if row[1] not in items:
            items[row[1]] = _before(row)
    for kv_row in select_rows(connection, prefix):
        if kv_row[3] <= at:
            items[kv_row[0]] = check_kv(kv_row)
    present = (kv for _, kv in sorted(items.items()) if kv is not None)
    return Listing(tuple(present), at)


def select_view(
    connection: sqlite3.Connection, scope: Scope, revision: Revision, now: Instant
) -> View:
    """Read what a scope holds, each key once."""
    items: dict[str, KeyValue] = {}
    for prefix in scope.prefixes:
        items.update((kv.key, kv) for kv in select_below(connection, prefix, now))
    for key in scope.keys:
        found = select_key(connection, key, lambda: now)
        if found is not None:
            items[key] = found
    return View(dict(sorted(items.items())), revision)


def select_batches(
    connection: sqlite3.Connection, prefix: str, after: Revision, at_most: int
) -> tuple[Batch, ...]:
    """Read whole revisions below a prefix, oldest first."""
    batches: list[Batch] = []
    rows = _select_log(connection, prefix, after)
    for revision, group in groupby(rows, key=lambda row: row[0]):
        changes = tuple(Change(row[1], row[2]) for row in group)
        batches.append(Batch(Revision(revision), changes))
        if len(batches) == at_most:
            break
    return tuple(batches)


def select_last_change(
    connection: sqlite3.Connection, prefixes: Iterable[str]
) -> Revision:
    """Read the newest revision that changed anything below the prefixes."""
    newest = NO_REVISION
    for prefix in prefixes:
        keys = key_range(prefix)
        row = connection.execute(_LAST_LOG, keys).fetchone()
        if row is None:
            row = connection.execute(_LAST_KV, keys).fetchone()
        newest = max(newest, Revision(row[0] or 0))
    return newest


def select_history(
    connection: sqlite3.Connection, prefix: str, before: Revision | None, limit: int
) -> tuple[HistoryEntry, ...]:
    """Read the notes of the revisions that touched a prefix, newest first."""
    entries: list[HistoryEntry] = []
    keys = key_range(prefix)
    for row in connection.execute(_NOTES, (_NO_LIMIT if before is None else before,)):
        if len(entries) >= limit:
            break
        revision, wall_ms, actor, host, command, reason, _ = check_note(row)
        touched = tuple(
            key for (key,) in connection.execute(_LOG_KEYS, (revision, *keys))
        )
        if touched:
            note = Note(actor, host, command, reason)
            entries.append(
                HistoryEntry(Revision(revision), wall_ms / 1000, note, touched)
            )
    return tuple(entries)


def verify_all(connection: sqlite3.Connection) -> None:
    """Read every page and every row that is not history.

    Raises:
        DamagedRowError: Something is damaged.
        sqlite3.Error: SQLite cannot read it.
    """
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DamagedRowError(f"SQLite's own structure ({found})")
    meta = select_meta(connection)
    digest = 0
    for row in select_rows(connection, ""):
        check_kv(row)
        digest ^= row[5]
    if digest != meta.digest:
        raise DamagedRowError("the list of all keys")
    select_leases(connection)


def _select_log(
    connection: sqlite3.Connection, prefix: str, after: Revision
) -> Iterator[LogRow]:
    for row in connection.execute(_LOG, (after, *key_range(prefix))):
        yield check_log(row)


def _before(row: LogRow) -> KeyValue | None:
    """Return what a key was before a change; `None` if it was absent."""
    _, key, _, value, created, modified, _, _ = row
    if value is None or created is None or modified is None:
        return None
    return KeyValue(key, value, Revision(created), Revision(modified))


def _living(connection: sqlite3.Connection, now: Instant) -> frozenset[LeaseId]:
    return frozenset(
        lease.lease for lease in select_leases(connection) if not lease.is_over(now)
    )
