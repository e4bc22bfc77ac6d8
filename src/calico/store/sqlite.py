"""The embedded datastore: one SQLite file, shared by several processes.

Theory of operation. The database is in WAL mode, so readers see one revision
and never wait, and every commit is synced before it is acknowledged. All
writers and checkpoints go through one file lock (`sqlite_lock`). Each change
is in `kv` as it is now and in `log` as it happened, with what was there
before; listings of old revisions and watches are read from the log. After a
commit the revision is written to a small file that watchers follow
(`sqlite_notify`, `sqlite_wakeup`). Rows carry checksums (`sqlite_rows`), and a
store that is emptied, replaced or has gone back is refused, never recreated
(`sqlite_schema`, `sqlite_session`).

Not here: backups, and repairing what is damaged.
"""

from pathlib import Path

from calico.model.names import Revision
from calico.store.api import (
    Decide,
    HistoryEntry,
    KeyValue,
    LeaseId,
    Listing,
    Scope,
    Survey,
    T,
    Transaction,
    Watch,
)
from calico.store.clock import Clock, read_instant
from calico.store.sqlite_files import StoreFiles
from calico.store.sqlite_select import (
    select_history,
    select_key,
    select_last_change,
    select_listing,
    select_listing_at,
    select_view,
    verify_all,
)
from calico.store.sqlite_session import Session, open_session
from calico.store.values import survey_of


class SqliteStore:
    """A store in a directory of this machine; see `calico.store.api.Store`.

    Args:
        session: Belongs to the store, which closes it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @classmethod
    def open(cls, directory: Path, clock: Clock = read_instant) -> "SqliteStore":
        """Open the store of a directory, making both if they never were.

        Raises:
            StoreNotPermitted: This user may not use it.
            StoreCorrupt: It is damaged, emptied or gone.
            StoreWentBack: Acknowledged changes are gone.
            Unavailable: It cannot be used for another reason.
        """
        return cls(open_session(StoreFiles(directory), clock))

    @property
    def store_id(self) -> str:
        """What this store is: random, made when it was created."""
        return self._session.store_id

    def get(self, key: str) -> KeyValue | None:
        """Return a key with its value, or `None` if it is absent."""
        with self._session.reading() as connection:
            return select_key(connection, key, self._session.clock)

    def list_prefix(self, prefix: str, at: Revision | None = None) -> Listing:
        """Return everything whose key starts with `prefix`, at one revision."""
        with self._session.reading() as connection:
            if at is None:
                return select_listing(connection, prefix, self._session.clock())
            where = str(self._session.files.database)
            return select_listing_at(connection, prefix, at, where)

    def survey(self, prefix: str, after: Revision) -> Survey:
        """Count the keys below a prefix, and say which are newer than a revision."""
        return survey_of(self.list_prefix(prefix), after)

    def commit(self, transaction: Transaction) -> Revision:
        """Make a transaction's changes, all or none, and durable."""
        with self._session.writing() as pen:
            return pen.apply(transaction)

    def update(self, scope: Scope, decide: Decide[T]) -> tuple[Revision, T]:
        """Read, decide and write under the lock, so that nobody gets between."""
        with self._session.writing() as pen:
            view = select_view(pen.connection, scope, pen.meta.revision, pen.now)
            transaction, result = decide(view)
            if transaction is None:
                return view.revision, result
            return pen.apply(transaction), result

    def watch(self, prefix: str, after: Revision) -> Watch:
        """Watch what changes below `prefix` after a revision."""
        # The path decides who can watch, so this module stays free of ctypes,
        # which the wake-up calls need and one-shot commands do not.
        from calico.store.sqlite_watch import SqliteWatch  # noqa: PLC0415 -- above

        session = open_session(self._session.files, self._session.clock)
        return SqliteWatch(session, prefix, after)

    def last_change(
        self,
        prefixes: tuple[str, ...],
        listing: Listing | None = None,  # noqa: ARG002 -- it is as quick without
    ) -> Revision:
        """Return the newest revision that changed anything below the prefixes."""
        with self._session.reading() as connection:
            return select_last_change(connection, prefixes)

    def history(
        self, prefix: str = "", *, before: Revision | None = None, limit: int = 100
    ) -> tuple[HistoryEntry, ...]:
        """Return the remembered revisions that touched a prefix, newest first."""
        with self._session.reading() as connection:
            return select_history(connection, prefix, before, limit)

    def grant(self, ttl_s: float) -> LeaseId:
        """Begin a lease that ends `ttl_s` seconds from now unless kept alive."""
        with self._session.writing() as pen:
            return pen.grant(int(ttl_s * 1000))

    def keep_alive(self, lease: LeaseId) -> None:
        """Let a lease run its full time again, from now."""
        with self._session.writing() as pen:
            pen.keep_alive(lease)

    def revoke(self, lease: LeaseId) -> None:
        """End a lease now and delete its keys."""
        with self._session.writing() as pen:
            pen.revoke(lease)

    def compact(self, before: Revision) -> None:
        """Forget what is only needed to show revisions older than `before`."""
        with self._session.writing() as pen:
            pen.compact(before)

    def verify(self) -> None:
        """Read everything once and make sure that it is undamaged."""
        with self._session.reading() as connection:
            verify_all(connection)

    def tidy(self, now_s: float) -> None:
        """Do nothing: every write forgets some of what is old."""

    def warnings(self) -> tuple[str, ...]:
        """Say nothing: there is no server."""
        return ()

    def close(self) -> None:
        """Free what the store holds; closing twice is allowed."""
        self._session.close()
