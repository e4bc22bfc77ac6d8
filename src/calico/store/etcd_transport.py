"""Calls to an etcd of several members: who is asked, for how long, and then whom.

Theory of operation. One gRPC channel for each member; one of them is asked
until it fails, then the next. A member that has not answered yet gets a short
first try, so one that is frozen or black-holed costs about a second; one that
failed is asked last for a while. What changes nothing, or may be done twice,
goes round the members until the time is up. A write is sent once, to a member
that answered just now, for nobody can know what became of it when no answer
comes.

Not here: what the bytes mean.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol, TypeVar, cast

import grpc

from calico.model.errors import OutcomeUnknown, Unavailable
from calico.store.etcd_diagnosis import diagnose
from calico.store.etcd_faults import (
    EtcdRefused,
    Fault,
    classify,
    details_of,
    explain_refusal,
)
from calico.store.etcd_place import Endpoint, EtcdPlace
from calico.store.etcd_wire import encode_text, range_request

RANGE = "/etcdserverpb.KV/Range"
TXN = "/etcdserverpb.KV/Txn"
COMPACT = "/etcdserverpb.KV/Compact"
WATCH = "/etcdserverpb.Watch/Watch"
LEASE_GRANT = "/etcdserverpb.Lease/LeaseGrant"
LEASE_REVOKE = "/etcdserverpb.Lease/LeaseRevoke"
LEASE_KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"
STATUS = "/etcdserverpb.Maintenance/Status"

READ_WITHIN_S = 8.0
FIRST_TRY_S = 1.0
TRY_S = 3.0
_AVOIDED_S = 10.0
_TRUSTED_S = 10.0
_PAUSE_S = 0.1

CHANNEL_OPTIONS = (
    # etcd ends a connection that is pinged more often than every 5 seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3000),
    # The one that makes a dead connection fail; the keep-alive time-out does not.
    ("grpc.http2.ping_timeout_ms", 3000),
    # etcd ends a connection that is pinged while nothing is asked on it.
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
)

T = TypeVar("T")
Send = Callable[[grpc.Channel, float], T]
"""Does something with one member within a time."""


class _Failure(NamedTuple):
    endpoint: Endpoint
    fault: Fault
    details: str


class EtcdTransport:
    """The members of one etcd, for one thread.

    Args:
        place: Which etcd, and who we are there.
    """

    def __init__(self, place: EtcdPlace) -> None:
        self.place = place
        self._channels: dict[int, grpc.Channel] = {}
        self._current = 0
        self._answered_at: dict[int, float] = {}
        self._failed_at: dict[int, float] = {}

    def ask(self, method: str, request: bytes, what: str) -> bytes:
        """Make a call that changes nothing, or that may be made twice.

        Args:
            method: Which one.
            request: The message.
            what: What it does, for an error.

        Raises:
            EtcdRefused: etcd says no, in a way that the caller understands.
            Unavailable: No member answered in time, or etcd says no.
        """
        return self.try_each(_unary(method, request), what)

    def try_each(self, send: Send[T], what: str) -> T:
        """Do something with one member after another until it is done.

        Args:
            send: Does it, with a channel and a time.
            what: What it does, for an error.

        Raises:
            EtcdRefused: etcd says no, in a way that the caller understands.
            Unavailable: No member answered in time, or etcd says no.
        """
        until = time.monotonic() + READ_WITHIN_S
        n_rounds = 0
        while True:
            failures: list[_Failure] = []
            for index in self._order():
                left = until - time.monotonic()
                timeout = min(self._patience(index, n_rounds), max(left, _PAUSE_S))
                answer = self._attempt(index, send, timeout, what)
                if not isinstance(answer, _Failure):
                    return answer
                failures.append(answer)
            n_rounds += 1
            is_nobody = all(each.fault is Fault.NOT_SENT for each in failures)
            if is_nobody or time.monotonic() >= until:
                raise self._explain(failures)
            time.sleep(min(_PAUSE_S * n_rounds, 1.0))

    def write(self, method: str, request: bytes, what: str) -> bytes:
        """Make a call once.

        Raises:
            EtcdRefused: etcd says no, in a way that the caller understands.
            OutcomeUnknown: No answer came.
            Unavailable: It was not made.
        """
        send = _unary(method, request)
        failures: list[_Failure] = []
        for _ in range(len(self.place.endpoints) + 1):
            index = self._live()
            answer = self._attempt(index, send, TRY_S, what)
            if isinstance(answer, bytes):
                return answer
            if answer.fault is Fault.BROKEN:
                raise OutcomeUnknown(
                    answer.endpoint.url,
                    f"no answer to a change ({answer.details or 'connection lost'})",
                )
            failures.append(answer)
        raise self._explain(failures)

    def open_stream(
        self, index: int, method: str, requests: Iterator[bytes]
    ) -> "Exchange":
        """Begin an exchange of many messages with one member that has a leader."""
        return exchange(self._channel(index), method, requests, None)

    def choose(self) -> int:
        """Return the member to ask next, preferring who answers."""
        return next(iter(self._order()))

    def note_failure(self, index: int) -> None:
        """Ask a member last for a while, and on a new connection."""
        self._failed_at[index] = time.monotonic()
        self._answered_at.pop(index, None)
        channel = self._channels.pop(index, None)
        if channel is not None:
            channel.close()

    def note_answer(self, index: int) -> None:
        """Ask this member first."""
        self._current = index
        self._answered_at[index] = time.monotonic()
        self._failed_at.pop(index, None)

    def close(self) -> None:
        """Disconnect; closing twice is allowed."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    def _attempt(
        self, index: int, send: Send[T], timeout: float, what: str
    ) -> "T | _Failure":
        endpoint = self.place.endpoints[index]
        try:
            answer = send(self._channel(index), timeout)
        except grpc.RpcError as error:
            fault = classify(error)
            if fault is Fault.REFUSED:
                self.note_answer(index)
                raise explain_refusal(self.place, endpoint.url, error, what) from None
            self.note_failure(index)
            return _Failure(endpoint, fault, details_of(error))
        self.note_answer(index)
        return answer

    def _live(self) -> int:
        """Return a member that answers now; nothing is sent to another one."""
        seen = self._answered_at.get(self._current)
        if seen is None or time.monotonic() - seen > _TRUSTED_S:
            # Whatever it answers, it answers.
            with suppress(EtcdRefused):
                self.ask(RANGE, _PROBE, "read anything")
        return self._current

    def _order(self) -> Sequence[int]:
        now = time.monotonic()
        n_endpoints = len(self.place.endpoints)
        turn = [(self._current + each) % n_endpoints for each in range(n_endpoints)]
        return sorted(
            turn, key=lambda index: now - self._failed_at.get(index, 0) < _AVOIDED_S
        )

    def _patience(self, index: int, n_rounds: int) -> float:
        is_trusted = index in self._answered_at
        return TRY_S if is_trusted or n_rounds else FIRST_TRY_S

    def _channel(self, index: int) -> grpc.Channel:
        if index not in self._channels:
            self._channels[index] = _connect(self.place, self.place.endpoints[index])
        return self._channels[index]

    def _explain(self, failures: Sequence[_Failure]) -> Unavailable:
        findings = [
            (each.endpoint, diagnose(self.place, each.endpoint, each.details))
            for each in {failure.endpoint: failure for failure in failures}.values()
        ]
        endpoint, first = findings[0]
        if len(findings) == 1:
            return Unavailable(endpoint.url, first.reason, first.next_steps)
        reasons = "; ".join(f"{each.url} {found.reason}" for each, found in findings)
        return Unavailable(
            "etcd", f"no member can be used: {reasons}", first.next_steps
        )


