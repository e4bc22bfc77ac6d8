"""Speak netlink with netfilter: attributes, messages and one socket.

An attribute is a 16-bit length, a 16-bit type and a payload padded to four
bytes. A message is a 16-byte header, a body that its protocol defines and
attributes. Numbers in headers are in the host's order; netfilter wants those
in attributes in network order, which is what `be32` and its like give.

The kernel works on a netfilter request inside `send`: when it returns, every
answer lies in the socket's queue, and the parts of a dump are made while
the earlier ones are taken out. So nothing here ever waits for an answer, and
what a previous owner of an inherited socket left unread is thrown away first.

Not here: what any message means, and routing (`rtnetlink`), which wants little
speed and leaves this to a library.
"""

import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from calico.linux.socket_filter import attach_filter
from calico.model.errors import Unavailable

NETLINK_NETFILTER = 12

REQUEST = 0x1
ACK = 0x4
DUMP = 0x300
CREATE = 0x400
APPEND = 0x800

_DUMP_INTERRUPTED = 0x10
_CAPPED = 0x100
_ACK_HAS_ATTRIBUTES = 0x200

_ERROR = 2
_DONE = 3

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NETLINK_NO_ENOBUFS = 5
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33

_ATTRIBUTE_MESSAGE = 1
_ATTRIBUTE_OFFSET = 2

_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_RECEIVE_BYTES = 1 << 17

HEADER = struct.Struct("=IHHII")
"""Length, type, flags, sequence number and port id of a message."""

_ATTRIBUTE = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")
_U32 = struct.Struct("=I")
_BE32 = struct.Struct(">I")
_BE64 = struct.Struct(">Q")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")

MAX_PAYLOAD_BYTES = 65_000
"""What fits into one attribute, with room for its neighbours: lengths are 16 bits."""


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded."""
    size = len(payload)
    return _ATTRIBUTE.pack(size + 4, kind) + payload + _PADDING[size & 3]


def nest(kind: int, *parts: bytes) -> bytes:
    """Return an attribute made of attributes.

    Raises:
        struct.error: They are longer than an attribute can be.
    """
    payload = b"".join(parts)
    return _ATTRIBUTE.pack(len(payload) + 4, kind | _NESTED) + payload


def string(kind: int, value: str) -> bytes:
    """Return a text attribute, ended by a NUL as the kernel wants it."""
    return attribute(kind, os.fsencode(value) + b"\0")


def be32(kind: int, value: int) -> bytes:
    """Return a 32-bit number in network order; negative ones are allowed."""
    return attribute(kind, _BE32.pack(value & 0xFFFFFFFF))


def be64(kind: int, value: int) -> bytes:
    """Return a 64-bit number in network order."""
    return attribute(kind, _BE64.pack(value))


def attributes(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Walk through the attributes in a payload: type without flags, payload."""
    at, end = 0, len(payload)
    while at + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(payload, at)
        if size < _ATTRIBUTE.size:
            return
        yield kind & _TYPE_MASK, payload[at + 4 : at + size]
        at += (size + 3) & ~3


def read_string(payload: bytes) -> str:
    """Read a text attribute; bytes that are no UTF-8 survive as surrogates."""
    return os.fsdecode(payload.partition(b"\0")[0])


def read_be32(payload: bytes) -> int:
    """Read a 32-bit number in network order."""
    return int.from_bytes(payload[:4], "big")


def read_be64(payload: bytes) -> int:
    """Read a 64-bit number in network order."""
    return int.from_bytes(payload[:8], "big")


class Message(NamedTuple):
    """One message as it came.

    Attributes:
        kind: Its type.
        flags: Its flags.
        sequence: Of the request that it answers or belongs to.
        port_id: The socket that asked, or that made the change in an event.
        body: Everything after the header.
    """

    kind: int
    flags: int
    sequence: int
    port_id: int
    body: bytes


class Refusal(NamedTuple):
    """The kernel's answer that a request failed.

    Attributes:
        sequence: Of the request.
        errno: The error number, positive.
        text: The kernel's words, or the C library's for the number.
        offset: Where in the request the offending attribute is, or 0.
    """

    sequence: int
    errno: int
    text: str
    offset: int


class DumpInterrupted(Exception):  # noqa: N818 -- an occurrence, not a fault
    """What was being read changed meanwhile: read again."""


def messages(datagram: bytes) -> Iterator[Message]:
    """Split what one receive gave into messages."""
    at, end = 0, len(datagram)
    while at + HEADER.size <= end:
        size, kind, flags, sequence, port_id = HEADER.unpack_from(datagram, at)
        if size < HEADER.size:
            return
        body = datagram[at + HEADER.size : at + size]
        yield Message(kind, flags, sequence, port_id, body)
        at += (size + 3) & ~3


def read_refusal(message: Message) -> Refusal | None:
    """Read an answer; `None` when it is no answer or says that all is well."""
    if message.kind not in {_ERROR, _DONE} or len(message.body) < _ERRNO.size:
        return None
    number = -_ERRNO.unpack_from(message.body)[0]
    if number <= 0:
        return None
    text, offset = os.strerror(number), 0
    if message.flags & _ACK_HAS_ATTRIBUTES:
        for kind, payload in attributes(_answer_attributes(message)):
            if kind == _ATTRIBUTE_MESSAGE:
                text = read_string(payload)
            elif kind == _ATTRIBUTE_OFFSET:
                offset = _U32.unpack(payload)[0]
    return Refusal(message.sequence, number, text, offset)


