"""The contract of a datastore, whatever keeps it.

A datastore maps keys to bytes. Each transaction that changes anything makes
one new revision of the whole, one higher than the last; a listing always shows
exactly one of them. A store that others share, an etcd, is at some revision
before the first key of ours, and others' changes count too. Writes are
compare-and-set: a transaction names the revisions it was decided on and is
refused with `Conflict` if any of them is no longer true.

A watch yields whole revisions in order, none twice, none left out, from any
revision that is still remembered; otherwise it raises `Compacted`, and the
caller lists again and watches from there.

A lease bounds the life of keys by that of their writer. When it expires its keys
are gone for every reader, in an etcd within a second; where the revision that
deletes them is written by whoever comes next, a writer or a watcher, a listing
can miss a key shortly before the revision that says so.

A store, and each watch, belongs to one thread of one process.
`tests/store_contract.py` is this contract as a test suite.
"""

from typing import Protocol

from calico.model.names import Revision
from calico.store.values import (
    NO_REVISION,
    Batch,
    Change,
    Compare,
    Decide,
    Delete,
    DeletePrefix,
    HistoryEntry,
    KeyRevision,
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

__all__ = [
    "NO_REVISION",
    "Batch",
    "Change",
    "Compare",
    "Decide",
    "Delete",
    "DeletePrefix",
    "HistoryEntry",
    "KeyRevision",
    "KeyValue",
    "LeaseId",
    "Listing",
    "Note",
    "Operation",
    "Put",
    "Revision",
    "Scope",
    "Store",
    "Survey",
    "T",
    "Transaction",
    "View",
    "Watch",
]


class Watch(Protocol):
    """The changes below a prefix, from one revision on."""

    @property
    def revision(self) -> Revision:
        """Everything up to this revision has been returned; resume after it.

        It moves on over revisions that changed nothing below the prefix, at the
        latest when `read` returns empty. Keys that the end of a lease deleted may
        be returned after their revision was reached so.
        """
        ...

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` should be called.

        It can be readable without a change, and becomes readable from time to
        time by itself, so a loop that waits for it needs no time-out of its
        own. Only `read` makes it unreadable again.
        """
        ...

    def read(self, timeout_s: float | None) -> tuple[Batch, ...]:
        """Wait for changes and return them, oldest first.

        Args:
            timeout_s: How long to wait; 0 returns at once, `None` waits on.

        Returns:
            Whole revisions that changed something below the prefix; empty when
            the time ran out. Not necessarily all there are: call again.

        Raises:
            Compacted: The changes after `revision` are no longer remembered.
            Unavailable: The store cannot be read; the watch stays usable.
        """
        ...

    def close(self) -> None:
        """End the watch and free what it holds; closing twice is allowed."""
        ...


class Store(Protocol):
    """A datastore."""

    @property
    def store_id(self) -> str:
        """What this store is: random, made when it was created."""
        ...

    def get(self, key: str) -> KeyValue | None:
        """Return a key with its value, or `None` if it is absent.

        Raises:
            Unavailable: The store cannot be read.
        """
        ...

    def list_prefix(self, prefix: str, at: Revision | None = None) -> Listing:
        """Return everything whose key starts with `prefix`, at one revision.

        Args:
            prefix: Where to look; empty means everywhere.
            at: The revision to show; without it, the current one.

        Raises:
            Compacted: That revision is no longer remembered.
            StoreWentBack: That revision is not reached yet.
            Unavailable: The store cannot be read.
        """
        ...

    def survey(self, prefix: str, after: Revision) -> Survey:
        """Count the keys below a prefix, and say which are newer than a revision.

        Far cheaper than a listing where much is there and little is new.

        Raises:
            Unavailable: The store cannot be read.
        """
        ...

    def commit(self, transaction: Transaction) -> Revision:
        """Make a transaction's changes, all or none, and durable.

        Returns:
            The new revision, or the current one if nothing had to change.

        Raises:
            Conflict: A compare does not hold; nothing was changed.
            LeaseExpired: A put names a lease that is over; nothing was changed.
            OutcomeUnknown: It may or may not have been made.
            Unavailable: It was not made.
        """
        ...

    def update(self, scope: Scope, decide: Decide[T]) -> tuple[Revision, T]:
        """Read, decide and write, so that nobody gets in between.

        The way to make every change that depends on what is there. Compares
        for what was read need not be in the transaction.

        Args:
            scope: What to read.
            decide: Called with what was read; returns the transaction to make,
                or `None` to change nothing, and a result for the caller.

        Returns:
            The revision as from `commit`, or the one that `decide` saw when it
            wanted no change; and its result.

        Raises:
            Conflict: Others were first, a fixed number of times in a row; or a
                compare of the transaction itself does not hold.
            LeaseExpired: A put names a lease that is over; nothing was changed.
            OutcomeUnknown: It may or may not have been made.
            Unavailable: It was not made.
        """
        ...

    def watch(self, prefix: str, after: Revision) -> Watch:
        """Watch what changes below `prefix` after a revision.

        Args:
            prefix: Where to look; empty means everywhere.
            after: A revision that the caller has seen, mostly a listing's.

        Raises:
            Unavailable: The store cannot be read.
        """
        ...

    def last_change(
        self, prefixes: tuple[str, ...], listing: Listing | None = None
    ) -> Revision:
        """Return the newest revision that changed anything below the prefixes.

        A deletion counts as long as it is remembered; 0 means nothing is there.
        In an etcd, what the end of a lease or another program deletes does not.

        Args:
            prefixes: Where to look.
            listing: All that is below them, as just read, which saves an etcd
                from looking through all of it again. What was put since then may
                be missed.

        Raises:
            Unavailable: The store cannot be read.
        """
        ...

    def history(
        self, prefix: str = "", *, before: Revision | None = None, limit: int = 100
    ) -> tuple[HistoryEntry, ...]:
        """Return the remembered revisions that touched a prefix, newest first.

        Args:
            prefix: Only revisions that changed something below it; `keys` of
                the entries hold only such keys. Empty means all.
            before: Only revisions older than this.
            limit: At most so many.

        Raises:
            Unavailable: The store cannot be read.
        """
        ...

    def grant(self, ttl_s: float) -> LeaseId:
        """Begin a lease that ends `ttl_s` seconds from now unless kept alive.

        An etcd counts whole seconds, and gives one and a half of its election
        time-outs at least, which are 2 seconds unless it is told otherwise.

        Raises:
            OutcomeUnknown: An unused lease may be left, and ends by itself.
            Unavailable: There is no lease.
        """
        ...

    def keep_alive(self, lease: LeaseId) -> None:
        """Let a lease run its full time again, from now.

        Raises:
            LeaseExpired: It is over already.
            OutcomeUnknown: It may or may not have been prolonged.
            Unavailable: It was not prolonged.
        """
        ...

    def revoke(self, lease: LeaseId) -> None:
        """End a lease now and delete its keys; one that is over is no error.

        Raises:
            OutcomeUnknown: It may or may not have been ended.
            Unavailable: It was not ended.
        """
        ...

    def compact(self, before: Revision) -> None:
        """Forget what is only needed to show revisions older than `before`.

        Args:
            before: The oldest revision to remember, at most the current one.

        Raises:
            OutcomeUnknown: It may or may not have been done.
            Unavailable: It was not done.
        """
        ...

    def verify(self) -> None:
        """Read everything once and make sure that it is undamaged.

        Raises:
            StoreCorrupt: Something is damaged, and what.
            Unavailable: The store cannot be read.
        """
        ...

    def tidy(self, now_s: float) -> None:
        """Forget what is older than a store remembers, unless it does so by itself.

        Every agent calls it from time to time; one of them does it.

        Args:
            now_s: Seconds since the epoch.

        Raises:
            OutcomeUnknown: It may or may not have been done.
            Unavailable: It was not done.
        """
        ...

    def warnings(self) -> tuple[str, ...]:
        """Say what an operator should know about the store's servers.

        Raises:
            Unavailable: They cannot be asked.
        """
        ...

    def close(self) -> None:
        """Free what the store holds; closing twice is allowed."""
        ...
