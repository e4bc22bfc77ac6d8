"""Rows of the SQLite store, each with a checksum that is verified on reading.

SQLite finds damage to the structure of a file, but not a changed bit inside
a value or a key. The checksum covers everything in a row; the single `meta`
row also holds the exclusive-or of the checksums of all keys, so that a row
that is missing or there twice is found by reading all of them.
"""

from dataclasses import dataclass
from zlib import crc32

from calico.model.names import Revision
from calico.store.api import KeyValue, LeaseId
from calico.store.clock import Instant

META_COLUMNS = "revision, compacted, digest, store_id, crc"
KV_COLUMNS = "key, value, created, modified, lease, crc"
LOG_COLUMNS = (
    "revision, key, value, prev_value, prev_created, prev_modified, prev_lease, crc"
)
NOTE_COLUMNS = "revision, wall_ms, actor, host, command, reason, crc"
LEASE_COLUMNS = "id, ttl_ms, boot, ends_ms, crc"

KvRow = tuple[str, bytes, int, int, int | None, int]
LogRow = tuple[
    int, str, bytes | None, bytes | None, int | None, int | None, int | None, int
]
NoteRow = tuple[int, int, str, str, str, str, int]
LeaseRow = tuple[int, int, str, int, int]
MetaRow = tuple[int, int, int, str, int]


class DamagedRowError(Exception):
    """A row's checksum does not hold; the caller knows which file it is in.

    Attributes:
        row: Which row, for people to read.
    """

    def __init__(self, row: str) -> None:
        super().__init__(row)
        self.row = row

    def __str__(self) -> str:
        return f"the checksum of {self.row} does not hold"


def kv_checksum(
    key: str, value: bytes, created: int, modified: int, lease: int | None
) -> int:
    """Return the checksum of a key's row."""
    return crc32(value, crc32(f"{created} {modified} {lease} {key}".encode()))


def fields_checksum(*fields: int | str | bytes | None) -> int:
    """Return the checksum of any other row, in the order of its columns.

    `ascii` writes each kind of field in its own way, in every version of Python
    alike; blobs, which can be large, are taken as they are, with their lengths.
    """
    crc = 0
    plain: list[int | str | tuple[int] | None] = []
    for field in fields:
        if isinstance(field, bytes):
            crc = crc32(field, crc)
            plain.append((len(field),))
        else:
            plain.append(field)
    return crc32(ascii(plain).encode(), crc)


@dataclass(slots=True)
class Meta:
    """The one row about the whole store; a writer changes it in place.

    Attributes:
        revision: The newest revision.
        compacted: The oldest revision that can be listed or watched from.
        digest: The exclusive-or of the checksums of all key rows.
        store_id: The store's identifier.
    """

    revision: Revision
    compacted: Revision
    digest: int
    store_id: str

    def to_row(self) -> MetaRow:
        """Return the row, checksum included."""
        fields = (self.revision, self.compacted, self.digest, self.store_id)
        return (*fields, fields_checksum(*fields))


def check_meta(row: MetaRow | None) -> Meta:
    """Verify the row about the whole store.

    Raises:
        DamagedRowError: It is missing or damaged.
    """
    if row is None or fields_checksum(*row[:-1]) != row[-1]:
        raise DamagedRowError("the store's own row")
    return Meta(Revision(row[0]), Revision(row[1]), row[2], row[3])


def check_kv(row: KvRow) -> KeyValue:
    """Verify a key's row.

    Raises:
        DamagedRowError: It is damaged.
    """
    key, value, created, modified, lease, crc = row
    # A damaged record header can turn the blob into any other type.
    if (
        type(value) is not bytes
        or crc32(value, crc32(f"{created} {modified} {lease} {key}".encode())) != crc
    ):
        raise DamagedRowError(f"key {key!r}")
    return KeyValue(key, value, Revision(created), Revision(modified))


def check_log(row: LogRow) -> LogRow:
    """Verify a remembered change and return it.

    Raises:
        DamagedRowError: It is damaged.
    """
    if fields_checksum(*row[:-1]) != row[-1]:
        raise DamagedRowError(f"the change of {row[1]!r} at revision {row[0]}")
    return row


def check_note(row: NoteRow) -> NoteRow:
    """Verify a revision's note and return it.

    Raises:
        DamagedRowError: It is damaged.
    """
    if fields_checksum(*row[:-1]) != row[-1]:
        raise DamagedRowError(f"the note of revision {row[0]}")
    return row


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as stored.

    Attributes:
        lease: Its identifier.
        ttl_ms: How long it runs after it was granted or kept alive.
        boot: The boot of the machine in which that was.
        ends_ms: When it ends, in milliseconds since that boot.
    """

    lease: LeaseId
    ttl_ms: int
    boot: str
    ends_ms: int

    def is_over(self, now: Instant) -> bool:
        """Report whether it has expired."""
        return now.is_past(self.boot, self.ends_ms)

    def to_row(self) -> LeaseRow:
        """Return the row, checksum included."""
        fields = (self.lease, self.ttl_ms, self.boot, self.ends_ms)
        return (*fields, fields_checksum(*fields))


def check_lease(row: LeaseRow) -> Lease:
    """Verify a lease's row.

    Raises:
        DamagedRowError: It is damaged.
    """
    if fields_checksum(*row[:-1]) != row[-1]:
        raise DamagedRowError(f"lease {row[0]}")
    return Lease(LeaseId(row[0]), row[1], row[2], row[3])
