"""Everything that policy is computed from, followed for as long as one likes.

First all of it at one revision, then each change, decoded. When the datastore
does not answer, that is said, and followed by what was missed as soon as it
answers again.

A datastore is not believed when that would take policy away by mistake. One that
is suddenly another one, was emptied, or has lost what it had acknowledged, is
refused until the process begins anew, which is how an operator confirms it. A
listing in which many objects are missing is believed when a later one says the
same. And from time to time the keys are compared with those that are known, for
a change that never arrived.

Not here: what the changes mean.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from calico.codec.keys import (
    POLICY_PREFIX,
    POLICY_PREFIXES,
    READY_KEY,
    decode_key,
)
from calico.codec.resources import decode_resource
from calico.model.errors import Compacted, StoreWentBack, Unavailable
from calico.model.names import NO_REVISION, Revision
from calico.model.snapshot import Resource, ResourceKey
from calico.store.api import Batch, Listing, Store, Watch
from calico.store.known import Known
from calico.store.resources import decode_item

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
COMPARE_EVERY_S = 600.0
_LONGEST_RESYNC_PAUSE_S = 60.0
_CONFIRM_EVERY_S = 0.5
_N_DRAINS = 30


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
    """The datastore cannot be read, or not believed; what is known stays."""

    reason: str


@dataclass(frozen=True, slots=True)
class StoreAnswers:
    """The datastore can be read again, or for the first time."""


@dataclass(frozen=True, slots=True)
class StoreHeld:
    """What the datastore shows is not believed until it shows it again later."""

    reason: str


@dataclass(frozen=True, slots=True)
class StoreDiffered:
    """What was known was not what the datastore holds; it is read anew.

    Attributes:
        n_objects: How many objects were different.
    """

    n_objects: int


FeedEvent = (
    Everything | Changes | StoreSilent | StoreAnswers | StoreHeld | StoreDiffered
)


def pause_after(n_failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(n_failures - 1, 16))


class PolicyFeed:
    """Follow the policy part of a datastore; for one thread.

    Args:
        open_store: Opens the datastore; may be called again after a failure.
        compare_every_s: How often to compare the keys.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        compare_every_s: float = COMPARE_EVERY_S,
    ) -> None:
        self._open_store = open_store
        self._compare_every_s = compare_every_s
        self._store_id: str | None = None
        self._seen: Revision | None = None
        self._known = Known()
        self._refused: Unavailable | None = None
        self._has_gone_back = False
        self._n_failures = 0
        self._n_resyncs = 0

    def events(self) -> Iterator[FeedEvent]:
        """Yield what there is and then what happens, for ever."""
        while True:
            try:
                yield from self._follow()
            except Unavailable as error:
                self._has_gone_back |= isinstance(error, StoreWentBack)
                self._n_failures += 1
                yield StoreSilent(str(error))
                time.sleep(_about(pause_after(self._n_failures)))

    def _follow(self) -> Iterator[FeedEvent]:
        if self._refused is not None:
            raise self._refused
        store = self._open_store()
        try:
            self._recognise(store)
            self._compare_pasts(store)
            while True:
                try:
                    yield from self._follow_store(store)
                except Compacted:
                    # We were away for too long: read everything again. Others
                    # were too, and not all should come at once.
                    self._seen = None
                    self._n_resyncs += 1
                    time.sleep(_resync_pause(self._n_resyncs))
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

    def _recognise_anew(self) -> None:
        """See that the datastore is still the one that it was."""
        store = self._open_store()
        try:
            self._recognise(store)
        finally:
            store.close()

    def _compare_pasts(self, store: Store) -> None:
        """See that a datastore that had gone back has come back as it was."""
        if not self._has_gone_back or self._seen is None:
            return
        try:
            listing = store.list_keys(POLICY_PREFIX, self._seen)
        except Compacted:
            return
        if self._known.count_differences(listing.items):
            raise self._refuse(
                f"has another past than it had at revision {self._seen}: an older"
                " state was restored, and changed since"
            )
        self._has_gone_back = False

    def _refuse(self, reason: str) -> Unavailable:
        """Believe this datastore no more until the process begins anew."""
        self._refused = Unavailable(
            "the datastore",
            f"{reason}; policy stays as it was",
            ("restore it", "restart `calicoctl node` to take it as it is"),
        )
        return self._refused

    def _follow_store(self, store: Store) -> Iterator[FeedEvent]:
        if self._seen is None:
            yield from self._read(store)
        watch = store.watch(POLICY_PREFIX, self._seen or NO_REVISION)
        due = time.monotonic() + _about(self._compare_every_s)
        try:
            while True:
                left = max(0.0, due - time.monotonic())
                batches = watch.read(0 if self._n_failures else left)
                yield from self._took(watch, batches)
                if time.monotonic() >= due:
                    due = time.monotonic() + _about(self._compare_every_s)
                    yield from self._compare(store, watch)
        finally:
            watch.close()

    def _read(self, store: Store) -> Iterator[FeedEvent]:
        everything, listing = _read_everything(store)
        n_gone = self._known.count_missing(listing.items)
        if len(self._known) and not listing.items:
            raise self._refuse("holds no policy any more: it was emptied")
        if self._known.is_many(n_gone):
            yield StoreHeld(
                f"the datastore: {n_gone} of {len(self._known)} objects are missing;"
                " policy stays as it was until a later revision says the same"
            )
            everything, listing = self._read_later(store, listing.revision)
        self._known.replace_all(listing.items)
        self._seen = listing.revision
        yield everything

    def _read_later(
        self, store: Store, revision: Revision
    ) -> tuple[Everything, Listing]:
        """Read everything again at a later revision, of the same datastore."""
        # The host's own status brings one: it now says that something is wrong.
        while True:
            time.sleep(_CONFIRM_EVERY_S)
            self._recognise_anew()
            everything, listing = _read_everything(store)
            if not listing.items:
                raise self._refuse("holds no policy any more: it was emptied")
            if listing.revision > revision:
                return everything, listing

    def _took(self, watch: Watch, batches: tuple[Batch, ...]) -> Iterator[FeedEvent]:
        if batches:
            self._doubt(batches)
        if self._n_failures:
            self._n_failures = 0
            yield StoreAnswers()
        if batches:
            self._n_resyncs = 0
            self._known.take(batches)
            yield _decode_changes(batches)
        self._seen = watch.revision

    def _doubt(self, batches: tuple[Batch, ...]) -> None:
        """Look twice at changes that take much away, before they are believed."""
        n_gone = self._known.count_removed(batches)
        is_unready = any(
            change.key == READY_KEY and change.value is None
            for batch in batches
            for change in batch.changes
        )
        if not (is_unready or self._known.is_many(n_gone)):
            return
        self._recognise_anew()
        has_puts = any(c.value is not None for b in batches for c in b.changes)
        if n_gone >= len(self._known) and not has_puts:
            raise self._refuse("holds no policy any more: it was emptied")

    def _compare(self, store: Store, watch: Watch) -> Iterator[FeedEvent]:
        """Compare the keys that there are with those that are known."""
        listing = store.list_keys(POLICY_PREFIX)
        later: set[str] = set()
        for _ in range(_N_DRAINS):
            if watch.revision >= listing.revision:
                break
            batches = watch.read(1.0)
            yield from self._took(watch, batches)
            later |= {
                change.key
                for batch in batches
                if batch.revision > listing.revision
                for change in batch.changes
            }
        n_objects = self._known.count_differences(listing.items, later)
        if n_objects and watch.revision >= listing.revision:
            yield StoreDiffered(n_objects)
            yield from self._read(store)


def _about(seconds: float) -> float:
    """Return a time near one, so that many do not do the same at once."""
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 -- no secret


def _resync_pause(n_resyncs: int) -> float:
    longest = min(_LONGEST_RESYNC_PAUSE_S, 2.0 ** min(n_resyncs - 1, 16))
    return random.uniform(0, longest)  # noqa: S311 -- no secret


def _read_everything(store: Store) -> tuple[Everything, Listing]:
    """Read all resources, and say what was listed."""
    listing = store.list_prefix(POLICY_PREFIX)
    # Deletions count too, so the newest key is not enough. A change after the
    # listing is none of its revisions; the watch brings it.
    newest = store.last_change(POLICY_PREFIXES)
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
