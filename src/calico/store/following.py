"""One datastore, followed for as long as one likes, and never another in its place.

A datastore that does not answer is said to be silent, and asked again after a
pause. One that is suddenly another, is emptied, or is older than it has been,
is not believed: what is known stays as it is until the node is started again.
Whatever would take much away is confirmed by a second client first, and what is
missing altogether at a later revision: every status that a host writes makes one.

Hosts that lose their datastore together come back apart: each pause has chance
in it.

Not here: what is followed (`feed`, `routing_feed`).
"""

import random
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from calico.codec.keys import READY_KEY
from calico.model.errors import Compacted, StoreWentBack, Unavailable
from calico.model.names import NO_REVISION, Revision
from calico.store.api import Store, T

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
RESYNC_SPREAD_S = 1.0
KEYS_PER_RESYNC_S = 10_000
"""So many keys are listed anew for each second of the spread."""

_CONFIRM_EVERY_S = 1.0

MEMORY_NAME = "datastore.id"
"""The file in the run directory that keeps which datastore a node follows."""

_MANY = 10
_MUCH = 0.3
_AGAIN = (
    "put back what it held",
    "restart the node (`calicoctl node stop`, `calicoctl node`) to take it as it is",
)


@dataclass(frozen=True, slots=True)
class StoreSilent:
    """The datastore cannot be read or believed; what is known stays as it is."""

    reason: str


@dataclass(frozen=True, slots=True)
class StoreAnswers:
    """The datastore can be read again, or for the first time."""


@dataclass(frozen=True, slots=True)
class EventsLost:
    """The datastore has kept changes from us; everything follows, read anew.

    Attributes:
        reason: What differed.
    """

    reason: str


def pause_after(n_failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(n_failures - 1, 16))


def resync_spread(n_keys: int) -> float:
    """Return how long those who lost so many keys together wait at most.

    Each listing takes a datastore the longer the more there is, and all who
    were away for too long want one.
    """
    return max(RESYNC_SPREAD_S, n_keys / KEYS_PER_RESYNC_S)


def is_much(n_removed: int, n_known: int) -> bool:
    """Report whether a removal is so large that it wants to be confirmed."""
    return n_removed > max(_MANY, _MUCH * n_known)


def forget_datastore(run_dir: Path) -> None:
    """Let whoever follows a datastore next take it as it is.

    Raises:
        OSError: The file cannot be removed.
    """
    Path(run_dir, MEMORY_NAME).unlink(missing_ok=True)


class Following:
    """Keep a client of one datastore open; for one thread.

    Args:
        open_store: Opens the datastore; called again after each failure.
        keeps: What stays as it was when the datastore is not believed, such as
            `policy stays as it was`.
        is_same: Tells whether a store held at a revision what is known of it.
        memory: The file that keeps the datastore's identity beyond this
            process; without it, only this process knows.

    Attributes:
        n_failures: How often in a row it could not be read.
        resync_spread_s: How long to wait at most before all is read anew.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        keeps: str,
        is_same: Callable[[Store, Revision], bool],
        memory: Path | None = None,
    ) -> None:
        self._open_store = open_store
        self._keeps = keeps
        self._is_same = is_same
        self._memory = memory
        self._store_id = _recall(memory)
        self._seen = NO_REVISION
        self._has_gone_back = False
        self._refused: Unavailable | None = None
        self._n_resyncs = 0
        self.n_failures = 0
        self.resync_spread_s = RESYNC_SPREAD_S

    def events(
        self, follow: Callable[[Store], Iterator[T]]
    ) -> Generator[T | StoreSilent]:
        """Yield what `follow` yields, for ever.

        Args:
            follow: Reads and watches a store. It is called anew after each
                failure, and after it raised `Compacted`.
        """
        while True:
            try:
                yield from self._attach(follow)
            except Unavailable as error:
                # A client may notice it by itself.
                self._has_gone_back |= isinstance(error, StoreWentBack)
                self.n_failures += 1
                yield StoreSilent(str(error))
                _pause(pause_after(self.n_failures))

    def answered(self, revision: Revision) -> Iterator[StoreAnswers]:
        """Take down that the datastore was read up to a revision.

        Yields:
            That it answers again, if it was silent.
        """
        self._seen = max(self._seen, revision)
        self._n_resyncs = 0
        if self.n_failures:
            self.n_failures = 0
            yield StoreAnswers()

    def confirm(self, read: Callable[[Store], T]) -> T:
        """Read something once more, with a client of its own.

        Raises:
            Unavailable: It cannot be read, or it is not the datastore that was
                followed so far.
        """
        store = self._open()
        try:
            return read(store)
        finally:
            store.close()

    def confirm_later(
        self, read: Callable[[Store], tuple[T, Revision]], after: Revision
    ) -> Generator[StoreSilent, None, T]:
        """Read something once more, at a later revision.

        Yields:
            That until then nothing of it is believed.

        Raises:
            Unavailable: As for `confirm`.
        """
        self.n_failures += 1
        yield StoreSilent(
            f"the datastore: much of what it held is missing; {self._keeps} until a"
            " later revision says the same"
        )
        while True:
            value, revision = self.confirm(read)
            if revision > after:
                return value
            time.sleep(_CONFIRM_EVERY_S)

    def refuse(self, reason: str) -> Unavailable:
        """Make the error that says why this datastore is believed no more."""
        self._refused = Unavailable("the datastore", f"{reason}; {self._keeps}", _AGAIN)
        return self._refused

    def _attach(self, follow: Callable[[Store], Iterator[T]]) -> Iterator[T]:
        store = self._open()
        try:
            while True:
                try:
                    yield from follow(store)
                except Compacted:
                    # We were away for too long, and so may others have been.
                    self._n_resyncs += 1
                    _pause(self.resync_spread_s * 2.0 ** min(self._n_resyncs - 1, 5))
        finally:
            store.close()

    def _open(self) -> Store:
        if self._refused is not None:
            raise self._refused
        try:
            store = self._open_store()
        except Unavailable as error:
            if self._store_id is None:
                raise
            raise Unavailable(
                error.where, f"{error.reason}; {self._keeps}", error.next_steps
            ) from None
        try:
            self._recognise(store)
        except BaseException:
            store.close()
            raise
        return store

    def _recognise(self, store: Store) -> None:
        if self._store_id is None:
            self._store_id = store.store_id
            _remember(self._memory, store.store_id)
        elif self._store_id != store.store_id:
            raise Unavailable(
                "the datastore",
                f"has been replaced by another one; {self._keeps}",
                _AGAIN,
            )
        current = store.list_prefix(READY_KEY).revision
        if current >= self._seen:
            self._compare_pasts(store)
        else:
            raise StoreWentBack("the datastore", self._seen, current, _AGAIN)

    def _compare_pasts(self, store: Store) -> None:
        """See that a datastore that had gone back has come back as it was."""
        if not self._has_gone_back:
            return
        with suppress(Compacted):
            if not self._is_same(store, self._seen):
                raise self.refuse(
                    f"has another past than at revision {self._seen}, which was seen"
                )
        self._has_gone_back = False


def _pause(longest_s: float) -> None:
    # At least half of it, so that a store that fails at once is left alone.
    time.sleep(longest_s * random.uniform(0.5, 1.0))  # noqa: S311 -- no secret


def _recall(memory: Path | None) -> str | None:
    with suppress(OSError):
        return (memory.read_text().strip() or None) if memory is not None else None
    return None


def _remember(memory: Path | None, store_id: str) -> None:
    if memory is not None:
        # Without the file, only a restart of this process forgets it.
        with suppress(OSError):
            memory.write_text(f"{store_id}\n")
