"""Forgetting the past of an etcd, by one agent of all.

A key of ours holds marks: times, and the revision that the store was at then.
Every agent looks at it from time to time. The first that finds the newest mark
old enough adds one, by compare-and-set, and compacts to the revision of the
newest mark that is past what is to be remembered. So one agent does it, whoever
lives, and none is elected. Clocks that differ change how long the past is
remembered, and nothing else.
"""

import json

from calico.model.names import NO_REVISION, Revision
from calico.store.etcd_client import EtcdClient
from calico.store.etcd_faults import EtcdRefused
from calico.store.etcd_keys import COMPACTOR_KEY
from calico.store.etcd_wire import (
    Result,
    compare,
    encode_text,
    put_operation,
    txn_request,
)
from calico.store.values import KeyValue

MARK_EVERY_S = 300.0
REMEMBERED_S = 3600.0
MAX_REMEMBERED = 100_000

Marks = tuple[tuple[float, Revision], ...]


def compact_old(client: EtcdClient, now_s: float) -> Revision | None:
    """Forget what is old, if it is this agent's turn.

    Returns:
        The oldest revision that is remembered now; `None` if nothing was done.

    Raises:
        Unavailable: It could not be done.
    """
    found, revision = client.get(COMPACTOR_KEY)
    marks = _decode(found)
    if marks and 0 <= now_s - marks[-1][0] < MARK_EVERY_S:
        return None
    made = (*marks, (now_s, revision))
    oldest = revision_to_keep(made, now_s)
    kept = tuple(mark for mark in made if mark[1] >= oldest)
    if not _mark(client, found, kept):
        return None
    if oldest > NO_REVISION:
        client.compact(oldest)
    return oldest


def revision_to_keep(marks: Marks, now_s: float) -> Revision:
    """Return the oldest revision to remember; 0 when none is to be forgotten.

    Args:
        marks: Time and revision, oldest first; the last one is the present.
        now_s: The present.
    """
    newest = marks[-1][1]
    past = (
        revision
        for time_s, revision in marks
        if time_s <= now_s - REMEMBERED_S or revision <= newest - MAX_REMEMBERED
    )
    return max(past, default=NO_REVISION)


def _mark(client: EtcdClient, found: KeyValue | None, marks: Marks) -> bool:
    seen = NO_REVISION if found is None else found.modified
    key = encode_text(COMPACTOR_KEY)
    request = txn_request(
        (compare(key, result=Result.EQUAL, modified=seen),),
        (put_operation(COMPACTOR_KEY, json.dumps(marks).encode()),),
    )
    try:
        return client.transact(request, f"write {COMPACTOR_KEY}").succeeded
    except EtcdRefused as error:
        raise client.unexpected(error) from None


def _decode(found: KeyValue | None) -> Marks:
    """Read the marks; what is none of ours is begun anew."""
    try:
        read = json.loads(found.value if found else b"[]")
        marks = tuple((float(time_s), Revision(int(at))) for time_s, at in read)
    except (ValueError, TypeError):
        return ()
    return marks
