"""Flows of connection tracking as values, and as the bytes of netlink.

A flow has two tuples: as its first packet came, and as replies come, turned
round. A listing of a hundred thousand flows is read attribute by attribute in
two seconds, so the layout that the kernel gives TCP and UDP, and all else with
ports, is read in one piece. Its headers are compared with what they have to
be, and whatever differs is read attribute by attribute.

Not here: sockets (`conntrack`).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from calico.linux.netfilter import attribute, attributes, be32, nest, read_be32
from calico.linux.nft_codec import generic_header
from calico.netset import Address

TUPLE_ORIGINAL, TUPLE_REPLY = 1, 2
TUPLE_IP = 1
IP4_SOURCE, IP6_SOURCE = 1, 3
FAMILY_NUMBERS = {4: 2, 6: 10}

_ID, _ZONE = 12, 18
_TUPLE_PROTOCOL = 2
_IP4_DESTINATION, _IP6_DESTINATION = 2, 4
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_ICMP_ID, _ICMP_TYPE, _ICMP_CODE = 4, 5, 6
_ICMP6_ID, _ICMP6_TYPE, _ICMP6_CODE = 7, 8, 9

_NESTED = 0x8000
_N_ADDRESSES_KEPT = 1 << 16
_ATTRIBUTE = struct.Struct("=HH")

_Layout = tuple[struct.Struct, tuple[int, ...]]


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


def _header(size: int, kind: int) -> int:
    """Return an attribute's header as the number that big-endian reading gives."""
    return int.from_bytes(struct.pack("=HH", size, kind), "big")


def _layout(n_octets: int, source: int, destination: int) -> _Layout:
    """Return both tuples of a flow with ports as one structure, and its headers."""
    one = f"II I{n_octets}s I{n_octets}s I IBxxx IHxx IHxx"
    structure = struct.Struct(f">{one}{one}")
    headers = (
        _header(4 + 2 * (4 + n_octets), TUPLE_IP | _NESTED),
        _header(4 + n_octets, source),
        _header(4 + n_octets, destination),
        _header(4 + 3 * 8, _TUPLE_PROTOCOL | _NESTED),
        _header(5, _NUMBER),
        _header(6, _SOURCE_PORT),
        _header(6, _DESTINATION_PORT),
    )
    size = structure.size // 2
    first = _header(size, TUPLE_ORIGINAL | _NESTED)
    second = _header(size, TUPLE_REPLY | _NESTED)
    return structure, (first, *headers, second, *headers)


_LAYOUTS = {
    FAMILY_NUMBERS[4]: _layout(4, IP4_SOURCE, _IP4_DESTINATION),
    FAMILY_NUMBERS[6]: _layout(16, IP6_SOURCE, _IP6_DESTINATION),
}
_address = lru_cache(maxsize=_N_ADDRESSES_KEPT)(ip_address)


def encode_deletion(flow: Flow) -> bytes:
    """Return the body of a message that deletes exactly this flow."""
    parts = [
        generic_header(FAMILY_NUMBERS[flow.family]),
        nest(TUPLE_ORIGINAL, encode_tuple(flow.original, flow.protocol)),
        be32(_ID, flow.flow_id),
    ]
    if flow.zone:
        parts.append(attribute(_ZONE, flow.zone.to_bytes(2, "big")))
    return b"".join(parts)


def encode_tuple(one: FlowTuple, protocol: int) -> bytes:
    """Return what a tuple's attribute holds."""
    source, destination = (
        (IP4_SOURCE, _IP4_DESTINATION)
        if one.source.version == 4  # noqa: PLR2004 -- IPv4
        else (IP6_SOURCE, _IP6_DESTINATION)
    )
    return nest(
        TUPLE_IP,
        attribute(source, one.source.packed),
        attribute(destination, one.destination.packed),
    ) + nest(
        _TUPLE_PROTOCOL,
        attribute(_NUMBER, bytes((protocol,))),
        *_encode_protocol(one, protocol),
    )


def _encode_protocol(one: FlowTuple, protocol: int) -> Iterator[bytes]:
    match protocol:
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


def decode_flow(
    family_number: int, payload: bytes, of: frozenset[bytes] | None = None
) -> Flow | None:
    """Read one flow.

    Args:
        family_number: The first byte of the message's body.
        payload: Its attributes.
        of: Read it only if it concerns one of these packed addresses;
            whatever it concerns when absent.

    Returns:
        The flow; `None` for a family that is not IP, and when it is not asked for.
    """
    if family_number not in _LAYOUTS:
        return None
    structure, headers = _LAYOUTS[family_number]
    if len(payload) >= structure.size:
        # One name for each field, so that nothing is counted: h and g are headers.
        # fmt: off
        (h0, h1, h2, source, h3, destination, h4, h5, protocol,
         h6, source_port, h7, destination_port,
         g0, g1, g2, replier, g3, asker, g4, g5, _,
         g6, replier_port, g7, asker_port) = structure.unpack_from(payload)
        # fmt: on
        found = (h0, h1, h2, h3, h4, h5, h6, h7, g0, g1, g2, g3, g4, g5, g6, g7)
        if found == headers:
            if of is not None and source not in of and replier not in of:
                return None
            there, here = _address(source), _address(replier)
            flow_id, zone = _read_identity(payload[structure.size :])
            return Flow(
                there.version,
                protocol,
                FlowTuple(there, _address(destination), source_port, destination_port),
                FlowTuple(here, _address(asker), replier_port, asker_port),
                flow_id,
                zone,
            )
    return _decode_by_attributes(payload, of)


def _read_identity(payload: bytes) -> tuple[int, int]:
    """Read a flow's id and zone out of what follows its tuples."""
    # As `attributes` does, without a generator: it is the most frequent work.
    flow_id, zone = b"", b""
    at, end = 0, len(payload)
    while at + _ATTRIBUTE.size <= end:
        size, kind = _ATTRIBUTE.unpack_from(payload, at)
        if size < _ATTRIBUTE.size:
            break
        if kind == _ID:
            flow_id = payload[at + 4 : at + size]
        elif kind == _ZONE:
            zone = payload[at + 4 : at + size]
        at += (size + 3) & ~3
    return read_be32(flow_id), int.from_bytes(zone, "big")


def _decode_by_attributes(payload: bytes, of: frozenset[bytes] | None) -> Flow | None:
    found = dict(attributes(payload))
    protocol, original = _decode_tuple(found[TUPLE_ORIGINAL])
    _, reply = _decode_tuple(found[TUPLE_REPLY])
    if of is not None and of.isdisjoint((original.source.packed, reply.source.packed)):
        return None
    flow_id, zone = _read_identity(payload)
    return Flow(original.source.version, protocol, original, reply, flow_id, zone)


def _decode_tuple(payload: bytes) -> tuple[int, FlowTuple]:
    parts = dict(attributes(payload))
    ends = dict(attributes(parts[TUPLE_IP]))
    protocol = dict(attributes(parts[_TUPLE_PROTOCOL]))

    def number(*kinds: int) -> int:
        for kind in kinds:
            if kind in protocol:
                return int.from_bytes(protocol[kind], "big")
        return 0

    source, destination = (
        (IP4_SOURCE, _IP4_DESTINATION)
        if IP4_SOURCE in ends
        else (IP6_SOURCE, _IP6_DESTINATION)
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
