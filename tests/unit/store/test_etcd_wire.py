"""Messages of etcd, to the byte and back."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.store.etcd_wire import decode_range, decode_watch, range_of, range_request
from calico.store.protobuf import (
    BadMessage,
    encode_varint,
    fields,
    message,
    number,
    read_varint,
    signed,
    text,
)

NUMBERS = st.integers(-(2**63), 2**63 - 1)


@given(NUMBERS)
def test_number_comes_back(value: int) -> None:
    data = encode_varint(value)
    found, end = read_varint(data, 0)
    assert (signed(found), end) == (value, len(data))


@given(st.lists(st.tuples(st.integers(1, 100), st.binary(max_size=300)), max_size=5))
def test_fields_come_back_in_order(given_fields: list[tuple[int, bytes]]) -> None:
    data = b"".join(message(field, value) for field, value in given_fields)
    assert list(fields(data)) == given_fields


def is_refused(decode: Callable[[bytes], object], data: bytes) -> bool:
    try:
        decode(data)
    except BadMessage:
        return True
    return False


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    # What is cut short is never taken for whole.
    whole = message(2, text(1, b"/k") + text(5, data))
    assert not is_refused(decode_range, whole)
    assert is_refused(lambda cut: list(fields(cut)), whole[:-1])
    assert is_refused(decode_watch, data) in {True, False}


def test_request_is_as_published() -> None:
    # Field 1 is the key, 2 the end of the range, 3 the limit, 4 the revision.
    request = range_request(b"/a", b"/b", limit=300, at=7)
    assert request == bytes.fromhex("0a022f61 12022f62 18ac02 2007")


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_key_and_value_of_any_size_come_back(size: int) -> None:
    value = b"v" * size
    item = text(1, b"/k") + number(2, 300) + number(3, 2**40) + text(5, value)
    header = message(1, number(3, 9))
    found = decode_range(header + message(2, item) + number(3, 1) + number(4, 12))
    (kept,) = found.items
    assert kept == ("/k", value, 300, 2**40)
    assert (found.has_more, found.n_found) == (True, 12)


def test_range_of_a_prefix_ends_before_the_next() -> None:
    assert range_of("/a/") == (b"/a/", b"/a0")
    assert range_of("") == (b"\0", b"\0")
