"""One connection to a SQLite store, with its lock and its notify file.

Reading happens in one short transaction each, so that the log can always be
checkpointed. Writing is the same sequence every time: take the lock, compare
database and notify file, begin, delete what has expired, let the caller write,
commit, announce, release. The lock is held over the commit because that is
where SQLite checkpoints.

A session remembers the process that opened it: a SQLite connection must not
be used on both sides of a fork.
"""

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

from calico.model.errors import StoreBusy, StoreWentBack, Unavailable
from calico.store.clock import Clock
from calico.store.sqlite_faults import corrupt, explain_commit_fault, explain_fault
from calico.store.sqlite_files import StoreFiles, check_writable, prepare_directory
from calico.store.sqlite_lock import LOCK_WAIT_S, WriterLock
from calico.store.sqlite_notify import NotifyFile
from calico.store.sqlite_pen import Pen
from calico.store.sqlite_rows import DamagedRowError, Meta
from calico.store.sqlite_schema import (
    check_marker,
    check_schema,
    connect,
    create,
    must_create,
    write_marker,
)
from calico.store.sqlite_select import select_meta


class Session:
    """An open store. Use `open_session`.

    Attributes:
        files: Where it is.
        clock: Where it gets the time from.
        store_id: Its identifier.
    """

    def __init__(self, files: StoreFiles, clock: Clock) -> None:
        self.files = files
        self.clock = clock
        self.store_id = ""
        self._process = os.getpid()
        self._in_use = False
        self._connection: sqlite3.Connection | None = None
        self._notify = NotifyFile(files.notify)
        try:
            self._lock = WriterLock(files.lock)
        except BaseException:
            self._notify.close()
            raise
        self._identity = (0, 0)

    def open(self) -> None:
        """Connect, making the store if none was ever made here."""
        files = self.files
        with self._explaining():
            if must_create(files):
                with self._locked(LOCK_WAIT_S):
                    if must_create(files):
                        create(files)
            check_writable(files.database)
            self._identity = self._look()
            self._connection = connect(files.database)
            check_schema(files, self._connection)
        announced = self._notify.read()
        with self.reading() as connection:
            meta = select_meta(connection)
        self.store_id = meta.store_id
        self.check_announced(announced, meta)
        if not check_marker(files, meta.store_id):
            with self._locked(LOCK_WAIT_S):
                write_marker(files, meta.store_id)

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection, None, None]:
        """Hold one revision of the store for reading.

        Raises:
            Unavailable: It cannot be read.
        """
        connection = self._begin_use()
        try:
            with self._explaining():
                connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    self._roll_back(connection)
        finally:
            self._in_use = False

    @contextmanager
    def writing(self, wait_s: float = LOCK_WAIT_S) -> Generator[Pen, None, None]:
        """Change the store; an error inside changes nothing.

        Args:
            wait_s: How long to wait for other writers.

        Raises:
            StoreBusy: Others were writing for that long.
            OutcomeUnknown: The change may or may not have been made.
            Unavailable: It was not made.
        """
        connection = self._begin_use()
        try:
            with self._locked(wait_s):
                announced = self._notify.read()
                with self._explaining():
                    connection.execute("BEGIN IMMEDIATE")
                    try:
                        meta = select_meta(connection)
                        self.check_announced(announced, meta)
                        pen = Pen(connection, meta, self.clock())
                        pen.delete_expired()
                        yield pen
                        pen.finish()
                    except BaseException:
                        self._roll_back(connection)
                        raise
                self._commit(connection, pen)
        finally:
            self._in_use = False

    def read_announced(self) -> int:
        """Return a revision that other processes have reported as durable."""
        return self._notify.read()

    def check_announced(self, announced: int, meta: Meta) -> None:
        """Refuse a database that is behind what was announced before.

        Args:
            announced: From `read_announced`, called before `meta` was read.
            meta: The database's own row.

        Raises:
            StoreWentBack: Acknowledged changes are gone.
        """
        if announced > meta.revision:
            raise StoreWentBack(
                str(self.files.database),
                announced,
                meta.revision,
                (
                    "put a newer backup back",
                    "to accept the loss, say so with: "
                    f"truncate -s 0 {self.files.notify}",
                ),
            )

    def close(self) -> None:
        """Disconnect; the last one to do so empties SQLite's log."""
        connection, self._connection = self._connection, None
        if connection is not None and self._process == os.getpid():
            try:
                self._lock.acquire(LOCK_WAIT_S)
            except Unavailable:
                # Somebody else has the store open, so closing does not
                # checkpoint, and the lock is not needed.
                connection.close()
            else:
                connection.close()
                self._lock.release()
        self._lock.close()
        self._notify.close()

    def _begin_use(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the store is closed")
        if self._process != os.getpid():
            raise RuntimeError("the store was opened before a fork: open it again")
        if self._in_use:
            raise RuntimeError("the store is used while it is being used")
        if self._look() != self._identity:
            raise corrupt(self.files, "was replaced while it was in use")
        self._in_use = True
        return self._connection

    def _look(self) -> tuple[int, int]:
        """Return which file the database is now."""
        try:
            found = os.stat(self.files.database)  # noqa: PTH116 -- on every read
        except FileNotFoundError:
            raise corrupt(self.files, "is gone") from None
        except OSError as error:
            raise Unavailable(
                str(self.files.database), error.strerror or str(error)
            ) from error
        if found.st_size == 0:
            raise corrupt(self.files, "is empty: it was cut to nothing")
        return (found.st_dev, found.st_ino)

    @contextmanager
    def _locked(self, wait_s: float) -> Generator[None, None, None]:
        self._lock.acquire(wait_s)
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _explaining(self) -> Generator[None, None, None]:
        """Turn what SQLite and damaged rows raise into our errors."""
        try:
            yield
        except sqlite3.Error as error:
            fault = explain_fault(self.files, error)
            if fault is None:
                raise
            raise fault from error
        except DamagedRowError as error:
            raise corrupt(self.files, f"is damaged: {error}") from error

    def _commit(self, connection: sqlite3.Connection, pen: Pen) -> None:
        if not pen.has_written:
            self._roll_back(connection)
            return
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back(connection)
            fault = explain_commit_fault(self.files, error)
            if fault is None:
                raise
            raise fault from error
        self._notify.announce(pen.meta.revision)

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error:
                # What was to be undone stays in a connection that cannot
                # commit it; the error that led here is the one to report.
                return


def open_session(files: StoreFiles, clock: Clock) -> Session:
    """Open a store, making it if none was ever made here.

    Raises:
        StoreNotPermitted: This user may not use it.
        StoreCorrupt: It is damaged, emptied or gone.
        StoreWentBack: Acknowledged changes are gone.
        Unavailable: It cannot be used for another reason.
    """
    prepare_directory(files.directory)
    session = Session(files, clock)
    try:
        session.open()
    except BaseException:
        session.close()
        raise
    return session


def try_reap(session: Session) -> None:
    """Write the deletion of what has expired, if nobody else is writing."""
    try:
        with session.writing(wait_s=0):
            pass
    except StoreBusy:
        return  # The writer at work deletes it.
