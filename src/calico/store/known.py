"""What a follower of a datastore knows, compared with what is there.

A datastore can lose an event. So the keys that are known are compared with
those that are there from time to time: what has changed since the last time,
and how many there are.

A comparison costs the datastore as much as a listing of the keys, for each that
follows it. So its time grows with their number, and is another one for each
that began together.
"""

import random
import time
from collections.abc import Sequence
from itertools import chain

from calico.codec.keys import READY_KEY
from calico.model.names import NO_REVISION, Revision
from calico.store.api import Batch, KeyValue, Store, Survey
from calico.store.following import is_much

COMPARE_EVERY_S = 600.0
"""How often to compare up to `COMPARE_KEYS` keys."""

COMPARE_KEYS = 10_000
"""So many keys are compared that often; more of them in proportion less often."""

_JITTER = 0.2
_LOOK_AGAIN_S = 5.0


def compare_every(every_s: float, n_keys: int) -> float:
    """Return in how many seconds to compare so many keys again.

    Args:
        every_s: For up to `COMPARE_KEYS` keys.
        n_keys: How many are known.
    """
    return every_s * max(1.0, n_keys / COMPARE_KEYS)


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
        self._due = time.monotonic() + self._pause_s()

    def __len__(self) -> int:
        """Return how many keys are known."""
        return len(self._revisions)

    @property
    def n_keys(self) -> int:
        """How many keys are known."""
        return len(self._revisions)

    def replace(self, items: Sequence[KeyValue], revision: Revision) -> None:
        """Take up all there is at a revision, and nothing else."""
        self._revisions = {hash(kv.key): kv.modified for kv in items}
        self._compared = revision
        self._is_suspicious = False
        self._due = time.monotonic() + self._pause_s()

    def take(self, batches: Sequence[Batch]) -> None:
        """Take up changes."""
        for batch in batches:
            for change in batch.changes:
                if change.value is None:
                    self._revisions.pop(hash(change.key), None)
                else:
                    self._revisions[hash(change.key)] = batch.revision

    def is_as(self, items: Sequence[KeyValue]) -> bool:
        """Report whether a listing shows what is known, and nothing else."""
        return self._revisions == {hash(kv.key): kv.modified for kv in items}

    def is_emptied(self, batches: Sequence[Batch]) -> bool:
        """Report whether changes put nothing and leave nothing."""
        changes = [change for batch in batches for change in batch.changes]
        removed = {hash(change.key) for change in changes}
        return all(c.value is None for c in changes) and removed.issuperset(
            self._revisions
        )

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
        missing = self._revisions.keys() - {hash(kv.key) for kv in items}
        return is_much(len(missing), len(self._revisions))

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
        pause_s = self._pause_s()
        if difference is None:
            self._compared = min(each.revision for each in surveys)
        else:
            pause_s = min(pause_s, _LOOK_AGAIN_S)
        self._due = time.monotonic() + pause_s
        return difference if was_suspicious else None

    def _pause_s(self) -> float:
        pause_s = compare_every(self._every_s, len(self._revisions))
        return pause_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 -- no secret

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
