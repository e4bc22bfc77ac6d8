"""See who changes nf_tables, commit by commit.

The kernel tells every subscriber about each object of a commit and at the end
says which generation it made and who did it. A subscriber that does not read
makes everybody's commits slow, so this belongs into a thread of its own, and
our own commits, which may hold a hundred thousand elements, are kept away by a
filter in the kernel.
"""

import errno
import os
import select
import sys
from dataclasses import dataclass

from calico.linux.netfilter import (
    Message,
    NetlinkSocket,
    attributes,
    messages,
    read_be32,
    read_string,
)
from calico.linux.nft_codec import generic_header
from calico.linux.nft_wire import (
    FAMILY_INET,
    GROUP_NFTABLES,
    SUBSYSTEM,
    Generation,
    Msg,
)
from calico.linux.socket_filter import Op, encode_program

_RECEIVE_BYTES = 64 << 20
_PORT_ID_OFFSET = 12
_BODY = len(generic_header(FAMILY_INET))


@dataclass(frozen=True, slots=True)
class Committed:
    """Somebody has committed.

    Attributes:
        generation: The ruleset's generation since then.
        port_id: The socket that did it.
        process_id: The process, in our PID namespace; 0 when outside.
        process_name: Its name, as the kernel shortens it.
        is_ours: Whether our table was touched, that is, anything in it.
    """

    generation: int
    port_id: int
    process_id: int
    process_name: str
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """Commits came faster than they were read: anything may have changed."""


class NftEvents:
    """A subscription to the commits of everybody in this network namespace.

    Args:
        table: The name of our table.
        without: The port id of a socket whose commits are not to be told.

    Attributes:
        limits: What this process may not have, for people to read.
    """

    def __init__(self, table: str = "calico", *, without: int = 0) -> None:
        self._netlink = NetlinkSocket.open()
        self._netlink.widen(receive_bytes=_RECEIVE_BYTES)
        self.limits = self._netlink.limits
        if without:
            self._netlink.attach_filter(_drop_from(without))
        self._netlink.subscribe(GROUP_NFTABLES)
        self._table = os.fsencode(table) + b"\0"
        self._is_ours = False

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._netlink.fileno()

    def close(self) -> None:
        """End the subscription."""
        self._netlink.close()

    def read(self, timeout_s: float) -> tuple[Committed | Lost, ...]:
        """Wait for commits.

        Args:
            timeout_s: How long to wait for the first.

        Returns:
            All that have come since the last call, oldest first; empty when
            the time is over.
        """
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            return ()
        found: list[Committed | Lost] = []
        while True:
            try:
                datagram = self._netlink.receive()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._is_ours = False
                found.append(Lost())
                continue
            if datagram is None:
                return tuple(found)
            found.extend(self._read_commits(datagram))

    def _read_commits(self, datagram: bytes) -> list[Committed]:
        found: list[Committed] = []
        for message in messages(datagram):
            if message.kind == SUBSYSTEM | Msg.NEWGEN:
                found.append(self._read_end(message))
                self._is_ours = False
            elif not self._is_ours:
                self._is_ours = self._is_about_us(message)
        return found

    def _is_about_us(self, message: Message) -> bool:
        if message.body[:1] != bytes((FAMILY_INET,)):
            return False
        # The first attribute of every object names its table.
        return any(
            payload == self._table
            for kind, payload in attributes(message.body[_BODY:])
            if kind == 1
        )

    def _read_end(self, message: Message) -> Committed:
        found = dict(attributes(message.body[_BODY:]))
        return Committed(
            generation=read_be32(found.get(Generation.ID, b"")),
            port_id=message.port_id,
            process_id=read_be32(found.get(Generation.PROCESS_ID, b"")),
            process_name=read_string(found.get(Generation.PROCESS_NAME, b"")),
            is_ours=self._is_ours,
        )


def _drop_from(port_id: int) -> bytes:
    """Return a program for the kernel that drops one author's messages."""
    # The program reads words in network order, the port id is in the host's.
    wanted = int.from_bytes(port_id.to_bytes(4, sys.byteorder), "big")
    return encode_program(
        (Op.LOAD_WORD, 0, 0, _PORT_ID_OFFSET),
        (Op.JUMP_IF_EQUAL, 0, 1, wanted),
        (Op.GIVE_BACK, 0, 0, 0),
        (Op.GIVE_BACK, 0, 0, 0xFFFFFFFF),
    )
