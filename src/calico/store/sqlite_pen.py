"""Writing the SQLite store, inside a transaction that the session holds.

A `Pen` lives for one SQLite transaction. It can make more than one revision:
the deletion of what has expired is a revision of its own, before the caller's.
"""

import os
import sqlite3

from calico.model.errors import Conflict, LeaseExpired
from calico.model.names import Revision
from calico.store.api import (
    NO_REVISION,
    Compare,
    Delete,
    DeletePrefix,
    LeaseId,
    Note,
    Operation,
    Put,
    Transaction,
)
from calico.store.clock import Instant
from calico.store.sqlite_rows import (
    KvRow,
    Lease,
    Meta,
    check_kv,
    check_lease,
    fields_checksum,
    kv_checksum,
)
from calico.store.sqlite_select import select_leases, select_row, select_rows

RETAIN_REVISIONS = 100_000
"""So many revisions are remembered however old they are."""

RETAIN_MS = 24 * 3600 * 1000
"""Revisions younger than this are remembered, up to the next limit."""

RETAIN_AT_MOST = 1_000_000
"""More revisions are never remembered."""

_COMPACT_EVERY = 256
_COMPACT_AT_ONCE = 2 * _COMPACT_EVERY  # Catches up, and never stalls a writer.

_LEASE_NOTE = Note("calico", "", "lease expired")
_REVOKE_NOTE = Note("calico", "", "lease revoked")


