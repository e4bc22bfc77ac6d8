"""The calls of etcd's that we make, with values in and out.

Everything here is linearizable: what it returns was true after it was asked
for. So a revision that is lower than one seen before means that the store has
gone back, and is an error.
"""

import os
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from math import ceil

import grpc

from calico.model.errors import Compacted, LeaseExpired, StoreWentBack, Unavailable
from calico.model.names import Revision
from calico.store.etcd_faults import EtcdRefused, not_permitted
from calico.store.etcd_keys import ID_KEY
from calico.store.etcd_place import EtcdPlace
from calico.store.etcd_transport import (
    COMPACT,
    LEASE_GRANT,
    LEASE_KEEP_ALIVE,
    LEASE_REVOKE,
    RANGE,
    STATUS,
    TXN,
    WATCH,
    EtcdTransport,
    exchange,
)
from calico.store.etcd_wire import (
    StatusAnswer,
    TxnAnswer,
    WatchAnswer,
    compaction_request,
    decode_lease_ttl,
    decode_range,
    decode_revision,
    decode_status,
    decode_txn,
    decode_watch,
    encode_text,
    lease_grant_request,
    lease_request,
    range_of,
    range_request,
    txn_request,
    watch_request,
)
from calico.store.values import Change, KeyValue, LeaseId

_PAGE = 20_000
_N_TRIES = 5
_SCAN_WITHIN_S = 30.0
_COMPACTED = "required revision has been compacted"
_FUTURE = "required revision is a future revision"
_NO_LEASE = "requested lease not found"
_MAX_LEASE = 1 << 62


