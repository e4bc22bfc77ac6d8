"""What an etcd remembers: what changed last, and who did what.

The keys that are there say when each was put last; the notes that transactions
leave in each section say when anything of it was put or deleted last. Where
only a part of a section is asked for, and the notes are newer than what is
there, etcd's own log of what happened decides.
"""

from collections.abc import Iterable
from contextlib import suppress

from calico.model.errors import InvalidResource
from calico.model.names import NO_REVISION, Revision
from calico.store.etcd_client import EtcdClient
from calico.store.etcd_keys import (
    NOTE_PREFIX,
    decode_note,
    is_shown,
    is_within,
    may_share,
    scanned_prefix,
)
from calico.store.etcd_wire import encode_text, range_of, range_operation, range_request
from calico.store.values import HistoryEntry, KeyValue, Listing, Note

_STRANGER = Note("", "", "another program")


def read_last_change(client: EtcdClient, prefixes: tuple[str, ...]) -> Revision:
    """Return the newest revision that changed anything below the prefixes."""
    found = (_last_change(client, prefix) for prefix in prefixes)
    return max(found, default=NO_REVISION)


def read_last_change_of(
    client: EtcdClient, prefixes: tuple[str, ...], listing: Listing
) -> Revision:
    """Return the newest change below prefixes, of which a listing shows all.

    To find the newest key itself, etcd looks through all that are there.
    """
    if not prefixes:
        return NO_REVISION
    notes, _ = client.list_range(NOTE_PREFIX, keys_only=True)
    found = (
        _newest(client, prefix, _newest_of(listing.items, prefix), notes)
        for prefix in prefixes
    )
    return max(found)


def _last_change(client: EtcdClient, prefix: str) -> Revision:
    newest = range_request(
        *range_of(prefix), limit=1, keys_only=True, newest_first=True
    )
    notes = range_request(*range_of(NOTE_PREFIX), keys_only=True)
    answer = client.look(
        (range_operation(newest), range_operation(notes)), f"read below {prefix!r}"
    )
    present = _newest_of(answer.ranges[0].items, prefix)
    return _newest(client, prefix, present, answer.ranges[1].items)


def _newest_of(items: Iterable[KeyValue], prefix: str) -> Revision:
    return max(
        (kv.modified for kv in items if is_shown(kv.key, prefix)), default=NO_REVISION
    )


def _newest(
    client: EtcdClient, prefix: str, present: Revision, notes: Iterable[KeyValue]
) -> Revision:
    """Return what is newest: of what is there, or of what notes speak of."""
    shared = [
        (section, kv.modified)
        for kv in notes
        if may_share(section := kv.key.removeprefix(NOTE_PREFIX), prefix)
    ]
    last = max((modified for _, modified in shared), default=NO_REVISION)
    if last <= present or all(is_within(section, prefix) for section, _ in shared):
        return max(last, present)
    events = client.scan_remembered(scanned_prefix(prefix), Revision(present + 1), last)
    return max(
        (at for at, each in events if is_shown(each.key, prefix)), default=present
    )


def read_history(
    client: EtcdClient, prefix: str, before: Revision | None, limit: int
) -> tuple[HistoryEntry, ...]:
    """Return the remembered revisions that touched a prefix, newest first."""
    notes, _ = client.list_range(NOTE_PREFIX, keys_only=True)
    last = max((kv.modified for kv in notes), default=NO_REVISION)
    if before is not None:
        last = Revision(min(last, before - 1))
    if last <= NO_REVISION:
        return ()
    keys: dict[Revision, list[str]] = {}
    why: dict[Revision, tuple[Note, float]] = {}
    for revision, each in client.scan_remembered(
        scanned_prefix(prefix), client.oldest(), last
    ):
        if each.key.startswith(NOTE_PREFIX) and each.value is not None:
            with suppress(InvalidResource):
                why[revision] = decode_note(each.value)
        elif is_shown(each.key, prefix):
            keys.setdefault(revision, []).append(each.key)
    newest = sorted(keys, reverse=True)[:limit]
    return tuple(_entry(each, why.get(each), keys[each]) for each in newest)


def _entry(
    revision: Revision, why: tuple[Note, float] | None, keys: list[str]
) -> HistoryEntry:
    note, time_s = why or (_STRANGER, 0.0)
    return HistoryEntry(revision, time_s, note, tuple(sorted(keys, key=encode_text)))
