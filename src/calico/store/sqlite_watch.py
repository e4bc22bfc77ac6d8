"""A watch on a SQLite store: read the log, sleep, read on.

A watch has a connection of its own, holds no transaction while it sleeps, and
wakes by `sqlite_wakeup`. It writes the deletion of expired keys when it finds
any and nobody is writing, so that expiry reaches watchers on a quiet store.
"""

import time

from calico.model.errors import Compacted, OutcomeUnknown, StoreWentBack, Unavailable
from calico.model.names import Revision
from calico.store.api import Batch
from calico.store.sqlite_select import select_batches, select_leases, select_meta
from calico.store.sqlite_session import Session, try_reap
from calico.store.sqlite_wakeup import Wakeup

_AT_ONCE = 1000
"""Revisions returned by one call, so that a long catch-up stays bounded."""


class SqliteWatch:
    """The changes below a prefix; see `calico.store.api.Watch`.

    Args:
        session: Belongs to the watch, which closes it.
        prefix: Where to look.
        after: The revision the caller has seen.
    """

    def __init__(self, session: Session, prefix: str, after: Revision) -> None:
        self._session = session
        self._prefix = prefix
        self._after = after
        self._wakeup = Wakeup(session.files.notify, session.files.wal)

    @property
    def revision(self) -> Revision:
        """Everything up to this revision has been returned; resume after it."""
        return self._after

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` should be called."""
        return self._wakeup.fileno()

    def read(self, timeout_s: float | None) -> tuple[Batch, ...]:
        """Wait for changes and return them, oldest first."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._wakeup.drain()
            batches = self._read_on()
            if batches:
                return batches
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return ()
            self._wakeup.wait(left)

    def close(self) -> None:
        """End the watch and free what it holds."""
        self._wakeup.close()
        self._session.close()

    def _read_on(self) -> tuple[Batch, ...]:
        """Return what is new, without waiting."""
        session = self._session
        announced = session.read_announced()
        with session.reading() as connection:
            meta = select_meta(connection)
            session.check_announced(announced, meta)
            if self._after < meta.compacted:
                raise Compacted(self._after, meta.compacted)
            if self._after > meta.revision:
                where = str(session.files.database)
                raise StoreWentBack(where, self._after, meta.revision)
            batches: tuple[Batch, ...] = ()
            if self._after < meta.revision:
                batches = select_batches(
                    connection, self._prefix, self._after, _AT_ONCE
                )
            now = session.clock()
            is_due = any(lease.is_over(now) for lease in select_leases(connection))
        if len(batches) == _AT_ONCE:
            self._after = batches[-1].revision
            self._wakeup.look_again(0)
        else:
            self._after = meta.revision
        if is_due:
            self._reap()
        return batches

    def _reap(self) -> None:
        try:
            try_reap(self._session)
        except (Unavailable, OutcomeUnknown):
            # Reading goes on, and whoever can write deletes what is over.
            return
        self._wakeup.look_again(0)
