"""Look into connection tracking, and take flows out of it.

A flow has two tuples: as its first packet came, and as replies come, turned
round. Where addresses were translated they differ, and the reply's source is
the real target. So a flow concerns a workload when its first packet came from
the workload's address or the replies do.

Deleting a flow does not forbid it: its next packet is new and judged again. If
that is a reply, it is judged in the wrong direction; so only flows that are no
longer allowed should be deleted.

A listing is read piece by piece, and other work may be done between two
pieces: the kernel makes the next piece when the last one is taken. Deletions
go through a socket of their own, so that a listing goes on after them.
"""

import errno
import struct
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from calico.linux.conntrack_wire import (
    FAMILY_NUMBERS,
    IP4_SOURCE,
    IP6_SOURCE,
    TUPLE_IP,
    TUPLE_ORIGINAL,
    TUPLE_REPLY,
    Flow,
    decode_flow,
    encode_deletion,
)
from calico.linux.netfilter import (
    HEADER,
    REQUEST,
    DumpInterrupted,
    NetlinkSocket,
    attribute,
    nest,
    read_refusal,
)
from calico.linux.nft_codec import generic_header
from calico.linux.sysctl import read_sysctl
from calico.model.errors import KernelRejected, Unavailable
from calico.netset import Address

_SUBSYSTEM = 1 << 8
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2

_FILTER = 25
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2
_BY_SOURCE = 1

_DELETES_PER_SEND = 200
_RECEIVE_BYTES = 16 << 20
_N_TRIES = 4
_N_READ_PER_PIECE = 2000
_MAX_ASKED_ONE_BY_ONE = 4

# To walk through an empty table of usual size takes the kernel 8 ms, and to
# hand out and look at a flow takes 4 µs.
_N_FLOWS_PER_ADDRESS = 5000
_COUNT = "net/netfilter/nf_conntrack_count"

_U32_HOST = struct.Struct("=I")


class Conntrack:
    """Connection tracking of this network namespace, for one thread.

    Args:
        listing: Reads flows; a socket of its own if not given.
    """

    def __init__(self, listing: NetlinkSocket | None = None) -> None:
        self._listing = listing or NetlinkSocket.open()
        self._deleting = NetlinkSocket.open()
        for each in (self._listing, self._deleting):
            each.widen(receive_bytes=_RECEIVE_BYTES)
        self._deleting.tolerate_lost_answers()
        self.limits = tuple(dict.fromkeys(self._listing.limits + self._deleting.limits))

    def close(self) -> None:
        """Close the sockets."""
        self._listing.close()
        self._deleting.close()

    def read_flows(self) -> tuple[Flow, ...]:
        """Read all flows of both families.

        Raises:
            Unavailable: The kernel breaks off.
        """
        return tuple(chain.from_iterable(self._read(generic_header(0), None)))

    def read_flows_of(self, address: Address) -> tuple[Flow, ...]:
        """Read the flows that concern an address, each once.

        Raises:
            Unavailable: The kernel breaks off.
        """
        pieces = self._read_one_by_one(frozenset({address}))
        found = {flow.flow_id: flow for flow in chain.from_iterable(pieces)}
        return tuple(found.values())

    def walk(self, addresses: frozenset[Address]) -> Iterator[tuple[Flow, ...]]:
        """Read the flows that concern any of some addresses, piece by piece.

        The kernel looks for those of an address where it can (Linux 5.8 and
        later), without handing out the others, but walks its whole table for
        it, twice an address; so in a small table, and with more than a few
        addresses, everything is read once instead.
        A flow may come twice, and one that begins meanwhile may not come. A
        walk that is begun anew ends the one before.

        Args:
            addresses: Of those who began a flow, or answer.

        Yields:
            What one piece of the listing holds, perhaps nothing.

        Raises:
            Unavailable: The kernel breaks off.
        """
        n_flows = read_sysctl(_COUNT) or "0"
        is_large = int(n_flows) > _N_FLOWS_PER_ADDRESS * len(addresses)
        if is_large and len(addresses) <= _MAX_ASKED_ONE_BY_ONE:
            return self._read_one_by_one(addresses)
        of = frozenset(address.packed for address in addresses)
        return self._read(generic_header(0), of)

    def delete(self, flows: Sequence[Flow]) -> int:
        """Take flows out; one that has ended or been replaced is left alone.

        Returns:
            How many were still there.

        Raises:
            KernelRejected: We may not.
        """
        remaining = iter(flows)
        n_deleted = 0
        while chunk := list(islice(remaining, _DELETES_PER_SEND)):
            n_deleted += len(chunk) - self._delete(chunk)
        return n_deleted

    def _read_one_by_one(
        self, addresses: frozenset[Address]
    ) -> Iterator[tuple[Flow, ...]]:
        for address in addresses:
            of = frozenset({address.packed})
            for side, flags in (
                (TUPLE_ORIGINAL, _FILTER_ORIGINAL),
                (TUPLE_REPLY, _FILTER_REPLY),
            ):
                yield from self._read(_filtered(address, side, flags), of)

    def _read(
        self, body: bytes, of: frozenset[bytes] | None
    ) -> Iterator[tuple[Flow, ...]]:
        """Read a listing, from its beginning again when it breaks off."""
        reason = ""
        for _ in range(_N_TRIES):
            try:
                yield from self._read_once(body, of)
            except DumpInterrupted:
                reason = "the list of flows keeps changing"
            except OSError as error:
                # An answer was lost (ENOBUFS), or there is no memory for one.
                reason = error.strerror or str(error)
            else:
                return
        raise Unavailable("conntrack", reason)

    def _read_once(
        self, body: bytes, of: frozenset[bytes] | None
    ) -> Iterator[tuple[Flow, ...]]:
        head = len(generic_header(0))
        answers = self._listing.dump(_GET, body)
        while piece := list(islice(answers, _N_READ_PER_PIECE)):
            decoded = (decode_flow(each[0], each[head:], of) for each in piece)
            yield tuple(flow for flow in decoded if flow is not None)

    def _delete(self, flows: Sequence[Flow]) -> int:
        """Delete in one send; return how many were not there."""
        self._deleting.discard_unread()
        parts: list[bytes] = []
        for flow in flows:
            sequence = self._deleting.next_sequence()
            body = encode_deletion(flow)
            size = HEADER.size + len(body)
            parts.append(HEADER.pack(size, _DELETE, REQUEST, sequence, 0) + body)
        self._deleting.send(b"".join(parts))
        n_missing = 0
        # Only refusals are answered.
        for message in self._deleting.answers():
            if (refusal := read_refusal(message)) is None:
                continue
            if refusal.errno != errno.ENOENT:
                raise KernelRejected("forgetting a flow", refusal.errno, refusal.text)
            n_missing += 1
        return n_missing


def _filtered(address: Address, side: int, flags: int) -> bytes:
    kind = IP4_SOURCE if address.version == 4 else IP6_SOURCE  # noqa: PLR2004 -- IPv4
    return b"".join(
        (
            generic_header(FAMILY_NUMBERS[address.version]),
            nest(side, nest(TUPLE_IP, attribute(kind, address.packed))),
            # The only number of conntrack's in the host's order.
            nest(_FILTER, attribute(flags, _U32_HOST.pack(_BY_SOURCE))),
        )
    )
