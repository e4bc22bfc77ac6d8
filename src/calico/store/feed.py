"""Everything that policy is computed from, followed for as long as one likes.

First all of it at one revision, then each change, decoded. When the datastore
does not answer, that is said, and followed by what was missed as soon as it
answers again. A datastore that is suddenly another one is not believed: it
would take all policy away.

Not here: what the changes mean.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from calico.codec.keys import POLICY_PREFIX, POLICY_PREFIXES, decode_key
from calico.codec.resources import decode_resource
from calico.model.errors import Compacted, Unavailable
from calico.model.names import NO_REVISION, Revision
from calico.model.snapshot import Resource, ResourceKey
from calico.store.api import Batch, Store, Watch
from calico.store.resources import decode_item

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Everything:
    """All resources; what is not in here is absent.

    Attributes:
        revision: The newest policy revision that this shows.
        items: Each resource with its key.
    """

    revision: Revision
    items: list[tuple[ResourceKey, Resource]]


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since the last time, in order; `None` means absent.

    Attributes:
        revision: The newest policy revision that is in here.
        items: A key may be in here more than once; the last one counts.
    """

    revision: Revision
    items: list[tuple[ResourceKey, Resource | None]]


@dataclass(frozen=True, slots=True)
class StoreSilent:
    """The datastore cannot be read; what is known stays as it is."""

    reason: str


@dataclass(frozen=True, slots=True)
class StoreAnswers:
    """The datastore can be read again, or for the first time."""


FeedEvent = Everything | Changes | StoreSilent | StoreAnswers


def pause_after(n_failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(n_failures - 1, 16))


class PolicyFeed:
    """Follow the policy part of a datastore; for one thread.

    Args:
        open_store: Opens the datastore; may be called again after a failure.
    """

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open_store = open_store
        self._store_id: str | None = None
        self._seen: Revision | None = None
        self._n_failures = 0

    def events(self) -> Iterator[FeedEvent]:
        """Yield what there is and then what happens, for ever."""
        while True:
            try:
                yield from self._follow()
            except Unavailable as error:
                self._n_failures += 1
                yield StoreSilent(str(error))
                time.sleep(pause_after(self._n_failures))

    def _follow(self) -> Iterator[FeedEvent]:
        store = self._open_store()
        try:
            self._recognise(store)
            while True:
                try:
                    yield from self._follow_store(store)
                except Compacted:
                    # We were away for too long: read everything again.
                    self._seen = None
        finally:
            store.close()

    def _recognise(self, store: Store) -> None:
        if self._store_id is None:
            self._store_id = store.store_id
        elif self._store_id != store.store_id:
            raise Unavailable(
                "the datastore",
                "has been replaced by another one; policy stays as it was",
                ("restore it", "restart `calicoctl node` to take up the new one"),
            )

    def _follow_store(self, store: Store) -> Iterator[FeedEvent]:
        if self._seen is None:
            everything, self._seen = _read_everything(store)
            yield everything
        watch = store.watch(POLICY_PREFIX, self._seen)
        try:
            while True:
                batches = watch.read(0 if self._n_failures else None)
                yield from self._took(watch, batches)
        finally:
            watch.close()

    def _took(self, watch: Watch, batches: tuple[Batch, ...]) -> Iterator[FeedEvent]:
        if self._n_failures:
            self._n_failures = 0
            yield StoreAnswers()
        if batches:
            yield _decode_changes(batches)
        self._seen = watch.revision


def _read_everything(store: Store) -> tuple[Everything, Revision]:
    """Read all resources, and say from which revision on to watch."""
    listing = store.list_prefix(POLICY_PREFIX)
    # Deletions count too, so the newest key is not enough. A change after the
    # listing is none of its revisions; the watch brings it.
    newest = store.last_change(POLICY_PREFIXES)
    if newest > listing.revision:
        newest = max((kv.modified for kv in listing.items), default=NO_REVISION)
    items = [found for kv in listing.items if (found := decode_item(kv)) is not None]
    return Everything(newest, items), listing.revision


def _decode_changes(batches: tuple[Batch, ...]) -> Changes:
    items: list[tuple[ResourceKey, Resource | None]] = []
    for batch in batches:
        for change in batch.changes:
            key = decode_key(change.key)
            if key is None:
                continue
            value = (
                None
                if change.value is None
                else decode_resource(key, change.key, change.value)
            )
            items.append((key, value))
    return Changes(batches[-1].revision, items)