class EtcdClient:
    """One etcd, for one thread.

    Args:
        place: Which etcd, and who we are there.
    """

    def __init__(self, place: EtcdPlace) -> None:
        self.place = place
        self.transport = EtcdTransport(place)
        self._seen = Revision(0)

    def get(self, key: str) -> tuple[KeyValue | None, Revision]:
        """Read a key, and the revision of the store."""
        request = range_request(encode_text(key))
        data = self._ask(RANGE, request, f"read {key}")
        items = decode_range(data).items
        return (items[0] if items else None), self._take(decode_revision(data))

    def list_range(
        self, prefix: str, at: Revision | None = None, *, keys_only: bool = False
    ) -> tuple[list[KeyValue], Revision]:
        """Read everything below a prefix at one revision, in pages.

        Raises:
            Compacted: The revision is no longer remembered.
            StoreWentBack: It is not reached yet.
        """
        for _ in range(_N_TRIES):
            try:
                return self._list_pages(prefix, at, keys_only=keys_only)
            except Compacted:
                if at is not None:
                    raise
        raise Unavailable(
            self.place.name, "was compacted each time while it was read", ("try again",)
        )

    def _list_pages(
        self, prefix: str, at: Revision | None, *, keys_only: bool
    ) -> tuple[list[KeyValue], Revision]:
        first, end = range_of(prefix)
        found: list[KeyValue] = []
        pinned = at
        while True:
            request = range_request(
                first, end, limit=_PAGE, at=pinned or 0, keys_only=keys_only
            )
            data = self._ask_at(RANGE, request, f"read below {prefix!r}", pinned)
            answer = decode_range(data)
            if pinned is None:
                pinned = self._take(decode_revision(data))
            found.extend(answer.items)
            if not answer.has_more:
                return found, pinned
            first = encode_text(answer.items[-1].key) + b"\0"

    def look(self, operations: tuple[bytes, ...], what: str) -> TxnAnswer:
        """Read several ranges at one revision."""
        answer = decode_txn(self._ask(TXN, txn_request((), operations), what))
        self._take(answer.revision)
        return answer

    def transact(self, request: bytes, what: str) -> TxnAnswer:
        """Make a transaction, once.

        Raises:
            EtcdRefused: etcd refuses it in a way that the caller understands.
            OutcomeUnknown: It may or may not have been made.
            Unavailable: It was not made.
        """
        answer = decode_txn(self.transport.write(TXN, request, what))
        self._take(answer.revision)
        return answer

    def oldest(self) -> Revision:
        """Return the oldest revision that is remembered; 1 is the first of all."""

        def send(channel: grpc.Channel, timeout: float) -> Revision:
            bounds = (encode_text(ID_KEY), b"")
            for answer in _watch_once(channel, bounds, 1, timeout):
                if answer.canceled and answer.compacted:
                    return Revision(answer.compacted)
                if answer.events or answer.canceled:
                    break
            return Revision(1)

        return self.transport.try_each(send, f"watch {ID_KEY}")

    def scan(
        self, prefix: str, first: Revision, last: Revision
    ) -> list[tuple[Revision, Change]]:
        """Return what happened in a range from one revision to another.

        Args:
            prefix: The range.
            first: The first revision.
            last: The last one, which changed something in the range.

        Raises:
            Compacted: The first is no longer remembered.
        """

        def send(
            channel: grpc.Channel, _: float
        ) -> list[tuple[Revision, Change]] | Revision:
            found: list[tuple[Revision, Change]] = []
            bounds = range_of(prefix)
            for answer in _watch_once(channel, bounds, start, _SCAN_WITHIN_S):
                if answer.canceled:
                    return self._end_of_scan(answer, prefix)
                found.extend(each for each in answer.events if each[0] <= last)
                if answer.events and answer.events[-1][0] >= last:
                    break
            return found

        start = max(first, Revision(1))
        found = self.transport.try_each(send, f"watch below {prefix!r}")
        if isinstance(found, list):
            return found
        raise Compacted(first, found)

    def scan_remembered(
        self, prefix: str, first: Revision, last: Revision
    ) -> list[tuple[Revision, Change]]:
        """Do as `scan`, from the oldest revision that is remembered at least."""
        while first <= last:
            try:
                return self.scan(prefix, first, last)
            except Compacted as error:
                first = Revision(error.oldest)
        return []

    def look_at(self, revision: Revision) -> None:
        """See that a revision is reached, and remembered.

        Raises:
            Compacted: It is not remembered any more.
            StoreWentBack: It is not reached yet.
        """
        request = range_request(encode_text(ID_KEY), at=revision, count_only=True)
        self._ask_at(RANGE, request, f"read {ID_KEY}", revision)

    def _end_of_scan(self, answer: WatchAnswer, prefix: str) -> Revision:
        """Return where to begin instead, or raise why not."""
        if answer.compacted:
            return Revision(answer.compacted)
        url = self.place.endpoints[self.transport.choose()].url
        raise not_permitted(self.place, url, f"watch below {prefix!r}")

    def grant(self, ttl_s: float) -> LeaseId:
        """Begin a lease, of whole seconds."""
        lease = LeaseId(int.from_bytes(os.urandom(8), "big") % _MAX_LEASE + 1)
        request = lease_grant_request(max(1, ceil(ttl_s)), lease)
        try:
            self.transport.ask(LEASE_GRANT, request, "begin a lease")
        except EtcdRefused as error:
            # An earlier try of the same call has made it, and was not heard of.
            if not error.says("lease already exists"):
                raise self.unexpected(error) from None
        return lease

    def keep_alive(self, lease: LeaseId) -> None:
        """Let a lease run its full time again.

        Raises:
            LeaseExpired: It is over.
        """

        def send(channel: grpc.Channel, timeout: float) -> bytes:
            with _held_open(lease_request(lease)) as requests:
                call = exchange(channel, LEASE_KEEP_ALIVE, requests, timeout)
                try:
                    return next(iter(call), b"")
                finally:
                    call.cancel()

        if decode_lease_ttl(self.transport.try_each(send, "keep a lease alive")) <= 0:
            raise LeaseExpired(lease)

    def revoke(self, lease: LeaseId) -> None:
        """End a lease; one that is over is no error."""
        try:
            self.transport.ask(LEASE_REVOKE, lease_request(lease), "end a lease")
        except EtcdRefused as error:
            if not error.says(_NO_LEASE):
                raise self.unexpected(error) from None

    def compact(self, before: Revision) -> None:
        """Forget what is older than a revision, at most all but the present."""
        _, now = self.get(ID_KEY)
        try:
            request = compaction_request(min(before, now))
            self.transport.ask(COMPACT, request, "compact the datastore")
        except EtcdRefused as error:
            if not error.says(_COMPACTED):
                raise self.unexpected(error) from None

    def status(self) -> StatusAnswer:
        """Return how the member that answers is."""
        return decode_status(self._ask(STATUS, b"", "see how etcd is"))

    def unexpected(self, error: EtcdRefused) -> Unavailable:
        """Make an error of an answer that has no meaning for us."""
        return Unavailable(self.place.name, f"etcd refuses: {error.details}")

    def close(self) -> None:
        """Disconnect; closing twice is allowed."""
        self.transport.close()

    def _ask(self, method: str, request: bytes, what: str) -> bytes:
        try:
            return self.transport.ask(method, request, what)
        except EtcdRefused as error:
            raise self.unexpected(error) from None

    def _ask_at(
        self, method: str, request: bytes, what: str, at: Revision | None
    ) -> bytes:
        try:
            return self.transport.ask(method, request, what)
        except EtcdRefused as error:
            if error.says(_COMPACTED):
                raise Compacted(at or 0, self.oldest()) from None
            if error.says(_FUTURE):
                _, now = self.get(ID_KEY)
                raise StoreWentBack(self.place.name, at or 0, now) from None
            raise self.unexpected(error) from None

    def _take(self, revision: Revision) -> Revision:
        if revision < self._seen:
            raise StoreWentBack(self.place.name, self._seen, revision)
        self._seen = revision
        return revision


@contextmanager
def _held_open(request: bytes) -> Generator[Iterator[bytes], None, None]:
    """Give the requests of a stream that stays open until left."""
    is_over = threading.Event()

    def requests() -> Iterator[bytes]:
        yield request
        is_over.wait()

    try:
        yield requests()
    finally:
        is_over.set()


def _watch_once(
    channel: grpc.Channel, bounds: tuple[bytes, bytes], start: int, timeout: float
) -> Generator[WatchAnswer, None, None]:
    """Yield the answers of a watch, until the caller has seen enough."""
    request = watch_request(0, bounds, start)
    with _held_open(request) as requests:
        call = exchange(channel, WATCH, requests, timeout)
        try:
            for data in call:
                yield decode_watch(data)
        finally:
            call.cancel()
