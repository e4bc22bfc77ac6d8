"""The stream of one watch, held open through whatever happens to members.

Theory of operation. A thread keeps one exchange with one member and hands on
whole revisions, in order, none twice. A member that says nothing for some
seconds is asked how far it is; one that does not answer then is left for the
next, as is one that ends the exchange or has no leader. The exchange is
resumed after the last revision that was handed on, never after one that a
member only claims to have reached: members before 3.4.25 and 3.5.8 claim that
before they have sent what happened.

When no member can be followed for some seconds, that is said and tried on.
"""

import random
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import NamedTuple

import grpc

from calico.model.errors import StoreNotPermitted, StoreWentBack, Unavailable
from calico.model.names import Revision
from calico.store.etcd_client import EtcdClient
from calico.store.etcd_diagnosis import diagnose
from calico.store.etcd_faults import (
    Fault,
    classify,
    details_of,
    explain_refusal,
    not_permitted,
)
from calico.store.etcd_keys import ID_KEY
from calico.store.etcd_place import EtcdPlace
from calico.store.etcd_transport import (
    FIRST_TRY_S,
    TRY_S,
    WATCH,
    Exchange,
)
from calico.store.etcd_wire import (
    WatchAnswer,
    decode_watch,
    progress_request,
    range_of,
    watch_request,
)
from calico.store.values import Change

SILENCE_S = 4.0
"""How long a member may say nothing before it is asked, and then to answer."""

_PATIENCE_S = 5.0
_LONGEST_PAUSE_S = 1.0
_N_REPEATED = 10_000
_WATCH_ID = 1

Events = list[tuple[Revision, Change]]


class Sink:
    """What a stream tells; every function is called by the stream's thread.

    Args:
        deliver: Whole revisions.
        report: The store cannot be followed and why, or `None`: it can again.
        refuse: The changes after the one revision, up to the other, are forgotten.
        tick: Nothing has happened for a while.
    """

    def __init__(
        self,
        deliver: Callable[[Events], None],
        report: Callable[[BaseException | None], None],
        refuse: Callable[[Revision, Revision], None],
        tick: Callable[[], None],
    ) -> None:
        self.deliver = deliver
        self.report = report
        self.refuse = refuse
        self.tick = tick


class Followed(NamedTuple):
    """What a stream follows.

    Attributes:
        place: Which etcd.
        store_id: Which store is in it.
        prefix: Where to look.
    """

    place: EtcdPlace
    store_id: str
    prefix: str