_PROBE = range_request(encode_text("/calico/store/v1/id"), count_only=True)


class Exchange(Protocol):
    """Answers as they come."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield each answer; raises `grpc.RpcError` when it breaks."""
        ...

    def cancel(self) -> bool:
        """End it."""
        ...


def exchange(
    channel: grpc.Channel,
    method: str,
    requests: Iterator[bytes],
    timeout: float | None,
) -> Exchange:
    """Begin an exchange of many messages, with a member that has a leader."""
    # Messages go through as bytes, which the stubs have no word for.
    call = cast("Callable[..., Exchange]", channel.stream_stream(method))
    return call(requests, timeout=timeout, metadata=(("hasleader", "true"),))


def _unary(method: str, request: bytes) -> Send[bytes]:
    def send(channel: grpc.Channel, timeout: float) -> bytes:
        call = cast("Callable[..., bytes]", channel.unary_unary(method))
        return call(request, timeout=timeout)

    return send


def _connect(place: EtcdPlace, endpoint: Endpoint) -> grpc.Channel:
    if not endpoint.is_secure:
        return grpc.insecure_channel(endpoint.target, CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=place.ca,
        private_key=place.key,
        certificate_chain=place.certificate,
    )
    return grpc.secure_channel(endpoint.target, credentials, CHANNEL_OPTIONS)
