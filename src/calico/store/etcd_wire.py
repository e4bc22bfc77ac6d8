"""The messages of etcd's v3 interface that we use, by field number.

Requests are built as bytes, answers are read into values. Names follow etcd's
own. Keys are text here: bytes that are no UTF-8, which only other programs
write, survive as surrogates.

Source:
    etcd, api/etcdserverpb/rpc.proto and api/mvccpb/kv.proto.
"""

from enum import IntEnum
from typing import NamedTuple

from calico.model.names import Revision
from calico.store.protobuf import (
    BadMessage,
    bytes_of,
    fields,
    message,
    number,
    number_of,
    read_varint,
    signed,
    some_number,
    text,
)
from calico.store.values import Change, KeyValue

EVERYTHING = (b"\0", b"\0")
"""The range of all keys, as first key and end."""

_EVENT_DELETE = 1
_KEY_VALUES = 2 << 3 | 2
_SORT_DESCENDING = 2
_SORT_BY_MODIFIED = 3
_TARGET_MODIFIED = 2


class Result(IntEnum):
    """How a compared number must stand to what is there."""

    EQUAL = 0
    GREATER = 1
    LESS = 2


class RangeAnswer(NamedTuple):
    """What a range holds.

    Attributes:
        items: The keys found, sorted as asked for.
        has_more: The limit left some out.
        n_found: How many there are, those that were left out included.
    """

    items: tuple[KeyValue, ...]
    has_more: bool
    n_found: int


class TxnAnswer(NamedTuple):
    """The outcome of a transaction.

    Attributes:
        revision: The store's revision then.
        succeeded: The compares held.
        ranges: The answers to the ranges among the operations, in order.
    """

    revision: Revision
    succeeded: bool
    ranges: tuple[RangeAnswer, ...]


class WatchAnswer(NamedTuple):
    """One message of a watch stream.

    Attributes:
        revision: The store's revision, as far as the member has it.
        watch_id: Which watch of the stream it is about; -1 for all.
        created: It confirms a watch.
        canceled: The watch is over.
        compacted: The oldest revision that is remembered; 0 unless canceled
            for that.
        reason: Why it is over.
        is_fragment: The next message belongs to this one.
        events: Revision and change of each event, in etcd's order.
    """

    revision: Revision
    watch_id: int
    created: bool
    canceled: bool
    compacted: int
    reason: str
    is_fragment: bool
    events: tuple[tuple[Revision, Change], ...]


class StatusAnswer(NamedTuple):
    """How a member is.

    Attributes:
        version: Its version, such as `3.4.23`.
        db_size_bytes: How large its file is.
        leader: The member it takes for the leader; 0 for none.
        errors: Alarms and what else it complains of.
    """

    version: str
    db_size_bytes: int
    leader: int
    errors: tuple[str, ...]


def encode_text(key: str) -> bytes:
    """Encode a key."""
    return key.encode("utf-8", "surrogateescape")


def range_of(prefix: str) -> tuple[bytes, bytes]:
    """Return the first key of a prefix and the end of its range."""
    first = encode_text(prefix)
    return (first, _after(first)) if first else EVERYTHING


def _after(prefix: bytes) -> bytes:
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else b"\0"


def range_request(  # noqa: PLR0913 -- as many fields as etcd's message has
    first: bytes,
    end: bytes = b"",
    *,
    limit: int = 0,
    at: int = 0,
    keys_only: bool = False,
    count_only: bool = False,
    newest_first: bool = False,
    after: int = 0,
) -> bytes:
    """Ask for a key, or for those from `first` to before `end`.

    With `after`, only those last put after that revision are in the answer; its
    count is of all.
    """
    order = (
        number(5, _SORT_DESCENDING) + number(6, _SORT_BY_MODIFIED)
        if newest_first
        else b""
    )
    return b"".join(
        (
            text(1, first),
            text(2, end),
            number(3, limit),
            number(4, at),
            order,
            number(8, keys_only),
            number(9, count_only),
            number(10, after + 1 if after else 0),
        )
    )


def range_operation(request: bytes) -> bytes:
    """Make a range part of a transaction."""
    return message(1, request)


def put_operation(key: str, value: bytes, lease: int = 0) -> bytes:
    """Put a key, in a transaction."""
    put = text(1, encode_text(key)) + text(2, value) + number(3, lease)
    return message(2, put)


def delete_operation(first: bytes, end: bytes = b"") -> bytes:
    """Delete a key, or those from `first` to before `end`, in a transaction."""
    return message(3, text(1, first) + text(2, end))


def compare(first: bytes, end: bytes = b"", *, result: Result, modified: int) -> bytes:
    """Compare the revision that a key, or each of a range, was modified at."""
    return b"".join(
        (
            number(1, result),
            number(2, _TARGET_MODIFIED),
            text(3, first),
            some_number(6, modified),
            text(64, end),
        )
    )


def txn_request(
    compares: tuple[bytes, ...],
    success: tuple[bytes, ...],
    failure: tuple[bytes, ...] = (),
) -> bytes:
    """Do the one or the other, after how the compares stand."""
    return b"".join(
        (
            *(message(1, each) for each in compares),
            *(message(2, each) for each in success),
            *(message(3, each) for each in failure),
        )
    )


