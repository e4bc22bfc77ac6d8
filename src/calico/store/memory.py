"""A datastore in the memory of one process, for tests of everything else.

It keeps the same contract as the others and forgets everything when it ends.
It is simple rather than fast: every revision is kept as a whole mapping of
keys. Its threads may share it, so that a test can write while another thread
waits for a watch.
"""

import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from calico.model.errors import Compacted, Conflict, LeaseExpired, StoreWentBack
from calico.model.names import Revision
from calico.store.api import (
    NO_REVISION,
    Batch,
    Change,
    Decide,
    Delete,
    DeletePrefix,
    HistoryEntry,
    KeyValue,
    LeaseId,
    Listing,
    Note,
    Operation,
    Put,
    Scope,
    Survey,
    T,
    Transaction,
    View,
)
from calico.store.clock import Clock, Instant, read_instant
from calico.store.values import survey_of

_WHERE = "the store in memory"
_TICK_S = 0.2


@dataclass(frozen=True, slots=True)
class _Point:
    """One revision: what was there, what changed, and why."""

    items: dict[str, KeyValue]
    changes: tuple[Change, ...]
    entry: HistoryEntry


_BEGINNING = _Point({}, (), HistoryEntry(NO_REVISION, 0, Note("", "", ""), ()))


@dataclass(frozen=True, slots=True)
class _Lease:
    ttl_ms: int
    granted: Instant

    def is_over(self, now: Instant) -> bool:
        return now.is_past(self.granted.boot, self.granted.uptime_ms + self.ttl_ms)


class MemoryStore:
    """A store in memory; see `calico.store.api.Store`.

    Args:
        clock: Tells when a lease is over.
    """

    def __init__(self, clock: Clock = read_instant) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._points = [_BEGINNING]
        self._compacted = NO_REVISION
        self._leases: dict[LeaseId, _Lease] = {}
        self._bound: dict[str, LeaseId] = {}
        self._wakers: list[Callable[[], None]] = []
        self._store_id = os.urandom(16).hex()

    @property
    def store_id(self) -> str:
        """What this store is: random, made when it was created."""
        return self._store_id

    def get(self, key: str) -> KeyValue | None:
        """Return a key with its value, or `None` if it is absent."""
        with self._lock:
            self._delete_expired()
            return self._points[-1].items.get(key)

    def list_prefix(self, prefix: str, at: Revision | None = None) -> Listing:
        """Return everything whose key starts with `prefix`, at one revision."""
        with self._lock:
            self._delete_expired()
            revision = self._revision() if at is None else at
            self._check_remembered(revision)
            items = self._points[revision].items
            found = (kv for key, kv in items.items() if key.startswith(prefix))
            return Listing(tuple(sorted(found, key=lambda kv: kv.key)), revision)

    def survey(self, prefix: str, after: Revision) -> Survey:
        """Count the keys below a prefix, and say which are newer than a revision."""
        return survey_of(self.list_prefix(prefix), after)

    def commit(self, transaction: Transaction) -> Revision:
        """Make a transaction's changes, all or none."""
        with self._lock:
            self._delete_expired()
            return self._apply(transaction)

    def update(self, scope: Scope, decide: Decide[T]) -> tuple[Revision, T]:
        """Read, decide and write, so that nobody gets in between."""
        with self._lock:
            self._delete_expired()
            items = sorted(self._points[-1].items.items())
            seen = {
                key: kv
                for key, kv in items
                if key in scope.keys or key.startswith(scope.prefixes)
            }
            transaction, result = decide(View(seen, self._revision()))
            if transaction is None:
                return self._revision(), result
            return self._apply(transaction), result

    def watch(self, prefix: str, after: Revision) -> "MemoryWatch":
        """Watch what changes below `prefix` after a revision."""
        return MemoryWatch(self, prefix, after)

    def last_change(
        self,
        prefixes: tuple[str, ...],
        listing: Listing | None = None,  # noqa: ARG002 -- it is as quick without
    ) -> Revision:
        """Return the newest revision that changed anything below the prefixes."""
        with self._lock:
            self._delete_expired()
            for point in reversed(self._points):
                if any(key.startswith(prefixes) for key in point.entry.keys):
                    return point.entry.revision
            return NO_REVISION

    def history(
        self, prefix: str = "", *, before: Revision | None = None, limit: int = 100
    ) -> tuple[HistoryEntry, ...]:
        """Return the remembered revisions that touched a prefix, newest first."""
        with self._lock:
            self._delete_expired()
            end = len(self._points) if before is None else before
            entries = (
                point.entry._replace(
                    keys=tuple(k for k in point.entry.keys if k.startswith(prefix)),
                )
                for point in reversed(self._points[self._compacted + 1 : end])
            )
            return tuple(entry for entry in entries if entry.keys)[:limit]

    def grant(self, ttl_s: float) -> LeaseId:
        """Begin a lease that ends `ttl_s` seconds from now unless kept alive."""
        with self._lock:
            lease = LeaseId(int.from_bytes(os.urandom(7), "big") + 1)
            self._leases[lease] = _Lease(int(ttl_s * 1000), self._clock())
            return lease

    def keep_alive(self, lease: LeaseId) -> None:
        """Let a lease run its full time again, from now."""
        with self._lock:
            self._delete_expired()
            if lease not in self._leases:
                raise LeaseExpired(lease)
            self._leases[lease] = replace(self._leases[lease], granted=self._clock())

    def revoke(self, lease: LeaseId) -> None:
        """End a lease now and delete its keys."""
        with self._lock:
            self._delete_expired()
            self._end((lease,), Note("calico", "", "lease revoked"))

    def compact(self, before: Revision) -> None:
        """Forget what is only needed to show revisions older than `before`."""
        with self._lock:
            self._compacted = max(self._compacted, min(before, self._revision()))

    def verify(self) -> None:
        """Do nothing: memory is taken to be undamaged."""

    def tidy(self, now_s: float) -> None:
        """Do nothing: memory forgets when it ends."""

    def warnings(self) -> tuple[str, ...]:
        """Say nothing: there is no server."""
        return ()

    def close(self) -> None:
        """Do nothing: others may still use the same store."""

    def read_after(
        self, prefix: str, after: Revision
    ) -> tuple[Revision, tuple[Batch, ...]]:
        """Return what changed below a prefix, and up to which revision.

        Raises:
            Compacted: The changes are no longer remembered.
            StoreWentBack: The store has not come that far.
        """
        with self._lock:
            self._delete_expired()
            self._check_remembered(after)
            batches: list[Batch] = []
            for point in self._points[after + 1 :]:
                changes = tuple(c for c in point.changes if c.key.startswith(prefix))
                if changes:
                    batches.append(Batch(point.entry.revision, changes))
            return self._revision(), tuple(batches)

    def add_waker(self, wake: Callable[[], None]) -> None:
        """Have a function called after every revision."""
        with self._lock:
            self._wakers.append(wake)

    def remove_waker(self, wake: Callable[[], None]) -> None:
        """Have a function called no longer."""
        with self._lock:
            self._wakers.remove(wake)

    def _revision(self) -> Revision:
        return self._points[-1].entry.revision

    def _check_remembered(self, revision: Revision) -> None:
        if revision < self._compacted:
            raise Compacted(revision, self._compacted)
        if revision > self._revision():
            raise StoreWentBack(_WHERE, revision, self._revision())

    def _apply(self, transaction: Transaction) -> Revision:
        items = self._points[-1].items
        for compare in transaction.compares:
            held = items.get(compare.key)
            found = NO_REVISION if held is None else held.modified
            if found != compare.modified:
                raise Conflict(compare.key, compare.modified, found)
        for operation in transaction.operations:
            lease = operation.lease if isinstance(operation, Put) else None
            if lease is not None and lease not in self._leases:
                raise LeaseExpired(lease)
        return self._revise(transaction.operations, transaction.note)

    def _revise(self, operations: tuple[Operation, ...], note: Note) -> Revision:
        revision = Revision(self._revision() + 1)
        items = dict(self._points[-1].items)
        changes: dict[str, Change] = {}
        for operation in operations:
            if isinstance(operation, Put):
                key = operation.key
                created = items[key].created if key in items else revision
                items[key] = KeyValue(key, operation.value, created, revision)
                changes[key] = Change(key, operation.value)
                self._bind(key, operation.lease)
                continue
            for key in _named(operation, items):
                del items[key]
                changes[key] = Change(key, None)
                self._bind(key, None)
        if changes:
            keys = sorted(changes)
            time_s = self._clock().wall_ms / 1000
            entry = HistoryEntry(revision, time_s, note, tuple(keys))
            self._points.append(_Point(items, tuple(changes[k] for k in keys), entry))
            for wake in self._wakers:
                wake()
        return self._revision()

    def _bind(self, key: str, lease: LeaseId | None) -> None:
        self._bound.pop(key, None)
        if lease is not None:
            self._bound[key] = lease

    def _delete_expired(self) -> None:
        now = self._clock()
        over = (lease for lease, held in self._leases.items() if held.is_over(now))
        self._end(tuple(over), Note("calico", "", "lease expired"))

    def _end(self, leases: tuple[LeaseId, ...], note: Note) -> None:
        keys = [key for key, lease in self._bound.items() if lease in leases]
        for lease in leases:
            self._leases.pop(lease, None)
        self._revise(tuple(Delete(key) for key in keys), note)


