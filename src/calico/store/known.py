"""What a follower of a datastore knows, compared with what is there.

A datastore can lose an event. So the keys that are known are compared with
those that are there from time to time: what has changed since the last time,
and how many there are.
"""

import time
from collections.abc import Sequence
from itertools import chain

from calico.codec.keys import READY_KEY
from calico.model.names import NO_REVISION, Revision
from calico.store.api import Batch, KeyValue, Store, Survey
from calico.store.following import is_much

COMPARE_EVERY_S = 600.0

_LOOK_AGAIN_S = 5.0


class Known:
    """Which keys below some prefixes are known, each at which revision.

    A key is kept as its hash: there may be a hundred thousand of them, and two
    with one hash would only hide that one of them was lost.

    Args:
        prefixes: None of them is below another.
        every_s: How often to compare.
    """

    def __init__(self, prefixes: Sequence[str], every_s: float) -> None:
        self._prefixes = tuple(prefixes)
        self._every_s = every_s
        self._revisions: dict[int, Revision] = {}
        self._compared = NO_REVISION
        self._is_suspicious = False
        self._due = time.monotonic() + every_s

    def replace(self, items: Sequence[KeyValue], revision: Revision) -> None:
        """Take up all there is at a revision, and nothing else."""
        self._revisions = {hash(kv.key): kv.modified for kv in items}
        self._compared = revision
        self._is_suspicious = False
        self._due = time.monotonic() + self._every_s

    def take(self, batches: Sequence[Batch]) -> None:
        """Take up changes."""
        for batch in batches:
            for change in batch.changes:
                if change.value is None:
                    self._revisions.pop(hash(change.key), None)
                else:
                    self._revisions[hash(change.key)] = batch.revision

    def is_much_removed(self, batches: Sequence[Batch]) -> bool:
        """Report whether changes take so much away that they need confirmation."""
        removed = {
            change.key
            for batch in batches
            for change in batch.changes
            if change.value is None
        }
        return READY_KEY in removed or is_much(len(removed), len(self._revisions))

    def is_much_missing(self, items: Sequence[KeyValue]) -> bool:
        """Report whether a listing lacks so much that it needs confirmation."""
        listed = {hash(kv.key) for kv in items}
        n_missing = sum(1 for known in self._revisions if known not in listed)
        return is_much(n_missing, len(self._revisions))

    def due_in(self) -> float:
        """Return in how many seconds to compare."""
        return max(0.0, self._due - time.monotonic())

    def compare(self, store: Store) -> str | None:
        """Compare with what is there; what differs is looked at a second time.

        What is under way at the first look has come by the second.

        Returns:
            What differs, the second time; `None` while nothing is certain.

        Raises:
            Unavailable: The store cannot be read.
        """
        surveys = [store.survey(each, self._compared) for each in self._prefixes]
        difference = self._difference(surveys)
        was_suspicious = self._is_suspicious
        self._is_suspicious = difference is not None
        pause_s = self._every_s
        if difference is None:
            self._compared = min(each.revision for each in surveys)
        else:
            pause_s = min(pause_s, _LOOK_AGAIN_S)
        self._due = time.monotonic() + pause_s
        return difference if was_suspicious else None

    def _difference(self, surveys: Sequence[Survey]) -> str | None:
        wrong = [
            item.key
            for item in chain.from_iterable(each.modified for each in surveys)
            if self._revisions.get(hash(item.key)) != item.revision
        ]
        if wrong:
            return f"{len(wrong)} keys are not as they were told, first {wrong[0]}"
        n_known, n_keys = len(self._revisions), sum(each.n_keys for each in surveys)
        if n_known != n_keys:
            return f"{n_keys} keys are there, {n_known} are known"
        return None
