"""Everything that policy is computed from, followed for as long as one likes.

First all of it at one revision, then each change, decoded. When the datastore
does not answer, that is said, and followed by what was missed as soon as it
answers again. From time to time what was followed is compared with what is
there, because a datastore can lose an event.

Not here: what the changes mean; when a datastore is believed (`following`).
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from calico.codec.keys import POLICY_PREFIX, POLICY_PREFIXES, decode_key
from calico.codec.resources import decode_resource
from calico.model.errors import Compacted
from calico.model.names import NO_REVISION, Revision
from calico.model.snapshot import Resource, ResourceKey
from calico.store.api import Batch, Listing, Store, Watch
from calico.store.following import (
    EventsLost,
    Following,
    StoreAnswers,
    StoreSilent,
    resync_spread,
)
from calico.store.known import COMPARE_EVERY_S, Known
from calico.store.resources import decode_item

_EMPTIED = "holds no policy any more: it was emptied"


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


FeedEvent = Everything | Changes | EventsLost | StoreSilent | StoreAnswers


class PolicyFeed:
    """Follow the policy part of a datastore; for one thread.

    Args:
        open_store: Opens the datastore; may be called again after a failure.
        memory: The file that keeps which datastore it is, if any.
        compare_every_s: How often to compare.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        memory: Path | None = None,
        compare_every_s: float = COMPARE_EVERY_S,
    ) -> None:
        self._following = Following(
            open_store, "policy stays as it was", self._is_same, memory
        )
        self._seen: Revision | None = None
        self._known = Known(POLICY_PREFIXES, compare_every_s)

    def events(self) -> Iterator[FeedEvent]:
        """Yield what there is and then what happens, for ever."""
        return self._following.events(self._follow)

    def _follow(self, store: Store) -> Iterator[FeedEvent]:
        if self._seen is None:
            yield from self._read_everything(store)
        try:
            while True:
                difference = yield from self._watch(store)
                yield EventsLost(difference)
                yield from self._read_everything(store)
        except Compacted:
            self._seen = None
            self._following.resync_spread_s = resync_spread(len(self._known))
            raise

    def _watch(self, store: Store) -> Generator[FeedEvent, None, str]:
        """Follow the changes.

        Returns:
            What differs between what was followed and what is there.
        """
        watch = store.watch(POLICY_PREFIX, self._seen or NO_REVISION)
        try:
            while True:
                is_silent = self._following.n_failures > 0
                batches = watch.read(0 if is_silent else self._known.due_in())
                yield from self._took(watch, batches)
                if self._known.due_in() == 0:
                    difference = self._known.compare(store)
                    if difference is not None:
                        return difference
        finally:
            watch.close()

    def _took(self, watch: Watch, batches: tuple[Batch, ...]) -> Iterator[FeedEvent]:
        yield from self._following.answered(watch.revision)
        if batches:
            if self._known.is_much_removed(batches):
                # Whoever empties a datastore empties it of who it is, too.
                self._following.confirm(lambda store: store.store_id)
                if self._known.is_emptied(batches):
                    raise self._following.refuse(_EMPTIED)
            self._known.take(batches)
            yield _decode_changes(batches)
        self._seen = watch.revision

    def _read_everything(self, store: Store) -> Iterator[FeedEvent]:
        """Read all resources, and know from which revision on to watch."""
        everything, listing = _read_everything(store)
        if self._known.n_keys and not listing.items:
            raise self._following.refuse(_EMPTIED)
        if self._known.is_much_missing(listing.items):
            everything, listing = yield from self._following.confirm_later(
                _read_with_revision, listing.revision
            )
        self._known.replace(listing.items, listing.revision)
        self._seen = listing.revision
        yield everything

    def _is_same(self, store: Store, at: Revision) -> bool:
        return self._known.is_as(store.list_prefix(POLICY_PREFIX, at).items)


def _read_with_revision(
    store: Store,
) -> tuple[tuple[Everything, Listing], Revision]:
    everything, listing = _read_everything(store)
    return (everything, listing), listing.revision


def _read_everything(store: Store) -> tuple[Everything, Listing]:
    listing = store.list_prefix(POLICY_PREFIX)
    # Deletions count too, so the newest key is not enough. A change after the
    # listing is none of its revisions; the watch brings it.
    newest = store.last_change(POLICY_PREFIXES, listing)
    if newest > listing.revision:
        newest = max((kv.modified for kv in listing.items), default=NO_REVISION)
    items = [found for kv in listing.items if (found := decode_item(kv)) is not None]
    return Everything(newest, items), listing


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
