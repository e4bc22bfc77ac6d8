import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.linux.packet_headers import PacketHeaders, decode_headers

A4, B4 = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
A6, B6 = IPv6Address("fd00::1"), IPv6Address("fd00::2")
PORTS = struct.pack(">HH", 4242, 80) + bytes(16)


def v4(
    protocol: int, body: bytes, *, offset: int = 0, options: bytes = b"", words: int = 0
) -> bytes:
    head = bytes((0x40 | (words or 5 + len(options) // 4), 0, 0, 0, 0, 0))
    middle = struct.pack(">HBBH", offset, 64, protocol, 0)
    return head + middle + A4.packed + B4.packed + options + body


def v6(first: int, body: bytes) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(body), first, 64) + (
        A6.packed + B6.packed + body
    )


def extension(then: int, n_eights: int = 0) -> bytes:
    return bytes((then, n_eights)) + bytes(6 + 8 * n_eights)


def fragment(then: int, offset: int) -> bytes:
    return struct.pack(">BBHI", then, 0, offset << 3 | 1, 7)


def ends4(*rest: int | None) -> PacketHeaders:
    return PacketHeaders(A4, B4, *rest)


def ends6(*rest: int | None) -> PacketHeaders:
    return PacketHeaders(A6, B6, *rest)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (v4(6, PORTS), ends4(6, 4242, 80)),
        (v4(17, PORTS), ends4(17, 4242, 80)),
        (v4(132, PORTS), ends4(132, 4242, 80)),
        (v4(47, PORTS), ends4(47)),
        (v4(1, b"\x08\x03"), ends4(1, None, None, 8, 3)),
        # ICMPv6 in IPv4 is a protocol like any other.
        (v4(58, b"\x80\x00"), ends4(58)),
        (v4(6, PORTS, options=bytes(8)), ends4(6, 4242, 80)),
        # The first fragment has the ports, a later one the middle of something.
        (v4(17, PORTS, offset=0x2000), ends4(17, 4242, 80)),
        (v4(17, PORTS, offset=185), ends4(17)),
        # A header that says it is shorter than a header.
        (v4(17, PORTS, words=4), ends4(17)),
        (v6(6, PORTS), ends6(6, 4242, 80)),
        (v6(58, b"\x80\x01"), ends6(58, None, None, 128, 1)),
        (v6(1, b"\x08\x00"), ends6(1)),
        (v6(0, extension(60) + extension(17, 2) + PORTS), ends6(17, 4242, 80)),
        (v6(51, bytes((6, 4)) + bytes(22) + PORTS), ends6(6, 4242, 80)),
        (v6(44, fragment(17, 0) + PORTS), ends6(17, 4242, 80)),
        (v6(44, fragment(17, 9) + PORTS), ends6(17)),
        (v6(44, fragment(60, 9) + PORTS), ends6()),
        # No next header: nothing follows.
        (v6(59, PORTS), ends6(59)),
        # Cut inside the extension headers, or told of more than there is.
        (v6(0, b"\x06"), ends6()),
        (v6(0, extension(6, 0)[:2] + b"\xff" * 6), ends6(6)),
        (v6(43, bytes((17, 255)) + bytes(6)), ends6(17)),
        (b"", PacketHeaders()),
        (b"\x45", PacketHeaders()),
        (b"\x60" + bytes(38), PacketHeaders()),
        (b"\x95" + bytes(60), PacketHeaders()),
    ],
)
def test_what_can_be_read_is_read(packet: bytes, expected: PacketHeaders) -> None:
    assert decode_headers(packet) == expected


@pytest.mark.parametrize("n_bytes", range(len(v4(6, PORTS)) + 1))
def test_packet_cut_anywhere_says_no_more_than_the_whole(n_bytes: int) -> None:
    whole, part = decode_headers(v4(6, PORTS)), decode_headers(v4(6, PORTS)[:n_bytes])
    pairs = (
        (part.source, whole.source),
        (part.protocol, whole.protocol),
        (part.source_port, whole.source_port),
        (part.destination_port, whole.destination_port),
    )
    assert all(found in {None, full} for found, full in pairs)


@given(st.binary(max_size=128), st.sampled_from([0x45, 0x4F, 0x60, 0x00]))
def test_no_bytes_raise(packet: bytes, first: int) -> None:
    decode_headers(packet)
    decode_headers(bytes((first,)) + packet)


@given(st.lists(st.sampled_from([0, 43, 44, 51, 60, 135]), max_size=12))
def test_any_chain_of_extension_headers_comes_to_an_end(kinds: list[int]) -> None:
    chain = b"".join(extension(each) for each in kinds)
    decode_headers(v6(0, chain)[:128])
