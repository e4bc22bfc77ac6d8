import struct

from calico.linux.netfilter import (
    HEADER,
    Message,
    Refusal,
    attribute,
    attributes,
    be32,
    be64,
    messages,
    nest,
    read_be32,
    read_be64,
    read_refusal,
    read_string,
    string,
)


def test_attribute_is_padded_and_its_length_is_not() -> None:
    assert attribute(5, b"abcde") == struct.pack("=HH", 9, 5) + b"abcde\0\0\0"


def test_attributes_are_read_as_written() -> None:
    inner = be32(1, -4) + be64(2, 1 << 40)
    payload = string(3, "tag4-WEB") + nest(4, inner) + attribute(5, b"")
    found = dict(attributes(payload))
    assert list(found) == [3, 4, 5]
    assert read_string(found[3]) == "tag4-WEB"
    numbers = dict(attributes(found[4]))
    assert read_be32(numbers[1]) == 2**32 - 4
    assert read_be64(numbers[2]) == 1 << 40
    assert found[5] == b""


def test_broken_attribute_ends_the_walk() -> None:
    assert list(attributes(attribute(1, b"1234") + b"\x02\0\x07\0")) == [(1, b"1234")]


def test_name_that_is_no_utf8_survives() -> None:
    name = read_string(b"\xff\xfe\0")
    assert dict(attributes(string(1, name)))[1] == b"\xff\xfe\0"


def test_datagram_is_split_into_messages() -> None:
    one = HEADER.pack(21, 7, 1, 2, 3) + b"hello\0\0\0"
    two = HEADER.pack(16, 8, 0, 9, 0)
    assert list(messages(one + two)) == [
        Message(7, 1, 2, 3, b"hello"),
        Message(8, 0, 9, 0, b""),
    ]


def refusal(body: bytes, flags: int) -> Refusal | None:
    return read_refusal(Message(2, flags, 5, 0, body))


def test_acknowledgement_is_no_refusal() -> None:
    assert refusal(struct.pack("=i", 0) + bytes(16), 0x100) is None


def test_refusal_says_what_the_c_library_says() -> None:
    body = struct.pack("=i", -2) + bytes(16)
    assert refusal(body, 0x100) == Refusal(5, 2, "No such file or directory", 0)


def test_refusal_prefers_the_kernels_own_words() -> None:
    said = string(1, "chain is busy") + attribute(2, struct.pack("=I", 40))
    capped = struct.pack("=i", -16) + HEADER.pack(400, 1, 0, 5, 0)
    assert refusal(capped + said, 0x300) == Refusal(5, 16, "chain is busy", 40)
    whole = struct.pack("=i", -16) + HEADER.pack(20, 1, 0, 5, 0) + b"body"
    assert refusal(whole + said, 0x200) == Refusal(5, 16, "chain is busy", 40)
