"""A watch of etcd, as the contract of stores has it.

What the stream's thread finds waits here until its owner reads. A watch sees
only what is below its prefix, so it learns elsewhere that the store has moved
on without it: from the notes that every transaction of ours leaves, when
somebody reads and there is nothing.
"""

import os
import select
import time
from collections import deque
from itertools import groupby
from threading import Lock

from calico.model.errors import Compacted
from calico.model.names import NO_REVISION, Revision
from calico.store.etcd_client import EtcdClient
from calico.store.etcd_keys import (
    NOTE_PREFIX,
    is_hidden,
    is_shown,
    may_share,
    scanned_prefix,
)
from calico.store.etcd_place import EtcdPlace
from calico.store.etcd_stream import EtcdStream, Events, Sink
from calico.store.etcd_wire import encode_text, range_of, range_operation, range_request
from calico.store.values import Batch


class EtcdWatch:
    """The changes below a prefix of an etcd; see `calico.store.api.Watch`.

    Args:
        place: Which etcd.
        prefix: Where to look.
        after: The revision the caller has seen.

    Raises:
        StoreWentBack: The store has not come that far.
        Unavailable: It cannot be read.
    """

    def __init__(self, place: EtcdPlace, prefix: str, after: Revision) -> None:
        self._prefix = prefix
        self._revision = after
        self._lock = Lock()
        self._waiting: deque[Batch] = deque()
        self._error: BaseException | None = None
        self._client = EtcdClient(place)
        try:
            self._client.look_at(after)
        except Compacted as error:
            self._error = error
        except BaseException:
            self._client.close()
            raise
        self._event = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        sink = Sink(self._deliver, self._report, self._refuse, self._wake)
        self._stream: EtcdStream | None = None
        if self._error is None:
            self._stream = EtcdStream(place, prefix, after, sink)

    @property
    def revision(self) -> Revision:
        """Everything up to this revision has been returned; resume after it."""
        return self._revision

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` should be called."""
        return self._event

    def read(self, timeout_s: float | None) -> tuple[Batch, ...]:
        """Wait for changes and return them, oldest first."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            if select.select([self._event], [], [], 0)[0]:
                os.eventfd_read(self._event)
            if batches := self._take_waiting():
                return batches
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                self._move_on()
                return self._take_waiting()
            select.select([self._event], [], [], left)

    def close(self) -> None:
        """End the watch and free what it holds; closing twice is allowed."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._client.close()
        if self._event >= 0:
            os.close(self._event)
            self._event = -1

    def _take_waiting(self) -> tuple[Batch, ...]:
        with self._lock:
            if not self._waiting:
                if self._error is not None:
                    raise self._error
                return ()
            batches = tuple(self._waiting)
            self._waiting.clear()
        self._revision = max(self._revision, batches[-1].revision)
        return batches

    def _move_on(self) -> None:
        """Learn how far the store is, if nothing of it is on its way here."""
        notes = range_request(*range_of(NOTE_PREFIX), keys_only=True)
        answer = self._client.look((range_operation(notes),), "read the store's notes")
        newer = [
            (kv.key.removeprefix(NOTE_PREFIX), kv.modified)
            for kv in answer.ranges[0].items
            if kv.modified > self._revision
            and may_share(kv.key.removeprefix(NOTE_PREFIX), self._prefix)
        ]
        try:
            if newer and not self._is_elsewhere(newer):
                return
        except Compacted:
            # What is forgotten was not seen; the stream says so.
            return
        with self._lock:
            if not self._waiting and self._stream is not None:
                self._revision = max(self._revision, answer.revision)
                self._stream.note_reached(self._revision)

    def _is_elsewhere(self, newer: list[tuple[str, Revision]]) -> bool:
        """Report whether what changed in sections of ours was no key of ours."""
        last = max(revision for _, revision in newer)
        events = self._client.scan(
            scanned_prefix(self._prefix), Revision(self._revision + 1), last
        )
        return not any(is_shown(change.key, self._prefix) for _, change in events)

    def _deliver(self, events: Events) -> None:
        batches = [
            Batch(revision, tuple(sorted(changes, key=lambda c: encode_text(c.key))))
            for revision, group in groupby(events, key=lambda event: event[0])
            if (changes := [c for _, c in group if not is_hidden(c.key)])
        ]
        with self._lock:
            self._waiting.extend(batches)
        self._wake()

    def _report(self, error: BaseException | None) -> None:
        with self._lock:
            self._error = error
        self._wake()

    def _refuse(self, after: Revision, oldest: Revision) -> None:
        self._report(Compacted(max(after, self._revision, NO_REVISION), oldest))

    def _wake(self) -> None:
        os.eventfd_write(self._event, 1)
