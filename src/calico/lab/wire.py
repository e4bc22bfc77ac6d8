"""Send probes, and answer them: sockets in several namespaces, one loop.

A socket stays in the network namespace that its process was in when it was
made. So one process visits each namespace, makes the sockets there, and then
waits for all of them together. Runs inside a lab, as root there, because an
echo request needs a raw socket.
"""

import errno
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

from calico.lab.errors import LabError
from calico.lab.network import enter_namespace
from calico.netset import Address, Family, family_of

_TOKEN_BYTES = 16
_ECHO = struct.Struct("!BBHHH")
_ECHO_REQUEST = {Family.V4: 8, Family.V6: 128}
_ECHO_REPLY = {Family.V4: 0, Family.V6: 129}
_MAX_PACKET = 2048
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Protocol(Enum):
    """What a probe sends; the value is the word for it in rules."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    ICMPV6 = "icmpv6"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What to send, and where.

    Attributes:
        source: The namespace to send from.
        source_address: The address to send from; `None` leaves it to the
            kernel.
        destination: The namespace in which to answer.
        address: The address to send to.
        protocol: What to send.
        port: For TCP and UDP.
    """

    source: str
    source_address: Address | None
    destination: str
    address: Address
    protocol: Protocol
    port: int

    @property
    def family(self) -> Family:
        """The address family of the attempt."""
        return family_of(self.address)


@dataclass(slots=True)
class Answer:
    """What came of an attempt.

    Attributes:
        arrived: The answer came.
        fault: What else came, if anything did.
    """

    arrived: bool = False
    fault: str = ""


