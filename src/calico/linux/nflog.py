"""Hear of the packets that rules tell the kernel's packet log about.

One socket listens to one group; a group has one listener in each network
namespace, and a rule that logs to a group without one costs next to nothing.
The kernel gathers packets into datagrams, by number and by time, and numbers
them: a gap in the numbers is what found no room in the socket's buffer.
"""

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntEnum

from calico.linux.netfilter import (
    ACK,
    HEADER,
    REQUEST,
    NetlinkSocket,
    attribute,
    attributes,
    be32,
    messages,
    read_be32,
    read_refusal,
)
from calico.linux.packet_headers import PacketHeaders, decode_headers
from calico.model.errors import Unavailable
from calico.render.objects import HookPoint

COPY_BYTES = 128
"""How much of each packet is told: the headers, with room for options."""

_SUBSYSTEM = 4 << 8
_PACKET, _CONFIG = _SUBSYSTEM | 0, _SUBSYSTEM | 1
_BODY = struct.Struct("=BBH")
_RECEIVE_BYTES = 4 << 20

_CFG_COMMAND, _CFG_MODE, _CFG_TIMEOUT, _CFG_THRESHOLD, _CFG_FLAGS = 1, 2, 4, 5, 6
_COMMAND_BIND = b"\x01"
_COPY_PACKET = 2
_MODE = struct.Struct(">IBx")
_FLAG_SEQUENCE = b"\x00\x01"
# Packets to a datagram, and hundredths of a second that it waits for them.
_N_TOGETHER = 32
_WITHIN_CS = 10

_HOOK_AT = 2
_MAC_LENGTH = struct.Struct(">Hxx")
_MAX_MAC_BYTES = 8
_SEQUENCES = 1 << 32
# A jump further back than any loss is the kernel's own new beginning.
_MAX_GAP = 1 << 31


class _Attr(IntEnum):
    """Attributes of a logged packet, from linux/netfilter/nfnetlink_log.h."""

    HEADER = 1
    IN_INDEX = 4
    OUT_INDEX = 5
    SENDER_MAC = 8
    PAYLOAD = 9
    PREFIX = 10
    SEQUENCE = 12


@dataclass(frozen=True, slots=True)
class LoggedPacket:
    """A packet that a rule told the log about.

    Attributes:
        prefix: What the rule calls itself; text that is no UTF-8 is escaped.
        hook: Where the rule stands, if the kernel says so.
        in_interface: Where it came from; empty for none, or one that is gone.
        out_interface: Where it was to go; likewise.
        sender_mac: What the sender wrote into the frame, if there is one.
        headers: What can be read of the packet.
        number: The kernel's; they ascend by one.
        n_lost: How many were logged just before it, and not heard of.
    """

    prefix: str
    hook: HookPoint | None
    in_interface: str
    out_interface: str
    sender_mac: bytes
    headers: PacketHeaders
    number: int | None = None
    n_lost: int = 0


class Nflog:
    """One group of the packet log, in this network namespace.

    Args:
        group: Its number.

    Attributes:
        limits: What this process may not have, for people to read.

    Raises:
        Unavailable: Another program listens to it, or the kernel refuses us.
    """

    def __init__(self, group: int) -> None:
        self._group = group
        self._netlink = NetlinkSocket.open()
        self._netlink.widen(receive_bytes=_RECEIVE_BYTES)
        self.limits = self._netlink.limits
        self._next: int | None = None
        self._configure(attribute(_CFG_COMMAND, _COMMAND_BIND))
        self._configure(
            attribute(_CFG_MODE, _MODE.pack(COPY_BYTES, _COPY_PACKET)),
            be32(_CFG_TIMEOUT, _WITHIN_CS),
            be32(_CFG_THRESHOLD, _N_TOGETHER),
            attribute(_CFG_FLAGS, _FLAG_SEQUENCE),
        )

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._netlink.fileno()

    def close(self) -> None:
        """Stop listening; closing twice does no harm."""
        self._netlink.close()

    def read(self, timeout_s: float, max_packets: int) -> tuple[LoggedPacket, ...]:
        """Wait for packets.

        Args:
            timeout_s: How long to wait for the first.
            max_packets: How many to look at; the rest of what waits counts as
                lost and costs little.

        Returns:
            What came, oldest first; empty when the time is over.
        """
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            return ()
        found: list[LoggedPacket] = []
        for body in self._bodies():
            if len(found) < max_packets:
                packet = decode_packet(body)
                n_lost = self._count_lost(packet.number)
                found.append(replace(packet, n_lost=n_lost))
        return tuple(found)

    def _bodies(self) -> Iterator[bytes]:
        """Take out what waits now, and no more than the buffer held by then."""
        taken = 0
        while taken < 2 * _RECEIVE_BYTES:
            try:
                datagram = self._netlink.receive()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                # How many, the next packet's number says.
                continue
            if datagram is None:
                return
            taken += len(datagram)
            for message in messages(datagram):
                if message.kind == _PACKET:
                    yield message.body[_BODY.size :]

    def _count_lost(self, number: int | None) -> int:
        if number is None:
            return 0
        expected = self._next
        self._next = (number + 1) % _SEQUENCES
        gap = 0 if expected is None else (number - expected) % _SEQUENCES
        return gap if gap < _MAX_GAP else 0

    def _configure(self, *parts: bytes) -> None:
        sequence = self._netlink.next_sequence()
        body = _BODY.pack(0, 0, socket.htons(self._group)) + b"".join(parts)
        size = HEADER.size + len(body)
        flags = REQUEST | ACK
        self._netlink.send(HEADER.pack(size, _CONFIG, flags, sequence, 0) + body)
        for message in self._netlink.answers():
            refusal = read_refusal(message)
            if refusal is not None:
                self.close()
                raise Unavailable(
                    f"group {self._group} of the kernel's packet log",
                    _reason(refusal.errno),
                )


def decode_packet(body: bytes) -> LoggedPacket:
    """Read the attributes of a logged packet; what makes no sense is left out."""
    found = dict(attributes(body))
    number = found.get(_Attr.SEQUENCE)
    return LoggedPacket(
        prefix=_text(found.get(_Attr.PREFIX, b"")),
        hook=_hook(found.get(_Attr.HEADER, b"")),
        in_interface=_interface(found.get(_Attr.IN_INDEX)),
        out_interface=_interface(found.get(_Attr.OUT_INDEX)),
        sender_mac=_mac(found.get(_Attr.SENDER_MAC, b"")),
        headers=decode_headers(found.get(_Attr.PAYLOAD, b"")),
        number=None if number is None else read_be32(number),
    )


def _reason(number: int) -> str:
    if number in {errno.EBUSY, errno.EPERM}:
        # The kernel does not tell one from the other.
        return "another program listens to it, or we may not"
    if number in {errno.EINVAL, errno.EOPNOTSUPP}:
        return "this kernel has no nfnetlink_log"
    return os.strerror(number)


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _hook(head: bytes) -> HookPoint | None:
    number = head[_HOOK_AT] if len(head) > _HOOK_AT else None
    return next((hook for hook in HookPoint if hook.value == number), None)


def _interface(raw: bytes | None) -> str:
    if raw is not None:
        with suppress(OSError, OverflowError):
            return socket.if_indextoname(read_be32(raw))
    return ""


def _mac(raw: bytes) -> bytes:
    if len(raw) < _MAC_LENGTH.size:
        return b""
    length = min(_MAC_LENGTH.unpack_from(raw)[0], _MAX_MAC_BYTES)
    return raw[_MAC_LENGTH.size : _MAC_LENGTH.size + length]
