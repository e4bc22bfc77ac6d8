"""Speak route netlink, through pyroute2, with types.

The library frames, encodes and decodes messages and knows what attributes are
called; nothing outside this module sees it. Its synchronous `IPRSocket` is
used and not its `IPRoute`, for three reasons. It runs no event loop. It is
bound to no thread, while an `IPRoute` made inside a namespace would quietly
open a second socket, in another namespace, when a second thread used it. And
many requests can be on their way at once. The price is that answers are put
together here, by their sequence number.

Of what the kernel says, numbers and names are decoded and all else is left as
the bytes that it was, unknown attributes included, so a route can be said
again exactly as it was heard; of a link only name, MAC, MTU and kind are kept.
Requests about links are written with the library's own, nested attributes; in
all others, too, addresses are bytes.

The library is imported when the first socket is opened: that takes 0.1 s, and
most commands open none.

Not here: what the messages mean (`veth`, `routes`, `host_links`), and
nf_tables (`netfilter`).
"""

import errno
import os
import socket
from collections.abc import Mapping, Sequence
from functools import cache
from types import TracebackType
from typing import Any, Protocol, Self, cast

from calico.linux.rtmessage import Attributes, Kind, Message, Value
from calico.model.errors import CalicoError, Unavailable

LINK_EVENTS = 1
"""The multicast group in which the kernel tells what happens to links."""

_REQUEST = 0x1
_ACK = 0x4
_DUMP = 0x300
_DUMP_INTERRUPTED = 0x10
_ERROR = 2
_DONE = 3
# Their answers, refusals with the request in them included, have room in a
# receive buffer of the usual size.
_MAX_TOGETHER = 100
_TRIES = 8
_MAX_ATTRIBUTES = 64
# What pyroute2 has no name for.
_NAMES = {("RTA_", 30): "RTA_NH_ID"}


class NetlinkRefused(CalicoError):  # noqa: N818 -- says what happened
    """The kernel refused a request.

    Attributes:
        errno: Its error number.
        reason: Its own words, or those for the number.
    """

    def __init__(self, errno: int, reason: str) -> None:
        super().__init__(errno, reason)
        self.errno = errno
        self.reason = reason

    def __str__(self) -> str:
        return f"the kernel refused a change of the network: {self.reason}"