class EtcdStream:
    """Follow what changes below a prefix after a revision.

    Args:
        followed: What to follow.
        after: The revision that is known.
        sink: Told what happens.
    """

    def __init__(self, followed: Followed, after: Revision, sink: Sink) -> None:
        self._place = followed.place
        self._store_id = followed.store_id
        self._prefix = followed.prefix
        self._delivered = after
        self._reached = after
        self._sink = sink
        self._client = EtcdClient(self._place)
        self._transport = self._client.transport
        self._is_closing = Event()
        self._answers: SimpleQueue[bytes | grpc.RpcError | None] = SimpleQueue()
        self._fragments: Events = []
        self._down_since: float | None = None
        self._n_refused = 0
        self._thread = Thread(target=self._run, name="etcd watch", daemon=True)
        self._thread.start()

    def note_reached(self, revision: Revision) -> None:
        """Take note that nothing up to a revision is outstanding."""
        self._reached = revision

    def close(self) -> None:
        """End the exchange and its threads."""
        self._is_closing.set()
        self._answers.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._follow_members()
        except BaseException as error:  # noqa: BLE001 -- whoever reads raises it
            # A watch that is dead must not look like one to which nothing happens.
            self._sink.report(error)
        finally:
            self._client.close()

    def _follow_members(self) -> None:
        n_failures = 0
        while not self._is_closing.is_set():
            index = self._transport.choose()
            had_answer = self._follow(index)
            if self._is_closing.is_set():
                break
            n_failures = 0 if had_answer else n_failures + 1
            if n_failures >= len(self._place.endpoints):
                pause = min(_LONGEST_PAUSE_S, 0.1 * n_failures)
                self._is_closing.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311 -- to spread load

    def _follow(self, index: int) -> bool:
        """Follow one member until it fails; say whether it ever answered."""
        self._answers = SimpleQueue()
        self._fragments = []
        requests: SimpleQueue[bytes | None] = SimpleQueue()
        start = self._start()
        requests.put(watch_request(_WATCH_ID, range_of(self._prefix), start))
        call = self._transport.open_stream(index, WATCH, iter(requests.get, None))
        reader = Thread(
            target=_read, args=(call, self._answers), name="etcd watch", daemon=True
        )
        reader.start()
        try:
            return self._take_answers(index, requests)
        finally:
            requests.put(None)
            call.cancel()
            reader.join()

    def _start(self) -> int:
        # What is far behind costs a member much to look through.
        return max(self._delivered, self._reached - _N_REPEATED) + 1

    def _take_answers(self, index: int, requests: "SimpleQueue[bytes | None]") -> bool:
        has_answered = False
        is_asked = True
        # Where there is another member, one that is frozen costs a second.
        first_patience = FIRST_TRY_S if len(self._place.endpoints) > 1 else TRY_S
        while not self._is_closing.is_set():
            patience = SILENCE_S if has_answered else first_patience
            try:
                found = self._answers.get(timeout=patience)
            except Empty:
                if is_asked:
                    self._fail(index, None)
                    return has_answered
                requests.put(progress_request())
                is_asked = True
                self._sink.tick()
                continue
            if found is None:
                break
            if isinstance(found, grpc.RpcError):
                self._fail(index, found)
                return has_answered
            self._transport.note_answer(index)
            if not has_answered and not self._recognise():
                return False
            is_asked, has_answered = False, True
            if not self._take(decode_watch(found)):
                return has_answered
        return has_answered

    def _recognise(self) -> bool:
        """See that the store is the one that is followed, and has come so far.

        A member that was swapped takes a watch from a revision to come, and stays
        silent until it has made as many.
        """
        error: Unavailable | None = None
        try:
            found, now = self._client.get(ID_KEY)
        except StoreWentBack as went_back:
            error = went_back
        except Unavailable as unknown:
            # Asking has taken its time, or we may not; either lasts.
            self._down_since = self._down_since or time.monotonic()
            self._sink.report(unknown)
            return False
        else:
            seen = max(self._delivered, self._reached)
            if (
                found is None
                or found.value.decode("ascii", "replace") != self._store_id
            ):
                error = Unavailable(
                    self._place.name, "is another datastore than it was", ()
                )
            elif now < seen:
                error = StoreWentBack(self._place.name, seen, now)
        if error is not None:
            self._sink.report(error)
            self._is_closing.set()
        return error is None

    def _take(self, answer: WatchAnswer) -> bool:
        """Take an answer; say whether the exchange goes on."""
        if answer.canceled:
            self._take_end(answer)
            return False
        self._recover()
        self._fragments.extend(answer.events)
        if answer.is_fragment or not self._fragments:
            return True
        events = [each for each in self._fragments if each[0] > self._delivered]
        self._fragments = []
        if events:
            self._delivered = events[-1][0]
            self._sink.deliver(events)
        return True

    def _take_end(self, answer: WatchAnswer) -> None:
        if answer.compacted:
            if self._reached >= answer.compacted > self._delivered:
                # What is forgotten is known to have held nothing for us.
                self._delivered = self._reached
                return
            self._sink.refuse(self._delivered, Revision(answer.compacted))
            self._is_closing.set()
        elif "permission denied" in answer.reason:
            url = self._place.endpoints[self._transport.choose()].url
            what = f"watch below {self._prefix!r}"
            self._sink.report(not_permitted(self._place, url, what))
            self._is_closing.set()

    def _recover(self) -> None:
        self._n_refused = 0
        if self._down_since is not None:
            self._down_since = None
            self._sink.report(None)

    def _fail(self, index: int, error: grpc.RpcError | None) -> None:
        """Leave a member for the next, and say so if this lasts."""
        self._transport.note_failure(index)
        endpoint = self._place.endpoints[index]
        now = time.monotonic()
        self._down_since = self._down_since or now
        details = "no answer" if error is None else details_of(error)
        fault = Fault.BROKEN if error is None else classify(error)
        if error is not None and fault is Fault.REFUSED:
            what = f"watch below {self._prefix!r}"
            found = explain_refusal(self._place, endpoint.url, error, what)
            if isinstance(found, StoreNotPermitted):
                self._sink.report(found)
                return
        self._n_refused = self._n_refused + 1 if fault is Fault.NOT_SENT else 0
        is_nobody = self._n_refused >= len(self._place.endpoints)
        if is_nobody or now - self._down_since > _PATIENCE_S:
            finding = diagnose(self._place, endpoint, details)
            self._sink.report(
                Unavailable(endpoint.url, finding.reason, finding.next_steps)
            )


def _read(call: Exchange, answers: "SimpleQueue[bytes | grpc.RpcError | None]") -> None:
    try:
        for data in call:
            answers.put(data)
    except grpc.RpcError as error:
        answers.put(error)
    else:
        answers.put(grpc.RpcError("the member ended the watch"))
