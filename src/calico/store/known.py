"""Which keys are known, at which revisions, in little room.

Of each key only a hash is kept: what is asked is how many of them are gone, and
whether a listing is the same, and for that two keys in a billion billion may
share one.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from calico.model.names import Revision
from calico.store.values import Batch, KeyValue

LEAST_HELD = 10
SHARE_HELD = 0.3


class Known:
    """The keys that somebody has been told of."""

    def __init__(self) -> None:
        self._modified: dict[int, Revision] = {}

    def __len__(self) -> int:
        return len(self._modified)

    def replace_all(self, items: Iterable[KeyValue]) -> None:
        """Know what a listing shows, and nothing else."""
        self._modified = {hash(item.key): item.modified for item in items}

    def take(self, batches: Iterable[Batch]) -> None:
        """Know what changes say."""
        for batch in batches:
            for change in batch.changes:
                if change.value is None:
                    self._modified.pop(hash(change.key), None)
                else:
                    self._modified[hash(change.key)] = batch.revision

    def count_removed(self, batches: Iterable[Batch]) -> int:
        """Count the known keys that are absent after some changes."""
        last: dict[int, bool] = {}
        for batch in batches:
            for change in batch.changes:
                last[hash(change.key)] = change.value is None
        return sum(gone and key in self._modified for key, gone in last.items())

    def count_missing(self, items: Iterable[KeyValue]) -> int:
        """Count the known keys that a listing does not show."""
        return len(self._modified.keys() - {hash(item.key) for item in items})

    def count_differences(
        self, items: Iterable[KeyValue], besides: AbstractSet[str] = frozenset()
    ) -> int:
        """Count the keys that are not known as a listing shows them.

        Args:
            items: The listing.
            besides: Keys that do not count.
        """
        shown = {hash(item.key): item.modified for item in items}
        ignored = {hash(key) for key in besides}
        different = self._modified.items() ^ shown.items()
        return len({key for key, _ in different} - ignored)

    def is_many(self, n_gone: int) -> bool:
        """Report whether so many are too many to be gone at one glance."""
        return n_gone > max(LEAST_HELD, SHARE_HELD * len(self._modified))
