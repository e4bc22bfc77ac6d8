"""Look into connection tracking, and take flows out of it.

A flow has two tuples: as its first packet came, and as replies come, turned
round. Where addresses were translated they differ, and the reply's source is
the real target. So a flow concerns a workload when its first packet came from
the workload's address or the replies do.

Deleting a flow does not forbid it: its next packet is new and judged again. If
that is a reply, it is judged in the wrong direction; so only flows that are no
longer allowed should be deleted.
"""

import errno
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice

from calico.linux.netfilter import (
    HEADER,
    REQUEST,
    DumpInterrupted,
    NetlinkSocket,
    attribute,
    attributes,
    be32,
    nest,
    read_be32,
    read_refusal,
)
from calico.linux.nft_codec import generic_header
from calico.model.errors import KernelRejected, Unavailable
from calico.netset import Address

_SUBSYSTEM = 1 << 8
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2

_TUPLE_ORIGINAL, _TUPLE_REPLY = 1, 2
_ID, _ZONE, _FILTER = 12, 18, 25
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_IP4_SOURCE, _IP4_DESTINATION, _IP6_SOURCE, _IP6_DESTINATION = 1, 2, 3, 4
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_ICMP_ID, _ICMP_TYPE, _ICMP_CODE = 4, 5, 6
_ICMP6_ID, _ICMP6_TYPE, _ICMP6_CODE = 7, 8, 9
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2
_BY_SOURCE = 1

_FAMILY_NUMBERS = {4: 2, 6: 10}
_DELETES_PER_SEND = 200
_RECEIVE_BYTES = 16 << 20
_N_TRIES = 4