class Netlink:
    """A route netlink socket of the namespace it is made in, in any one thread.

    Args:
        groups: The multicast groups to hear from.

    Raises:
        Unavailable: The kernel gives us none.
    """

    def __init__(self, groups: int = 0) -> None:
        try:
            self._socket = _open(groups)
        except OSError as error:
            raise _unavailable(error) from None
        self._sequence = 0
        known = self._socket.marshal.msg_map
        self._writers = {kind: _writer(kind, known[kind]) for kind in Kind}
        self._socket.register_policy({kind: _exact(known[kind]) for kind in Kind})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; closing twice is allowed."""
        self._socket.close()

    def request(self, message: Message) -> list[Message]:
        """Send one request and wait for the answer.

        Raises:
            NetlinkRefused: The kernel said no.
            Unavailable: The kernel did not answer.
        """
        answers, _ = self._collect(self._put(message, message.flags | _ACK))
        return answers

    def send(self, messages: Sequence[Message]) -> list[NetlinkRefused | None]:
        """Send requests in order; one that is refused does not stop the next.

        Returns:
            For each the refusal, or `None` when it was done.

        Raises:
            Unavailable: The kernel did not answer.
        """
        answers: list[NetlinkRefused | None] = []
        for start in range(0, len(messages), _MAX_TOGETHER):
            answers += self._send_together(messages[start : start + _MAX_TOGETHER])
        return answers

    def dump(self, message: Message) -> list[Message]:
        """List objects.

        Args:
            message: Its fixed part says which; 0 is any.

        Raises:
            NetlinkRefused: The kernel said no.
            Unavailable: The kernel did not answer, or the objects changed each
                time while they were being read.
        """
        for _ in range(_TRIES):
            answers, is_whole = self._collect(self._put(message, _DUMP))
            if is_whole:
                return answers
        raise Unavailable("routing netlink", "what is read changes all the time")

    def read_events(self) -> list[Message] | None:
        """Wait for the kernel to say something.

        Returns:
            `None` when it had to drop something: what is known has to be read
            again.

        Raises:
            OSError: The socket is closed.
        """
        try:
            received = self._socket.get()
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return None
            raise
        return [_read(each) for each in received if each["header"]["type"] in _KINDS]

    def _send_together(
        self, messages: Sequence[Message]
    ) -> list[NetlinkRefused | None]:
        answers: list[NetlinkRefused | None] = [None] * len(messages)
        waiting = {
            self._put(message, message.flags | _ACK): at
            for at, message in enumerate(messages)
        }
        while waiting:
            for answer in self._get():
                header = answer["header"]
                if header["type"] == _ERROR and header["sequence_number"] in waiting:
                    at = waiting.pop(header["sequence_number"])
                    answers[at] = _refusal(header["error"])
        return answers

    def _collect(self, sequence: int) -> tuple[list[Message], bool]:
        """Wait for the end of an answer; tells also whether it is consistent."""
        answers: list[Message] = []
        is_whole = True
        while True:
            for answer in self._get():
                header = answer["header"]
                if header["sequence_number"] != sequence:
                    continue
                is_whole = is_whole and not header["flags"] & _DUMP_INTERRUPTED
                if refusal := _refusal(header["error"]):
                    raise refusal
                if header["type"] in {_ERROR, _DONE}:
                    return answers, is_whole
                answers.append(_read(answer))

    def _put(self, message: Message, flags: int) -> int:
        self._sequence = (self._sequence + 1) & 0x7FFFFFFF
        written = self._writers[message.kind]()
        for name, value in message.fields.items():
            written[name] = value
        written["attrs"] = _written(message.attributes)
        try:
            self._socket.put(
                written, message.kind, _REQUEST | flags, msg_seq=self._sequence
            )
        except OSError as error:
            raise _unavailable(error) from None
        return self._sequence

    def _get(self) -> "list[_LibraryMessage]":
        try:
            return self._socket.get()
        except OSError as error:
            raise _unavailable(error) from None


_KINDS = frozenset(Kind)
_LINKS = frozenset({Kind.NEWLINK, Kind.DELLINK, Kind.GETLINK})
# A link says 3 KB about itself, most of it statistics.
_LINK_ATTRIBUTES = frozenset(
    {"IFLA_ADDRESS", "IFLA_IFNAME", "IFLA_MTU", "IFLA_LINKINFO"}
)


def _unavailable(error: OSError) -> Unavailable:
    return Unavailable("routing netlink", error.strerror or str(error))


def _refusal(error: Exception | None) -> NetlinkRefused | None:
    if error is None:
        return None
    # Whatever its class is: the number, then the kernel's words or, when it
    # said none, the C library's.
    number, words = error.args
    reason = os.strerror(number)
    if words and words != reason:
        reason = f"{words} ({reason})"
    return NetlinkRefused(number, reason)


def _read(message: "_LibraryMessage") -> Message:
    attributes: list[tuple[str, Value]] = []
    kind = Kind(message["header"]["type"])
    for slot in message["attrs"]:
        # Looking at the value is what decodes it.
        if kind in _LINKS and slot[0] not in _LINK_ATTRIBUTES:
            continue
        attributes.append((slot[0], slot[1]))
    fields = {
        name: message[name] for name, _ in message.fields if not name.startswith("_")
    }
    return Message(kind, fields, tuple(attributes))


def _written(attributes: Attributes) -> "list[list[object]]":
    """Write attributes as the library takes them, nested ones below `attrs`."""
    return [
        [name, {"attrs": _written(value)} if isinstance(value, tuple) else value]
        for name, value in attributes
    ]


def _writer(kind: Kind, known: "_MessageClass") -> "_MessageClass":
    return known if kind in _LINKS else _exact(known)


@cache
def _exact(known: "_MessageClass") -> "_MessageClass":
    """Make a class of messages that loses nothing on the way in and out."""
    kept = {"uint8", "uint16", "uint32", "asciiz"}
    names = [(name, kind if kind in kept else "cdata") for name, kind in known.nla_map]
    names += [
        (_NAMES.get((known.prefix, number), f"{known.prefix}{number}"), "cdata")
        for number in range(len(names), _MAX_ATTRIBUTES)
    ]
    # pyroute2 keeps the table of attributes in the class that is nearest, so
    # this one derives from their base and not from `known`.
    exact = type(
        f"Exact{known.__name__}",
        (_library().nlmsg,),
        {"prefix": known.prefix, "fields": known.fields, "nla_map": tuple(names)},
    )
    return cast("_MessageClass", exact)


# What of the library is used. It ships no types, and these are where `Any` ends.


class _LibraryMessage(Protocol):
    fields: Sequence[tuple[str, str]]

    # A dictionary of fields; `header` and `attrs` are among them.
    def __getitem__(self, key: str) -> Any: ...  # noqa: ANN401 -- see above

    def __setitem__(self, key: str, value: object) -> None: ...


class _MessageClass(Protocol):
    __name__: str
    prefix: str
    fields: Sequence[tuple[str, str]]
    nla_map: Sequence[tuple[str, str]]

    def __hash__(self) -> int: ...

    def __call__(self) -> _LibraryMessage: ...


class _Marshal(Protocol):
    msg_map: Mapping[int, _MessageClass]


class _LibrarySocket(Protocol):
    marshal: _Marshal
    socket: socket.socket

    def bind(self, groups: int) -> None: ...

    def close(self) -> None: ...

    def get(self) -> list[_LibraryMessage]: ...

    def put(
        self, msg: _LibraryMessage, msg_type: int, msg_flags: int, *, msg_seq: int
    ) -> object: ...

    def register_policy(self, policy: Mapping[int, _MessageClass]) -> object: ...


class _SocketClass(Protocol):
    def __call__(
        self, *, groups: int, ext_ack: bool, strict_check: bool
    ) -> _LibrarySocket: ...


class _Library(Protocol):
    IPRSocket: _SocketClass
    nlmsg: type


def _open(groups: int) -> _LibrarySocket:
    # Strict checking lets the kernel select what a listing shall give.
    opened = _library().IPRSocket(groups=groups, ext_ack=True, strict_check=True)
    try:
        # The library opens it when it is first looked at, which has to be in
        # this thread: others may be in another namespace.
        opened.socket.fileno()
        if groups:
            opened.bind(groups)
    except KeyError:  # the library's way to say that all its addresses are taken
        opened.close()
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from None
    return opened


def _library() -> _Library:
    import pyroute2.netlink.rtnl.iprsocket as library  # noqa: PLC0415 -- see above # pyright: ignore[reportMissingTypeStubs]

    return cast("_Library", library)