@dataclass(slots=True)
class _Wire:
    """Sockets that are open, and what to do when one becomes ready."""

    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    listeners: set[tuple[str, str, int, Protocol]] = field(
        default_factory=set[tuple[str, str, int, Protocol]]
    )
    n_pending: int = 0

    def watch(self, each: socket.socket, events: int, act: Callable[[], None]) -> None:
        self.selector.register(each, events, act)

    def settle(self, each: socket.socket) -> None:
        """Stop waiting for the answer to an attempt."""
        self.selector.unregister(each)
        each.close()
        self.n_pending -= 1

    def close(self) -> None:
        for key in list(self.selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self.selector.close()


def send(attempts: Sequence[Attempt], deadline_s: float) -> list[Answer]:
    """Make all attempts at once and wait for their answers.

    This process changes its network namespace on the way.

    Args:
        attempts: Each answered in its place of the result.
        deadline_s: How long to wait; less when every answer has come.

    Raises:
        LabError: A UDP port that an attempt needs is in use.
    """
    wire = _Wire()
    answers = [Answer() for _ in attempts]
    try:
        for attempt in attempts:
            _listen(wire, attempt)
        for attempt, answer in zip(attempts, answers, strict=True):
            _ask(wire, attempt, answer)
        _wait(wire, deadline_s)
    finally:
        wire.close()
    return answers


def _wait(wire: _Wire, deadline_s: float) -> None:
    end = time.monotonic() + deadline_s
    while wire.n_pending:
        left = end - time.monotonic()
        ready = wire.selector.select(max(left, 0))
        for key, _ in ready:
            key.data()
        if left <= 0 and not ready:
            return


def _socket(attempt: Attempt, kind: int, number: int = 0) -> socket.socket:
    family = socket.AF_INET if attempt.family is Family.V4 else socket.AF_INET6
    return socket.socket(family, kind | socket.SOCK_NONBLOCK, number)


def _listen(wire: _Wire, attempt: Attempt) -> None:
    """Start what answers TCP or UDP, unless something does already."""
    key = attempt.destination, str(attempt.address), attempt.port, attempt.protocol
    if attempt.protocol in {Protocol.ICMP, Protocol.ICMPV6} or key in wire.listeners:
        return
    wire.listeners.add(key)
    enter_namespace(attempt.destination)
    is_tcp = attempt.protocol is Protocol.TCP
    listener = _socket(attempt, socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM)
    try:
        listener.bind((str(attempt.address), attempt.port))
        if is_tcp:
            listener.listen()
    except OSError as error:
        listener.close()
        if is_tcp and error.errno == errno.EADDRINUSE:
            return  # The user's own server answers.
        what = f"{attempt.protocol.value} port {attempt.port} of `{key[0]}`"
        reason = f"a probe cannot answer there: {error.strerror}"
        raise LabError(what, reason) from error
    act = _accept if is_tcp else _return
    wire.watch(listener, selectors.EVENT_READ, lambda: act(listener))


def _accept(listener: socket.socket) -> None:
    listener.accept()[0].close()


def _return(listener: socket.socket) -> None:
    """Send a datagram back to where it came from."""
    token, sender = listener.recvfrom(_MAX_PACKET)
    listener.sendto(token, sender)


def _ask(wire: _Wire, attempt: Attempt, answer: Answer) -> None:
    enter_namespace(attempt.source)
    asker = _asker(attempt)
    token = os.urandom(_TOKEN_BYTES)

    def look() -> None:
        try:
            answer.arrived = _has_arrived(asker, attempt, token)
        except OSError as error:
            answer.fault = error.strerror or str(error)
        if answer.arrived or answer.fault:
            wire.settle(asker)

    try:
        events = _speak(asker, attempt, token)
    except OSError as error:
        answer.fault = error.strerror or str(error)
        asker.close()
        return
    wire.n_pending += 1
    wire.watch(asker, events, look)


def _asker(attempt: Attempt) -> socket.socket:
    match attempt.protocol:
        case Protocol.TCP:
            asker = _socket(attempt, socket.SOCK_STREAM)
            # Nothing stays in TIME_WAIT, so the next probe finds a clean port.
            asker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            return asker
        case Protocol.UDP:
            return _socket(attempt, socket.SOCK_DGRAM)
        case Protocol.ICMP:
            return _socket(attempt, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        case Protocol.ICMPV6:
            return _socket(attempt, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)


def _speak(asker: socket.socket, attempt: Attempt, token: bytes) -> int:
    """Send what there is to send; return the event that the answer brings."""
    if attempt.source_address is not None:
        asker.bind((str(attempt.source_address), 0))
    with suppress(BlockingIOError):
        asker.connect((str(attempt.address), attempt.port))
    if attempt.protocol is Protocol.TCP:
        return selectors.EVENT_WRITE
    is_udp = attempt.protocol is Protocol.UDP
    asker.send(token if is_udp else _echo_request(attempt.family, token))
    return selectors.EVENT_READ


def _has_arrived(asker: socket.socket, attempt: Attempt, token: bytes) -> bool:
    if attempt.protocol is Protocol.TCP:
        number = asker.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        return True
    packet = asker.recv(_MAX_PACKET)
    if attempt.protocol is Protocol.UDP:
        return packet == token
    # A raw IPv4 socket shows the IP header, whose length is its fifth to
    # eighth bit in words of four bytes; an IPv6 one does not (RFC 3542, 3).
    start = (packet[0] & 0xF) * 4 if attempt.family is Family.V4 else 0
    message = packet[start:]
    kind = bytes([_ECHO_REPLY[attempt.family]])
    return message.startswith(kind) and message.endswith(token)


def _echo_request(family: Family, token: bytes) -> bytes:
    """Make an ICMP message; the kernel fills in the checksum of ICMPv6."""
    kind, identifier = _ECHO_REQUEST[family], int.from_bytes(token[:2], "big")
    message = _ECHO.pack(kind, 0, 0, identifier, 1) + token
    if family is Family.V6:
        return message
    return _ECHO.pack(kind, 0, _checksum(message), identifier, 1) + token


def _checksum(message: bytes) -> int:
    """Compute the Internet checksum of an even number of bytes (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
