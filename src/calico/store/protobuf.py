"""Protocol buffers' wire format, as far as etcd's messages need it.

A message is a sequence of fields, each a number with a value: a varint or
bytes. A field that is absent has its default, so a default is not written, and
a field that nobody asks for is passed over: newer servers send more than we
know. Signed numbers are 64 bits in two's complement.

Source:
    protobuf.dev, "Encoding".
"""

from collections.abc import Iterator

_VARINT = 0
_FIXED64 = 1
_BYTES = 2
_FIXED32 = 5
_MASK = (1 << 64) - 1
_SIGN = 1 << 63
_LONGEST_VARINT = 70


class BadMessage(Exception):  # noqa: N818 -- says what happened, as others do
    """What was received is no message."""


def encode_varint(value: int) -> bytes:
    """Encode a number; a negative one as 64 bits in two's complement."""
    value &= _MASK
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """Encode a field that holds a number; nothing when it is 0."""
    return encode_varint(field << 3) + encode_varint(value) if value else b""


def some_number(field: int, value: int) -> bytes:
    """Encode a field that holds a number, also when it is 0.

    For a choice between fields, where the presence of one says which.
    """
    return encode_varint(field << 3) + encode_varint(value)


def text(field: int, value: bytes) -> bytes:
    """Encode a field that holds bytes; nothing when there are none."""
    return message(field, value) if value else b""


def message(field: int, value: bytes) -> bytes:
    """Encode a field that holds a message, also when that is empty."""
    return encode_varint(field << 3 | _BYTES) + encode_varint(len(value)) + value


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number.

    Returns:
        It, and where it ends.

    Raises:
        BadMessage: There is none.
    """
    shift = value = 0
    try:
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
            if shift >= _LONGEST_VARINT:
                raise BadMessage("a number is longer than 64 bits")
    except IndexError:
        raise BadMessage("ends within a number") from None


def signed(value: int) -> int:
    """Read a number as a signed one of 64 bits."""
    return value - (1 << 64) if value & _SIGN else value


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a message: number and value.

    Raises:
        BadMessage: It is none.
    """
    at, end = 0, len(data)
    while at < end:
        key, at = read_varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = read_varint(data, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            length, at = read_varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise BadMessage(f"a field of kind {kind}")
        if at + length > end:
            raise BadMessage("ends within a field")
        yield key >> 3, data[at : at + length]
        at += length


def number_of(value: int | bytes) -> int:
    """Return a field's value as a number.

    Raises:
        BadMessage: It holds bytes.
    """
    if isinstance(value, bytes):
        raise BadMessage("bytes where a number is expected")
    return value


def bytes_of(value: int | bytes) -> bytes:
    """Return a field's value as bytes.

    Raises:
        BadMessage: It holds a number.
    """
    if isinstance(value, int):
        raise BadMessage("a number where bytes are expected")
    return value
