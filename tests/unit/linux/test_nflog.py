import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from calico.linux.netfilter import attribute
from calico.linux.nflog import decode_packet
from calico.linux.packet_headers import PacketHeaders
from calico.render.objects import HookPoint

MAC = bytes.fromhex("020000000001")


def test_attributes_are_read() -> None:
    index = socket.if_nametoindex("lo")
    body = b"".join(
        (
            attribute(1, struct.pack(">HBB", 0x0800, 2, 0)),
            attribute(10, b"calico inbound 12\0"),
            attribute(4, struct.pack(">I", index)),
            attribute(8, struct.pack(">HH8s", 6, 0, MAC)),
            attribute(12, struct.pack(">I", 7)),
            attribute(9, b"\x45"),
        )
    )
    found = decode_packet(body)
    assert found.prefix == "calico inbound 12"
    assert found.hook is HookPoint.FORWARD
    assert (found.in_interface, found.out_interface) == ("lo", "")
    assert found.sender_mac == MAC
    assert found.headers == PacketHeaders()
    assert found.number == 7


def test_interface_that_is_gone_has_no_name() -> None:
    body = attribute(5, struct.pack(">I", 0x7FFFFFFF))
    assert decode_packet(body).out_interface == ""


def test_mac_is_no_longer_than_what_is_there() -> None:
    body = attribute(8, struct.pack(">HH", 60_000, 0) + MAC)
    assert decode_packet(body).sender_mac == MAC
    assert decode_packet(attribute(8, b"\0")).sender_mac == b""


def test_prefix_that_is_no_text_is_escaped() -> None:
    assert decode_packet(attribute(10, b"a\xff\0b")).prefix == "a\\xff"


parts = st.tuples(st.integers(0, 30), st.binary(max_size=40))


@given(st.lists(parts, max_size=8), st.binary(max_size=12))
def test_no_bytes_raise(drawn: list[tuple[int, bytes]], rest: bytes) -> None:
    decode_packet(b"".join(attribute(kind, raw) for kind, raw in drawn) + rest)
    decode_packet(rest)