def _answer_attributes(message: Message) -> bytes:
    start = _ERRNO.size
    if message.kind == _ERROR:
        # The request follows: its header alone when the answer is capped.
        size = HEADER.size
        if not message.flags & _CAPPED:
            size = (_U32.unpack_from(message.body, start)[0] + 3) & ~3
        start += size
    return message.body[start:]


class NetlinkSocket:
    """One netlink socket, for one thread.

    Attributes:
        port_id: Its address, by which the kernel knows an owner or author.
        limits: What this process may not have, for people to read; empty when
            it got all it asked for.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)  # noqa: FBT003 -- the standard library's
        self._connection = connection
        self._sequence = 0
        self.port_id: int = connection.getsockname()[0]
        self.limits: tuple[str, ...] = ()
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            connection.setsockopt(_SOL_NETLINK, option, 1)

    @classmethod
    def open(cls, protocol: int = NETLINK_NETFILTER) -> "NetlinkSocket":
        """Open a socket with a port id of its own."""
        connection = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        connection.bind((0, 0))
        return cls(connection)

    @classmethod
    def from_fd(cls, fd: int) -> "NetlinkSocket":
        """Take over an open socket, whatever was left unread in it."""
        opened = cls(socket.socket(fileno=fd))
        opened.discard_unread()
        return opened

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close the socket; closing twice does no harm."""
        self._connection.close()

    def widen(self, *, send_bytes: int = 0, receive_bytes: int = 0) -> None:
        """Ask for bigger buffers; what is refused is noted in `limits`."""
        for name, forced, plain, wanted in (
            ("send", _SO_SNDBUFFORCE, socket.SO_SNDBUF, send_bytes),
            ("receive", _SO_RCVBUFFORCE, socket.SO_RCVBUF, receive_bytes),
        ):
            if wanted:
                self._widen_one(name, (forced, plain), wanted)

    def _widen_one(self, name: str, options: tuple[int, int], wanted: int) -> None:
        forced, plain = options
        try:
            self._connection.setsockopt(socket.SOL_SOCKET, forced, wanted)
        except PermissionError:
            self._connection.setsockopt(socket.SOL_SOCKET, plain, wanted)
            # The kernel doubles what is asked for and reports the double.
            got = self._connection.getsockopt(socket.SOL_SOCKET, plain) // 2
            if got < wanted:
                self.limits += (
                    f"{name} buffer of a netlink socket: {got} bytes instead of "
                    f"{wanted} (net.core.{'w' if name == 'send' else 'r'}mem_max)",
                )

    @property
    def max_send_bytes(self) -> int:
        """What one send can take."""
        # netlink_sendmsg() keeps 32 bytes for itself.
        return self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - 32

    def tolerate_lost_answers(self) -> None:
        """Drop answers that find no room, instead of failing a later receive."""
        self._connection.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)

    def subscribe(self, group: int) -> None:
        """Have the kernel send what it tells a group."""
        self._connection.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def attach_filter(self, program: bytes) -> None:
        """Have the kernel drop what a program says, before it is queued.

        Args:
            program: Instructions of classic BPF, eight bytes each.
        """
        attach_filter(self._connection, program)

    def next_sequence(self) -> int:
        """Return a number that no request of this socket has had lately."""
        self._sequence = (self._sequence + 1) & 0x7FFFFFFF
        return self._sequence

    def skip_sequences(self, last: int) -> None:
        """Go on after `last`, which the caller has used up to."""
        self._sequence = last & 0x7FFFFFFF

    def send(self, data: bytes) -> None:
        """Send one or many messages in one piece."""
        self._connection.send(data)

    def receive(self) -> bytes | None:
        """Take one datagram out of the queue; `None` when it is empty."""
        try:
            return self._connection.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return None

    def discard_unread(self) -> None:
        """Throw away everything in the queue, dumps still running included."""
        while self.receive() is not None:
            pass

    def answers(self) -> Iterator[Message]:
        """Give every message in the queue."""
        while (datagram := self.receive()) is not None:
            yield from messages(datagram)

    def ask(self, kind: int, body: bytes) -> Message | Refusal:
        """Ask for one object and return the answer.

        Raises:
            Unavailable: There is none.
        """
        self.discard_unread()
        sequence = self.next_sequence()
        self.send(_request(kind, 0, sequence, body))
        for message in self.answers():
            if message.sequence == sequence:
                return read_refusal(message) or message
        raise Unavailable("netlink", "the kernel did not answer a question")

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """Read all objects of a kind; gives the body of each message.

        Raises:
            DumpInterrupted: The objects changed while they were read.
            OSError: The kernel refused.
        """
        self.discard_unread()
        sequence = self.next_sequence()
        self.send(_request(kind, DUMP, sequence, body))
        for message in self.answers():
            if message.sequence != sequence:
                continue
            if refusal := read_refusal(message):
                raise OSError(refusal.errno, refusal.text)
            if message.flags & _DUMP_INTERRUPTED:
                raise DumpInterrupted
            if message.kind == _DONE:
                return
            yield message.body
        raise Unavailable("netlink", "a listing broke off without its end")


def _request(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    size = HEADER.size + len(body)
    return HEADER.pack(size, kind, REQUEST | flags, sequence, 0) + body
