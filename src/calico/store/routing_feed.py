"""All that routing is computed from, followed for as long as one likes.

It lies below several prefixes, and much that changes often lies beside them:
so each prefix has a watch of its own, and one thread waits for all of them.
Only what makes a difference is told, each time as a whole.

Not here: what policy is computed from (`feed`).
"""

import select
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from calico.codec.routing_keys import ROUTING_PREFIXES
from calico.model.errors import Compacted
from calico.model.names import Revision
from calico.model.routing import (
    BgpAddressKey,
    RoutingKey,
    RoutingResource,
    RoutingSnapshot,
)
from calico.model.snapshot import PoolKey
from calico.store.api import Batch, KeyValue, Store, Watch
from calico.store.following import EventsLost, Following, StoreAnswers, StoreSilent
from calico.store.known import COMPARE_EVERY_S, Known
from calico.store.routing import (
    decode_all,
    decode_routing_item,
    list_routing,
)

_RARELY_REMOVED = (BgpAddressKey, PoolKey)


@dataclass(frozen=True, slots=True)
class RoutingRead:
    """What routing is computed from is another than before.

    Attributes:
        resources: All of it; true until the next event is asked for.
        changed: The keys that make the difference; absent for all of them.
    """

    resources: Mapping[RoutingKey, RoutingResource]
    changed: frozenset[RoutingKey] | None

    @property
    def snapshot(self) -> RoutingSnapshot:
        """All of it, sorted, in as much time as there is of it."""
        return RoutingSnapshot.of(self.resources)


RoutingEvent = RoutingRead | EventsLost | StoreSilent | StoreAnswers


class RoutingFeed:
    """Follow what routing depends on; for one thread.

    Args:
        open_store: Opens the datastore; may be called again after a failure.
        memory: The file that keeps which datastore it is, if any.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        memory: Path | None = None,
        compare_every_s: float = COMPARE_EVERY_S,
    ) -> None:
        self._following = Following(
            open_store, "routes stay as they were", self._is_same, memory
        )
        self._seen: dict[str, Revision] = {}
        self._resources: dict[RoutingKey, RoutingResource] = {}
        # What was taken in and not told yet; it outlives a failure in between.
        self._changed: set[RoutingKey] = set()
        self._known = Known(ROUTING_PREFIXES, compare_every_s)

    def events(self) -> Generator[RoutingEvent]:
        """Yield what there is and then what becomes of it, for ever."""
        return self._following.events(self._follow)

    def _follow(self, store: Store) -> Generator[RoutingEvent]:
        try:
            while True:
                if not self._seen:
                    yield from self._read_everything(store)
                yield EventsLost((yield from self._watch(store)))
                self._seen = {}
        except Compacted:
            self._seen = {}
            raise

    def _read_everything(self, store: Store) -> Generator[RoutingEvent]:
        items, revision = list_routing(store)
        if self._known.is_much_missing(items):
            items, revision = yield from self._following.confirm_later(
                _list_with_revision, revision
            )
        self._known.replace(items, revision)
        self._resources = decode_all(items)
        self._seen = dict.fromkeys(ROUTING_PREFIXES, revision)
        self._changed = set()
        yield RoutingRead(self._resources, None)

    def _is_same(self, store: Store, at: Revision) -> bool:
        return self._known.is_as(list_routing(store, at)[0])

    def _watch(self, store: Store) -> Generator[RoutingEvent, None, str]:
        """Follow the changes, until it turns out that some were lost.

        Returns:
            What differs between what was followed and what is there.
        """
        watches: dict[str, Watch] = {}
        try:
            for prefix, revision in self._seen.items():
                watches[prefix] = store.watch(prefix, revision)
            waiting = select.poll()
            for watch in watches.values():
                waiting.register(watch.fileno(), select.POLLIN)
            while True:
                if not self._following.n_failures:
                    waiting.poll(self._known.due_in() * 1000)
                yield from self._read(watches)
                if self._known.due_in() == 0:
                    difference = self._known.compare(store)
                    if difference is not None:
                        return difference
        finally:
            for watch in watches.values():
                watch.close()

    def _read(self, watches: Mapping[str, Watch]) -> Iterator[RoutingEvent]:
        """Take in all that has come; it is one change."""
        while batches := self._next(watches):
            self._changed |= self._take(batches)
            self._seen = {each: watch.revision for each, watch in watches.items()}
        yield from self._following.answered(max(self._seen.values()))
        if self._changed:
            changed, self._changed = frozenset(self._changed), set()
            yield RoutingRead(self._resources, changed)

    def _next(self, watches: Mapping[str, Watch]) -> list[Batch]:
        return [batch for watch in watches.values() for batch in watch.read(0)]

    def _take(self, batches: list[Batch]) -> set[RoutingKey]:
        """Take in what changed, and return the keys that make a difference."""
        found = [
            decoded
            for batch in batches
            for change in batch.changes
            if (decoded := decode_routing_item(change.key, change.value)) is not None
        ]
        if any(v is None and isinstance(k, _RARELY_REMOVED) for k, v in found):
            # Whoever empties a datastore empties it of who it is, too.
            self._following.confirm(lambda store: store.store_id)
        self._known.take(batches)
        return {key for key, value in found if self._set(key, value)}

    def _set(self, key: RoutingKey, value: RoutingResource | None) -> bool:
        if self._resources.get(key) == value:
            return False
        if value is None:
            del self._resources[key]
        else:
            self._resources[key] = value
        return True


def _list_with_revision(
    store: Store,
) -> tuple[tuple[list[KeyValue], Revision], Revision]:
    found = list_routing(store)
    return found, found[1]
