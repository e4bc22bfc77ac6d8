"""Hear from the kernel which rules a traced packet meets.

A packet whose `nftrace` bit is set tells of every rule that it matches, of
every chain that it leaves by its end and of every base chain's policy, in all
tables. Nobody hears of it but the subscribers of one multicast group, and the
events are queued while the packet is under way: what has happened to a packet
that came out is already there to be read.

Not here: how the bit gets set (`nft_tracer`), and what the events of one
packet mean together (`nft_path`).

Source:
    linux/netfilter/nf_tables.h, enum nft_trace_attributes; the kernel's
    net/netfilter/nf_tables_trace.c.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from calico.linux.netfilter import (
    NetlinkSocket,
    attributes,
    messages,
    read_be32,
    read_be64,
    read_string,
)
from calico.linux.nft_codec import generic_header
from calico.linux.nft_forms import read_verdict
from calico.linux.nft_wire import (
    FAMILY_INET,
    GROUP_TRACE,
    SUBSYSTEM,
    VERDICT_ACCEPT,
    VERDICT_CONTINUE,
    VERDICT_DROP,
    VERDICT_GOTO,
    VERDICT_JUMP,
    VERDICT_QUEUE,
    VERDICT_RETURN,
    VERDICT_STOLEN,
    Msg,
    TraceAttr,
)

_RECEIVE_BYTES = 8 << 20
_HEAD = len(generic_header(FAMILY_INET))
# The upper half of a verdict of netfilter's own carries an error or a queue.
_CODE_MASK = 0xFF


class TraceKind(Enum):
    """What an event tells of; the value is the kernel's number."""

    POLICY = 1
    RETURN = 2
    RULE = 3


_KINDS = {kind.value: kind for kind in TraceKind}


class TraceVerdict(Enum):
    """What became of the packet there; the value is nft's word."""

    ACCEPT = "accept"
    DROP = "drop"
    STOLEN = "stolen"
    QUEUE = "queue"
    CONTINUE = "continue"
    JUMP = "jump"
    GOTO = "goto"
    RETURN = "return"

    @property
    def is_final(self) -> bool:
        """Whether the packet leaves the base chain with it."""
        return self in _FINAL


_FINAL = frozenset(
    {
        TraceVerdict.ACCEPT,
        TraceVerdict.DROP,
        TraceVerdict.STOLEN,
        TraceVerdict.QUEUE,
    }
)
_VERDICTS = {
    VERDICT_ACCEPT: TraceVerdict.ACCEPT,
    VERDICT_DROP: TraceVerdict.DROP,
    VERDICT_STOLEN: TraceVerdict.STOLEN,
    VERDICT_QUEUE: TraceVerdict.QUEUE,
    VERDICT_CONTINUE: TraceVerdict.CONTINUE,
    VERDICT_JUMP: TraceVerdict.JUMP,
    VERDICT_GOTO: TraceVerdict.GOTO,
    VERDICT_RETURN: TraceVerdict.RETURN,
}


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One thing that happened to one packet.

    Attributes:
        packet: Tells packets apart that are under way at one time; a number
            is used again later.
        family: Of the table, the kernel's number.
        table: Whose rule it was.
        chain: Where in the table; for a policy the base chain.
        kind: What is told of.
        handle: The rule's, for rules and returns by a rule; else 0.
        verdict: What became of the packet; a policy's too.
        target: The chain that a jump or goto leads to.
        in_index: The interface it came by; 0 when there is none (yet).
        out_index: The interface it leaves by; likewise.
        network_header: Told once per base chain, by its first event.
        transport_header: Likewise.
    """

    packet: int
    family: int
    table: str
    chain: str
    kind: TraceKind
    handle: int
    verdict: TraceVerdict
    target: str | None = None
    in_index: int = 0
    out_index: int = 0
    network_header: bytes = b""
    transport_header: bytes = b""


def decode_event(body: bytes) -> TraceEvent | None:
    """Read one event; `None` when it has a kind or verdict that nobody knows.

    Args:
        body: The message's, without its header.
    """
    found = dict(attributes(body[_HEAD:]))
    kind = _KINDS.get(read_be32(found.get(TraceAttr.TYPE, b"")))
    if kind is None:
        return None
    code, target = _read_outcome(kind, found)
    verdict = _VERDICTS.get(code & _CODE_MASK if code >= 0 else code)
    if verdict is None:
        return None
    return TraceEvent(
        packet=read_be32(found.get(TraceAttr.ID, b"")),
        family=body[0],
        table=read_string(found.get(TraceAttr.TABLE, b"")),
        chain=read_string(found.get(TraceAttr.CHAIN, b"")),
        kind=kind,
        handle=read_be64(found.get(TraceAttr.HANDLE, b"")),
        verdict=verdict,
        target=target,
        in_index=read_be32(found.get(TraceAttr.IN_INDEX, b"")),
        out_index=read_be32(found.get(TraceAttr.OUT_INDEX, b"")),
        network_header=found.get(TraceAttr.NETWORK_HEADER, b""),
        transport_header=found.get(TraceAttr.TRANSPORT_HEADER, b""),
    )


def _read_outcome(kind: TraceKind, found: dict[int, bytes]) -> tuple[int, str | None]:
    if kind is TraceKind.POLICY:
        return read_be32(found.get(TraceAttr.POLICY, b"")), None
    return read_verdict(found.get(TraceAttr.VERDICT, b""))


class NftTraces:
    """A subscription to the traced packets of this network namespace.

    Attributes:
        n_lost: How often events came faster than they were read.
    """

    def __init__(self) -> None:
        self._netlink = NetlinkSocket.open()
        self.n_lost = 0
        try:
            self._netlink.widen(receive_bytes=_RECEIVE_BYTES)
            self._netlink.subscribe(GROUP_TRACE)
        except OSError:
            self._netlink.close()
            raise

    def fileno(self) -> int:
        """Return the file descriptor, readable when there are events."""
        return self._netlink.fileno()

    def close(self) -> None:
        """End the subscription."""
        self._netlink.close()

    def read(self) -> Iterator[TraceEvent]:
        """Give the events that have come, oldest first, without waiting."""
        while True:
            try:
                datagram = self._netlink.receive()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.n_lost += 1
                continue
            if datagram is None:
                return
            for message in messages(datagram):
                if message.kind != SUBSYSTEM | Msg.TRACE:
                    continue
                if (event := decode_event(message.body)) is not None:
                    yield event