class Pen:
    """What one transaction of SQLite writes.

    Args:
        connection: Inside a transaction that was begun for writing.
        meta: The store's own row, just read; changed in place.
        now: The time of the transaction.

    Attributes:
        meta: As it will be after the transaction.
        has_written: Whether there is anything to commit.
    """

    def __init__(
        self, connection: sqlite3.Connection, meta: Meta, now: Instant
    ) -> None:
        self.connection = connection
        self.meta = meta
        self.now = now
        self.has_written = False

    def apply(self, transaction: Transaction) -> Revision:
        """Check the compares and make the changes.

        Returns:
            The new revision, or the current one if nothing had to change.

        Raises:
            Conflict: A compare does not hold.
            LeaseExpired: A put names a lease that is over.
        """
        for compare in transaction.compares:
            self._check(compare)
        return self._revise(transaction.operations, transaction.note)

    def delete_expired(self) -> None:
        """Delete the keys of every lease that is over, and the leases."""
        over = tuple(
            lease.lease
            for lease in select_leases(self.connection)
            if lease.is_over(self.now)
        )
        if over:
            self._end(over, _LEASE_NOTE)

    def grant(self, ttl_ms: int) -> LeaseId:
        """Write a new lease."""
        lease = LeaseId(int.from_bytes(os.urandom(7), "big") + 1)
        self._write_lease(lease, ttl_ms)
        return lease

    def keep_alive(self, lease: LeaseId) -> None:
        """Let a lease run its full time from now.

        Raises:
            LeaseExpired: It is over.
        """
        row = self.connection.execute(
            "SELECT id, ttl_ms, boot, ends_ms, crc FROM lease WHERE id = ?", (lease,)
        ).fetchone()
        if row is None:
            raise LeaseExpired(lease)
        self._write_lease(lease, check_lease(row).ttl_ms)

    def revoke(self, lease: LeaseId) -> None:
        """Delete a lease and its keys, if it is there."""
        if self._has_lease(lease):
            self._end((lease,), _REVOKE_NOTE)

    def compact(self, before: Revision) -> None:
        """Forget what is only needed for revisions older than `before`."""
        oldest = min(before, self.meta.revision)
        if oldest > self.meta.compacted:
            self.has_written = True
            self.meta.compacted = oldest
            for table in ("log", "note"):
                self.connection.execute(
                    f"DELETE FROM {table} WHERE revision <= ?",  # noqa: S608 -- a constant
                    (oldest,),
                )

    def finish(self) -> None:
        """Write the store's own row, last of all."""
        if self.has_written:
            self.connection.execute(
                "UPDATE meta SET revision = ?, compacted = ?, digest = ?,"
                " store_id = ?, crc = ? WHERE id = 1",
                self.meta.to_row(),
            )

    def _check(self, compare: Compare) -> None:
        row = select_row(self.connection, compare.key)
        found = NO_REVISION if row is None else Revision(row[3])
        if found != compare.modified:
            raise Conflict(compare.key, compare.modified, found)

    def _revise(self, operations: tuple[Operation, ...], note: Note) -> Revision:
        """Make a revision of the operations, if they change anything."""
        revision = Revision(self.meta.revision + 1)
        has_changed = False
        rows: tuple[KvRow, ...]
        for operation in operations:
            match operation:
                case Put():
                    self._put(revision, operation)
                    has_changed = True
                case Delete(key):
                    row = select_row(self.connection, key)
                    rows = () if row is None else (row,)
                    has_changed |= self._delete(revision, rows)
                case DeletePrefix(prefix):
                    rows = tuple(select_rows(self.connection, prefix))
                    has_changed |= self._delete(revision, rows)
        if has_changed:
            self._write_note(revision, note)
            self.meta.revision = revision
            self.has_written = True
            if revision % _COMPACT_EVERY == 0:
                self._compact_old()
        return self.meta.revision

    def _put(self, revision: Revision, put: Put) -> None:
        if put.lease is not None and not self._has_lease(put.lease):
            raise LeaseExpired(put.lease)
        old = select_row(self.connection, put.key)
        created = revision if old is None else old[2]
        crc = kv_checksum(put.key, put.value, created, revision, put.lease)
        self.meta.digest ^= crc ^ (0 if old is None else old[5])
        self.connection.execute(
            "INSERT OR REPLACE INTO kv (key, value, created, modified, lease, crc)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (put.key, put.value, created, revision, put.lease, crc),
        )
        self._write_log(revision, put.key, put.value, old)

    def _delete(self, revision: Revision, rows: tuple[KvRow, ...]) -> bool:
        """Delete the keys of these rows; report whether there were any."""
        for row in rows:
            check_kv(row)
            self.meta.digest ^= row[5]
            self.connection.execute("DELETE FROM kv WHERE key = ?", (row[0],))
            self._write_log(revision, row[0], None, row)
        return bool(rows)

    def _write_log(
        self, revision: Revision, key: str, value: bytes | None, old: KvRow | None
    ) -> None:
        before = (None, None, None, None) if old is None else old[1:5]
        fields = (revision, key, value, *before)
        # Two prefixes of one transaction may overlap; the second finds nothing.
        self.connection.execute(
            "INSERT INTO log (revision, key, value, prev_value, prev_created,"
            " prev_modified, prev_lease, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*fields, fields_checksum(*fields)),
        )

    def _write_note(self, revision: Revision, note: Note) -> None:
        fields = (
            *(revision, self.now.wall_ms),
            *(note.actor, note.host, note.command, note.reason),
        )
        self.connection.execute(
            "INSERT INTO note (revision, wall_ms, actor, host, command, reason, crc)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*fields, fields_checksum(*fields)),
        )

    def _has_lease(self, lease: LeaseId) -> bool:
        found = self.connection.execute("SELECT 1 FROM lease WHERE id = ?", (lease,))
        return found.fetchone() is not None

    def _write_lease(self, lease: LeaseId, ttl_ms: int) -> None:
        ends_ms = self.now.uptime_ms + ttl_ms
        self.connection.execute(
            "INSERT OR REPLACE INTO lease (id, ttl_ms, boot, ends_ms, crc)"
            " VALUES (?, ?, ?, ?, ?)",
            Lease(lease, ttl_ms, self.now.boot, ends_ms).to_row(),
        )
        self.has_written = True

    def _end(self, leases: tuple[LeaseId, ...], note: Note) -> None:
        keys: list[str] = []
        for lease in leases:
            found = self.connection.execute(
                "SELECT key FROM kv WHERE lease = ?", (lease,)
            )
            keys.extend(key for (key,) in found)
            self.connection.execute("DELETE FROM lease WHERE id = ?", (lease,))
        self.has_written = True
        self._revise(tuple(Delete(key) for key in keys), note)

    def _compact_old(self) -> None:
        """Forget some of what is past the limits, bounded in work."""
        newest = self.meta.revision
        oldest = self.meta.compacted
        rows = self.connection.execute(
            "SELECT revision, wall_ms FROM note WHERE revision > ?"
            " ORDER BY revision LIMIT ?",
            (oldest, _COMPACT_AT_ONCE),
        )
        for revision, wall_ms in rows:
            is_old = wall_ms < self.now.wall_ms - RETAIN_MS
            if revision > newest - (RETAIN_REVISIONS if is_old else RETAIN_AT_MOST):
                break
            oldest = Revision(revision)
        self.compact(oldest)