class MemoryWatch:
    """The changes below a prefix of a store in memory.

    Args:
        store: The store.
        prefix: Where to look.
        after: The revision the caller has seen.
    """

    def __init__(self, store: MemoryStore, prefix: str, after: Revision) -> None:
        self._store = store
        self._prefix = prefix
        self._after = after
        self._event = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        store.add_waker(self._wake)

    @property
    def revision(self) -> Revision:
        """Everything up to this revision has been returned; resume after it."""
        return self._after

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` should be called.

        Unlike other stores' it does not wake for the expiry of a lease: a loop
        that waits for that needs a time-out of its own.
        """
        return self._event

    def read(self, timeout_s: float | None) -> tuple[Batch, ...]:
        """Wait for changes and return them, oldest first."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            if select.select([self._event], [], [], 0)[0]:
                os.eventfd_read(self._event)
            self._after, batches = self._store.read_after(self._prefix, self._after)
            if batches:
                return batches
            left = _TICK_S if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return ()
            select.select([self._event], [], [], min(left, _TICK_S))

    def close(self) -> None:
        """End the watch and free what it holds."""
        if self._event >= 0:
            self._store.remove_waker(self._wake)
            os.close(self._event)
            self._event = -1

    def _wake(self) -> None:
        os.eventfd_write(self._event, 1)


def _named(operation: Delete | DeletePrefix, items: dict[str, KeyValue]) -> list[str]:
    """Return the keys that an operation deletes."""
    if isinstance(operation, Delete):
        return [operation.key] if operation.key in items else []
    return [key for key in items if key.startswith(operation.prefix)]
