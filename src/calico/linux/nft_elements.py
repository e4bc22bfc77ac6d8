"""Write sets and their elements.

Elements go out in messages of less than 64 KiB, since an attribute's length
has 16 bits. A plain set may have a hundred thousand members, so its messages
are joined from the keys as they are, with no object per element.

An interval set holds, for each range, an element where it begins and one,
flagged, just after its end; a range that reaches the top of the space has no
second one. nft(8) knows such a range by a flag in the user data.
"""

import struct
import sys
from collections.abc import Iterable, Iterator, Sequence

from calico.linux.netfilter import (
    MAX_PAYLOAD_BYTES,
    attribute,
    be32,
    be64,
    nest,
    string,
)
from calico.linux.nft_expressions import ANONYMOUS_NAME, COUNTER, encode_verdict
from calico.linux.nft_wire import (
    DESCRIPTION_SIZE,
    LIST_ELEMENT,
    TYPE_VERDICT,
    Data,
    ElementAttr,
    ElementFlag,
    ElementsAttr,
    SetAttr,
    SetFlag,
)
from calico.render.objects import Field, InRanges, MapElement, SetSpec

Ranges = Sequence[tuple[int, int]]

_REGISTER_BYTES = 4
_TYPE_BITS = 6
_NESTED = 0x8000
_ATTRIBUTE = struct.Struct("=HH")
_VERDICT_BYTES = 16
# One per interface and a margin; nobody but root makes interfaces.
_MAX_FROM_PACKETS = 65_535

# How nft(8) numbers its types (enum datatypes in its datatype.h).
_TYPES = {
    Field.IIFNAME: 41,
    Field.OIFNAME: 41,
    Field.NFPROTO: 2,
    Field.L4PROTO: 12,
    Field.ETHER_SOURCE: 9,
    Field.IP4_SOURCE: 7,
    Field.IP4_DESTINATION: 7,
    Field.IP6_SOURCE: 8,
    Field.IP6_DESTINATION: 8,
    Field.SOURCE_PORT: 13,
    Field.DESTINATION_PORT: 13,
    Field.ICMP_TYPE: 14,
    Field.ICMP_CODE: 32,
}
_HOST_ORDER_FIELDS = frozenset({Field.IIFNAME, Field.OIFNAME})

_USERDATA_COMMENT = 0
_USERDATA_ELEMENT_FLAGS = 1
_USERDATA_KEY_ORDER = 0
_HOST_ORDER, _NETWORK_ORDER = 1, 2
_OPEN_INTERVAL = 1

# Type and length of the entry, and the NUL at its end. Rules may carry 256 bytes
# of user data, but of an element's the kernel keeps the length plus one in eight
# bits: Linux 6.18 refuses 255 bytes and reckons with one where there are 256.
_MAX_USERDATA_BYTES = 254
MAX_COMMENT_BYTES = _MAX_USERDATA_BYTES - 3
"""The longest comment that a rule or an element can carry."""


def clip_comment(comment: str) -> str:
    """Return what the kernel can hold of a comment, whole characters only."""
    text = comment.partition("\0")[0]
    raw = text.encode("utf-8", "surrogateescape")
    if len(raw) <= MAX_COMMENT_BYTES:
        return text
    return raw[:MAX_COMMENT_BYTES].decode("utf-8", "ignore")


def encode_comment(comment: str) -> bytes:
    """Return user data that nft(8) shows as a comment; empty for none."""
    raw = clip_comment(comment).encode("utf-8", "surrogateescape")
    return _userdata(_USERDATA_COMMENT, raw + b"\0") if raw else b""


def decode_comment(userdata: bytes) -> str:
    """Find the comment in a rule's or an element's user data."""
    at = 0
    while at + 2 <= len(userdata):
        kind, size = userdata[at], userdata[at + 1]
        if kind == _USERDATA_COMMENT:
            text = userdata[at + 2 : at + 2 + size].partition(b"\0")[0]
            return text.decode("utf-8", "surrogateescape")
        at += 2 + size
    return ""


def _userdata(kind: int, payload: bytes) -> bytes:
    return bytes((kind, len(payload))) + payload