_U32_HOST = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class FlowTuple:
    """One direction of a flow.

    Attributes:
        source: Where its packets come from.
        destination: Where they go.
        source_port: For protocols with ports, else 0.
        destination_port: Likewise.
        icmp_id: For ICMP and ICMPv6 echo and the like, else 0.
        icmp_type: Likewise.
        icmp_code: Likewise.
    """

    source: Address
    destination: Address
    source_port: int = 0
    destination_port: int = 0
    icmp_id: int = 0
    icmp_type: int = 0
    icmp_code: int = 0


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow that connection tracking knows.

    Attributes:
        family: 4 or 6.
        protocol: The number in the IP header.
        original: As its first packet came.
        reply: As answers come.
        flow_id: Tells it from a later flow with the same tuples.
        zone: The tracking zone.
    """

    family: int
    protocol: int
    original: FlowTuple
    reply: FlowTuple
    flow_id: int
    zone: int = 0

    def concerns(self, address: Address) -> bool:
        """Tell whether the address began it or, after translation, answers."""
        return address in {self.original.source, self.reply.source}


class Conntrack:
    """Connection tracking of this network namespace, through one socket."""

    def __init__(self) -> None:
        self._netlink = NetlinkSocket.open()
        self._netlink.widen(receive_bytes=_RECEIVE_BYTES)
        self._netlink.tolerate_lost_answers()
        self.limits = self._netlink.limits

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def read_flows(self) -> tuple[Flow, ...]:
        """Read all flows of both families.

        Raises:
            Unavailable: The kernel breaks off.
        """
        return self._read(generic_header(0))

    def read_flows_of(self, address: Address) -> tuple[Flow, ...]:
        """Read the flows that concern an address, each once.

        The kernel looks for them where it can (Linux 5.8 and later), and where
        it cannot it gives all and they are looked for here.
        """
        found: dict[int, Flow] = {}
        for side, flags in (
            (_TUPLE_ORIGINAL, _FILTER_ORIGINAL),
            (_TUPLE_REPLY, _FILTER_REPLY),
        ):
            for flow in self._read(_filtered(address, side, flags)):
                if flow.concerns(address):
                    found[flow.flow_id] = flow
        return tuple(found.values())

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

    def _read(self, body: bytes) -> tuple[Flow, ...]:
        head = len(generic_header(0))
        for _ in range(_N_TRIES):
            try:
                return tuple(
                    flow
                    for answer in self._netlink.dump(_GET, body)
                    if (flow := decode_flow(answer[0], answer[head:])) is not None
                )
            except DumpInterrupted:
                continue
        raise Unavailable("conntrack", "the list of flows keeps changing")

    def _delete(self, flows: Sequence[Flow]) -> int:
        """Delete in one send; return how many were not there."""
        self._netlink.discard_unread()
        parts: list[bytes] = []
        for flow in flows:
            sequence = self._netlink.next_sequence()
            body = encode_deletion(flow)
            size = HEADER.size + len(body)
            parts.append(HEADER.pack(size, _DELETE, REQUEST, sequence, 0) + body)
        self._netlink.send(b"".join(parts))
        n_missing = 0
        # Only refusals are answered.
        for message in self._netlink.answers():
            if (refusal := read_refusal(message)) is None:
                continue
            if refusal.errno != errno.ENOENT:
                raise KernelRejected("forgetting a flow", refusal.errno, refusal.text)
            n_missing += 1
        return n_missing


def _filtered(address: Address, side: int, flags: int) -> bytes:
    kind = _IP4_SOURCE if address.version == 4 else _IP6_SOURCE  # noqa: PLR2004 -- IPv4
    return b"".join(
        (
            generic_header(_FAMILY_NUMBERS[address.version]),
            nest(side, nest(_TUPLE_IP, attribute(kind, address.packed))),
            # The only number of conntrack's in the host's order.
            nest(_FILTER, attribute(flags, _U32_HOST.pack(_BY_SOURCE))),
        )
    )


def encode_deletion(flow: Flow) -> bytes:
    """Return the body of a message that deletes exactly this flow."""
    parts = [
        generic_header(_FAMILY_NUMBERS[flow.family]),
        nest(_TUPLE_ORIGINAL, _encode_tuple(flow)),
        be32(_ID, flow.flow_id),
    ]
    if flow.zone:
        parts.append(attribute(_ZONE, flow.zone.to_bytes(2, "big")))
    return b"".join(parts)


def _encode_tuple(flow: Flow) -> bytes:
    one = flow.original
    source, destination = (
        (_IP4_SOURCE, _IP4_DESTINATION)
        if flow.family == 4  # noqa: PLR2004 -- IPv4
        else (_IP6_SOURCE, _IP6_DESTINATION)
    )
    return nest(
        _TUPLE_IP,
        attribute(source, one.source.packed),
        attribute(destination, one.destination.packed),
    ) + nest(
        _TUPLE_PROTOCOL,
        attribute(_NUMBER, bytes((flow.protocol,))),
        *_encode_protocol(flow),
    )


def _encode_protocol(flow: Flow) -> Iterator[bytes]:
    one = flow.original
    match flow.protocol:
        case 1:
            yield attribute(_ICMP_ID, one.icmp_id.to_bytes(2, "big"))
            yield attribute(_ICMP_TYPE, bytes((one.icmp_type,)))
            yield attribute(_ICMP_CODE, bytes((one.icmp_code,)))
        case 58:
            yield attribute(_ICMP6_ID, one.icmp_id.to_bytes(2, "big"))
            yield attribute(_ICMP6_TYPE, bytes((one.icmp_type,)))
            yield attribute(_ICMP6_CODE, bytes((one.icmp_code,)))
        case _:
            # Protocols without ports ignore them.
            yield attribute(_SOURCE_PORT, one.source_port.to_bytes(2, "big"))
            yield attribute(_DESTINATION_PORT, one.destination_port.to_bytes(2, "big"))


def decode_flow(family_number: int, payload: bytes) -> Flow | None:
    """Read one flow; `None` for a family that is not IP.

    Args:
        family_number: The first byte of the message's body.
        payload: Its attributes.
    """
    if family_number not in _FAMILY_NUMBERS.values():
        return None
    found = dict(attributes(payload))
    protocol, original = _decode_tuple(found[_TUPLE_ORIGINAL])
    _, reply = _decode_tuple(found[_TUPLE_REPLY])
    return Flow(
        family=original.source.version,
        protocol=protocol,
        original=original,
        reply=reply,
        flow_id=read_be32(found.get(_ID, b"")),
        zone=int.from_bytes(found.get(_ZONE, b""), "big"),
    )


def _decode_tuple(payload: bytes) -> tuple[int, FlowTuple]:
    parts = dict(attributes(payload))
    ends = dict(attributes(parts[_TUPLE_IP]))
    protocol = dict(attributes(parts[_TUPLE_PROTOCOL]))

    def number(*kinds: int) -> int:
        for kind in kinds:
            if kind in protocol:
                return int.from_bytes(protocol[kind], "big")
        return 0

    source, destination = (
        (_IP4_SOURCE, _IP4_DESTINATION)
        if _IP4_SOURCE in ends
        else (_IP6_SOURCE, _IP6_DESTINATION)
    )
    return number(_NUMBER), FlowTuple(
        ip_address(ends[source]),
        ip_address(ends[destination]),
        source_port=number(_SOURCE_PORT),
        destination_port=number(_DESTINATION_PORT),
        icmp_id=number(_ICMP_ID, _ICMP6_ID),
        icmp_type=number(_ICMP_TYPE, _ICMP6_TYPE),
        icmp_code=number(_ICMP_CODE, _ICMP6_CODE),
    )
