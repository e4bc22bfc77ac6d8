"""All that routing is computed from, followed for as long as one likes.

It lies below several prefixes, and much that changes often lies beside them:
so each prefix has a watch of its own, and one thread waits for all of them.
Only what makes a difference is told, each time as a whole.

Not here: what policy is computed from (`feed`).
"""

import select
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass

from calico.codec.routing_keys import ROUTING_PREFIXES
from calico.model.errors import Compacted, Unavailable
from calico.model.names import Revision
from calico.model.routing import RoutingKey, RoutingResource, RoutingSnapshot
from calico.store.api import Batch, Store, Watch
from calico.store.feed import StoreAnswers, StoreSilent, pause_after
from calico.store.routing import (
    decode_all,
    decode_routing_item,
    list_routing,
)


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


RoutingEvent = RoutingRead | StoreSilent | StoreAnswers


class RoutingFeed:
    """Follow what routing depends on; for one thread.

    Args:
        open_store: Opens the datastore; may be called again after a failure.
    """

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open_store = open_store
        self._store_id: str | None = None
        self._seen: dict[str, Revision] = {}
        self._resources: dict[RoutingKey, RoutingResource] = {}
        self._n_failures = 0

    def events(self) -> Generator[RoutingEvent]:
        """Yield what there is and then what becomes of it, for ever."""
        while True:
            try:
                yield from self._follow()
            except Unavailable as error:
                self._n_failures += 1
                yield StoreSilent(str(error))
                time.sleep(pause_after(self._n_failures))

    def _follow(self) -> Generator[RoutingEvent]:
        store = self._open_store()
        try:
            self._recognise(store)
            while True:
                try:
                    yield from self._follow_store(store)
                except Compacted:
                    # We were away for too long: read everything again.
                    self._seen = {}
        finally:
            store.close()

    def _recognise(self, store: Store) -> None:
        if self._store_id is None:
            self._store_id = store.store_id
        elif self._store_id != store.store_id:
            raise Unavailable(
                "the datastore",
                "has been replaced by another one; routes stay as they were",
                ("restore it", "restart `calicoctl node` to take up the new one"),
            )

    def _follow_store(self, store: Store) -> Generator[RoutingEvent]:
        if not self._seen:
            items, revision = list_routing(store)
            self._resources = decode_all(items)
            self._seen = dict.fromkeys(ROUTING_PREFIXES, revision)
            yield RoutingRead(self._resources, None)
        watches: dict[str, Watch] = {}
        try:
            for prefix, revision in self._seen.items():
                watches[prefix] = store.watch(prefix, revision)
            yield from self._follow_watches(watches)
        finally:
            for watch in watches.values():
                watch.close()

    def _follow_watches(self, watches: dict[str, Watch]) -> Generator[RoutingEvent]:
        waiting = select.poll()
        for watch in watches.values():
            waiting.register(watch.fileno(), select.POLLIN)
        while True:
            if not self._n_failures:
                waiting.poll()
            # All that has come meanwhile is one change.
            changed: set[RoutingKey] = set()
            while batches := self._read(watches):
                changed.update(self._take(batches))
            if self._n_failures:
                self._n_failures = 0
                yield StoreAnswers()
            if changed:
                yield RoutingRead(self._resources, frozenset(changed))

    def _read(self, watches: dict[str, Watch]) -> list[Batch]:
        batches: list[Batch] = []
        for prefix, watch in watches.items():
            batches.extend(watch.read(0))
            self._seen[prefix] = watch.revision
        return batches

    def _take(self, batches: list[Batch]) -> Iterator[RoutingKey]:
        """Take in what changed, and yield the keys that make a difference."""
        for batch in batches:
            for change in batch.changes:
                found = decode_routing_item(change.key, change.value)
                if found is not None and self._set(*found):
                    yield found[0]

    def _set(self, key: RoutingKey, value: RoutingResource | None) -> bool:
        if self._resources.get(key) == value:
            return False
        if value is None:
            del self._resources[key]
        else:
            self._resources[key] = value
        return True