def key_bytes(key: tuple[Field, ...]) -> int:
    """Return the length of a set's keys."""
    if len(key) == 1:
        return key[0].n_bytes
    return sum(-(-each.n_bytes // _REGISTER_BYTES) * _REGISTER_BYTES for each in key)


def _key_type(key: tuple[Field, ...]) -> int:
    number = 0
    for each in key:
        number = number << _TYPE_BITS | _TYPES[each]
    return number


def encode_set(spec: SetSpec, number: int) -> bytes:
    """Return the attributes of a new named set, behind those of its table."""
    flags = (
        (SetFlag.MAP if spec.is_verdict_map else 0)
        | (SetFlag.INTERVAL if spec.is_interval else 0)
        | (SetFlag.TIMEOUT | SetFlag.EVAL if spec.timeout_s else 0)
    )
    return b"".join(
        (
            string(SetAttr.NAME, spec.name),
            be32(SetAttr.FLAGS, flags),
            _encode_key(spec.key),
            _VERDICT_DATA if spec.is_verdict_map else b"",
            _encode_limits(spec) if spec.timeout_s else b"",
            be32(SetAttr.ID, number),
            _key_order(spec.key),
            _SET_COUNTER if spec.has_counters else b"",
        )
    )


_VERDICT_DATA = be32(SetAttr.DATA_TYPE, TYPE_VERDICT) + be32(
    SetAttr.DATA_LENGTH, _VERDICT_BYTES
)


def _encode_limits(spec: SetSpec) -> bytes:
    """Bound what packets put in, in number and in time."""
    size = nest(SetAttr.DESCRIPTION, be32(DESCRIPTION_SIZE, _MAX_FROM_PACKETS))
    return size + be64(SetAttr.TIMEOUT, spec.timeout_s * 1000)


def _encode_key(key: tuple[Field, ...]) -> bytes:
    return be32(SetAttr.KEY_TYPE, _key_type(key)) + be32(
        SetAttr.KEY_LENGTH, key_bytes(key)
    )


def _key_order(key: tuple[Field, ...]) -> bytes:
    """Tell nft(8) how to print a key; of a concatenation it knows by itself."""
    if len(key) > 1:
        return b""
    is_host = _HOST_ORDER_FIELDS.issuperset(key)
    order = _HOST_ORDER if is_host else _NETWORK_ORDER
    entry = _userdata(_USERDATA_KEY_ORDER, order.to_bytes(4, sys.byteorder))
    return attribute(SetAttr.USERDATA, entry)


def _set_counter() -> bytes:
    # The set's own expression is not in a list: same bytes, other number.
    # Every element that comes without one gets a copy of it.
    return nest(SetAttr.EXPRESSION, COUNTER[_ATTRIBUTE.size :])


_SET_COUNTER = _set_counter()


def encode_anonymous_set(statement: InRanges, number: int) -> bytes:
    """Return the attributes of a set that lives as long as its rule."""
    flags = SetFlag.ANONYMOUS | SetFlag.CONSTANT
    if is_interval(statement):
        flags |= SetFlag.INTERVAL
    size = (
        sum(1 for _ in _bounds(statement))
        if is_interval(statement)
        else len(statement.ranges)
    )
    # Knowing the size, the kernel chooses a faster kind of table.
    return b"".join(
        (
            string(SetAttr.NAME, ANONYMOUS_NAME),
            be32(SetAttr.FLAGS, flags),
            _encode_key((statement.look_at,)),
            nest(SetAttr.DESCRIPTION, be32(DESCRIPTION_SIZE, size)),
            be32(SetAttr.ID, number),
            _key_order((statement.look_at,)),
        )
    )


def is_interval(statement: InRanges) -> bool:
    """Tell whether any of the ranges holds more than one value."""
    return any(first != last for first, last in statement.ranges)


def _bounds(statement: InRanges) -> Iterator[bytes]:
    return encode_bounds(statement.look_at.n_bytes, statement.ranges)


def encode_anonymous_elements(statement: InRanges, number: int) -> Iterator[bytes]:
    """Return, per message, the attributes behind those of the table."""
    size = statement.look_at.n_bytes
    if is_interval(statement):
        elements = encode_bounds(size, statement.ranges)
    else:
        keys = [first.to_bytes(size, "big") for first, _ in statement.ranges]
        elements = (_element(key) for key in keys)
    head = string(ElementsAttr.SET, ANONYMOUS_NAME)
    tail = be32(ElementsAttr.SET_ID, number)
    for chunk in _chunks(elements):
        yield head + chunk + tail


def encode_members(spec: SetSpec, keys: Sequence[bytes]) -> Iterator[bytes]:
    """Return, per message, members of a plain set.

    Raises:
        ValueError: A key is not as long as the set's keys are.
    """
    size = key_bytes(spec.key)
    if set(map(len, keys)) - {size}:
        raise ValueError(f"a key of set {spec.name} is not {size} bytes long")
    padding = b"\0" * (-size % _REGISTER_BYTES)
    padded = size + len(padding)
    head = (
        _ATTRIBUTE.pack(12 + padded, LIST_ELEMENT | _NESTED)
        + _ATTRIBUTE.pack(8 + size, ElementAttr.KEY | _NESTED)
        + _ATTRIBUTE.pack(4 + size, Data.VALUE)
    )
    glue = padding + head
    name = string(ElementsAttr.SET, spec.name)
    per_message = MAX_PAYLOAD_BYTES // (12 + padded)
    for start in range(0, len(keys), per_message):
        body = head + glue.join(keys[start : start + per_message]) + padding
        yield name + nest(ElementsAttr.ELEMENTS, body)


def encode_ranges(spec: SetSpec, ranges: Ranges) -> Iterator[bytes]:
    """Return, per message, the elements of an interval set."""
    name = string(ElementsAttr.SET, spec.name)
    for chunk in _chunks(encode_bounds(key_bytes(spec.key), ranges)):
        yield name + chunk


def encode_bounds(size: int, ranges: Ranges) -> Iterator[bytes]:
    """Return the elements where ranges of `size` bytes begin and end."""
    top = (1 << 8 * size) - 1
    for first, last in ranges:
        if last == top:
            yield _element(first.to_bytes(size, "big"), _OPEN_END)
        else:
            yield _element(first.to_bytes(size, "big"))
            yield _element((last + 1).to_bytes(size, "big"), _IS_END)


_IS_END = be32(ElementAttr.FLAGS, ElementFlag.INTERVAL_END)
_OPEN_END = attribute(
    ElementAttr.USERDATA,
    _userdata(_USERDATA_ELEMENT_FLAGS, _OPEN_INTERVAL.to_bytes(4, sys.byteorder)),
)


def encode_map_elements(
    spec: SetSpec, elements: Iterable[tuple[bytes, MapElement]]
) -> Iterator[bytes]:
    """Return, per message, elements of a verdict map."""
    name = string(ElementsAttr.SET, spec.name)
    for chunk in _chunks(_map_element(key, element) for key, element in elements):
        yield name + chunk


def encode_map_keys(spec: SetSpec, keys: Sequence[bytes]) -> Iterator[bytes]:
    """Return, per message, keys of a verdict map, to take them out."""
    return encode_members(spec, keys)


def _map_element(key: bytes, element: MapElement) -> bytes:
    data = nest(ElementAttr.DATA, encode_verdict(element.verdict))
    if comment := encode_comment(element.comment):
        data += attribute(ElementAttr.USERDATA, comment)
    return _element(key, data)


def _element(key: bytes, rest: bytes = b"") -> bytes:
    return nest(LIST_ELEMENT, nest(ElementAttr.KEY, attribute(Data.VALUE, key)), rest)


def _chunks(elements: Iterable[bytes]) -> Iterator[bytes]:
    """Gather elements into lists that fit into a message each."""
    gathered: list[bytes] = []
    size = 0
    for each in elements:
        if size + len(each) > MAX_PAYLOAD_BYTES:
            yield nest(ElementsAttr.ELEMENTS, *gathered)
            gathered, size = [], 0
        gathered.append(each)
        size += len(each)
    if gathered:
        yield nest(ElementsAttr.ELEMENTS, *gathered)
