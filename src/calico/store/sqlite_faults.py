"""What an error of SQLite means for the user of the store."""

import sqlite3

from calico.model.errors import (
    CalicoError,
    OutcomeUnknown,
    StoreCorrupt,
    StoreFull,
    Unavailable,
)
from calico.store.sqlite_files import StoreFiles, free_bytes, not_permitted

_FULL_BELOW_BYTES = 64 * 1024
"""With less than this left, an I/O error is taken for a full disk.

SQLite reports a shared-memory file that cannot grow as an I/O error.
"""

_UNREADABLE = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_TOOBIG,
        # A damaged schema can still parse, and then lacks a table or column.
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_SCHEMA,
    }
)
_REFUSED = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_CANTOPEN,
    }
)
_BUSY = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))


def corrupt(files: StoreFiles, reason: str) -> StoreCorrupt:
    """Build the error for a store that is damaged."""
    database = files.database
    return StoreCorrupt(
        str(database),
        reason,
        (
            f"stop the agents and put a backup in place of {database}, without "
            f"{files.wal.name} and {database.name}-shm",
            f"move all files out of {files.directory} to begin with an empty store",
        ),
    )


def explain_fault(files: StoreFiles, error: sqlite3.Error) -> CalicoError | None:
    """Say what an error before COMMIT means: nothing was changed.

    Returns:
        The error to raise; `None` if SQLite was misused, which is a bug.
    """
    if isinstance(error, sqlite3.InterfaceError | sqlite3.ProgrammingError):
        return None
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # The only errors without a code: a text column or a schema that is not UTF-8.
        return corrupt(files, f"holds text that cannot be read ({error})")
    return _explain_code(files, code & 0xFF, error)


def _explain_code(files: StoreFiles, code: int, error: sqlite3.Error) -> Unavailable:
    where = str(files.database)
    if code in _UNREADABLE:
        return corrupt(files, f"is damaged or not a datastore ({error})")
    if code == sqlite3.SQLITE_FULL or _is_full(files, code):
        return StoreFull(where, free_bytes(files.directory))
    if code in _REFUSED:
        return not_permitted(files.database, f"cannot be opened or written ({error})")
    if code in _BUSY:
        reason = "is being used by another program in a way that keeps us out"
        return Unavailable(where, reason, (f"see who has it open: fuser -v {where}",))
    return Unavailable(
        where,
        f"the operating system failed to read or write it ({error.sqlite_errorname})",
        ("see the kernel's log for errors of the disk: dmesg",),
    )


def explain_commit_fault(files: StoreFiles, error: sqlite3.Error) -> CalicoError | None:
    """Say what an error of COMMIT means.

    A full disk stops SQLite before the record that completes a transaction,
    so nothing was changed. After any other error that record can be in the
    log, and be found there by whoever opens the store next.
    """
    fault = explain_fault(files, error)
    if fault is None or isinstance(fault, StoreFull):
        return fault
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return OutcomeUnknown(
        str(files.database), f"failed while the change was made durable ({name})"
    )


def _is_full(files: StoreFiles, primary: int) -> bool:
    return (
        primary in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
        and free_bytes(files.directory) < _FULL_BELOW_BYTES
    )