def compaction_request(revision: int) -> bytes:
    """Forget what is older than a revision."""
    return number(1, revision)


def watch_request(watch_id: int, bounds: tuple[bytes, bytes], start: int) -> bytes:
    """Watch a range from a revision on, large answers in fragments."""
    create = b"".join(
        (
            text(1, bounds[0]),
            text(2, bounds[1]),
            number(3, start),
            number(7, watch_id),
            number(8, 1),
        )
    )
    return message(1, create)


def progress_request() -> bytes:
    """Ask a watch stream how far it is."""
    return message(3, b"")


def lease_grant_request(ttl_s: int, lease: int) -> bytes:
    """Begin a lease under an identifier of ours."""
    return number(1, ttl_s) + number(2, lease)


def lease_request(lease: int) -> bytes:
    """Name a lease: to revoke it, to keep it alive or to look at it."""
    return number(1, lease)


def decode_revision(data: bytes) -> Revision:
    """Read the revision in an answer's header, whatever the answer."""
    for field, value in fields(data):
        if field == 1:
            return _header_revision(bytes_of(value))
    return Revision(0)


def _header_revision(data: bytes) -> Revision:
    for field, value in fields(data):
        if field == 3:
            return Revision(number_of(value))
    return Revision(0)


def decode_range(data: bytes) -> RangeAnswer:
    """Read the answer to a range."""
    items: list[KeyValue] = []
    has_more, count = False, 0
    at, end = 0, len(data)
    while at < end:
        key, at = read_varint(data, at)
        length, at = read_varint(data, at)
        if key & 7 == 0:
            if key >> 3 == 3:
                has_more = bool(length)
            elif key >> 3 == 4:
                count = length
            continue
        if key == _KEY_VALUES:
            items.append(_decode_key_value(data[at : at + length]))
        at += length
    return RangeAnswer(tuple(items), has_more, count)


def _decode_key_value(data: bytes) -> KeyValue:  # noqa: C901 -- see below
    # Written out, for a listing does it a hundred thousand times.
    key = value = b""
    created = modified = 0
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        number_, at = data[at + 1], at + 2
        if number_ > 0x7F:
            number_, at = read_varint(data, at - 1)
        if tag == 0x0A:
            key = data[at : at + number_]
            at += number_
        elif tag == 0x10:
            created = number_
        elif tag == 0x18:
            modified = number_
        elif tag == 0x2A:
            value = data[at : at + number_]
            at += number_
        elif tag & 7:
            at += number_
    if at != end:
        raise BadMessage("ends within a key and its value")
    name = key.decode("utf-8", "surrogateescape")
    return KeyValue(name, value, Revision(created), Revision(modified))


def decode_txn(data: bytes) -> TxnAnswer:
    """Read the answer to a transaction."""
    revision, succeeded = Revision(0), False
    ranges: list[RangeAnswer] = []
    for field, value in fields(data):
        if field == 1:
            revision = _header_revision(bytes_of(value))
        elif field == 2:
            succeeded = bool(number_of(value))
        elif field == 3:
            ranges.extend(
                decode_range(bytes_of(answer))
                for kind, answer in fields(bytes_of(value))
                if kind == 1
            )
    return TxnAnswer(revision, succeeded, tuple(ranges))


def decode_watch(data: bytes) -> WatchAnswer:
    """Read one message of a watch stream."""
    found: dict[int, int | bytes] = {}
    events: list[tuple[Revision, Change]] = []
    for field, value in fields(data):
        if field == 11:
            events.append(_decode_event(bytes_of(value)))
        else:
            found[field] = value
    return WatchAnswer(
        revision=_header_revision(bytes_of(found.get(1, b""))),
        watch_id=signed(number_of(found.get(2, 0))),
        created=bool(found.get(3, 0)),
        canceled=bool(found.get(4, 0)),
        compacted=number_of(found.get(5, 0)),
        reason=bytes_of(found.get(6, b"")).decode("utf-8", "replace"),
        is_fragment=bool(found.get(7, 0)),
        events=tuple(events),
    )


def _decode_event(data: bytes) -> tuple[Revision, Change]:
    is_delete, item = False, None
    for field, value in fields(data):
        if field == 1:
            is_delete = value == _EVENT_DELETE
        elif field == 2:
            item = _decode_key_value(bytes_of(value))
    if item is None:
        raise BadMessage("an event without a key")
    return item.modified, Change(item.key, None if is_delete else item.value)


def decode_lease_ttl(data: bytes) -> int:
    """Read how many seconds a lease has; 0 or less when it is over."""
    for field, value in fields(data):
        if field == 3:
            return signed(number_of(value))
    return 0


def decode_status(data: bytes) -> StatusAnswer:
    """Read how a member is."""
    version, size, leader = "", 0, 0
    errors: list[str] = []
    for field, value in fields(data):
        if field == 2:
            version = bytes_of(value).decode("utf-8", "replace")
        elif field == 3:
            size = number_of(value)
        elif field == 4:
            leader = number_of(value)
        elif field == 8:
            errors.append(bytes_of(value).decode("utf-8", "replace").strip())
    return StatusAnswer(version, size, leader, tuple(errors))
