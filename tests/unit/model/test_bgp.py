"""AS numbers as users write them, and peers."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.model.bgp import (
    MAX_AS_NUMBER,
    AsNumber,
    BgpHost,
    BgpPeer,
    parse_as_number,
)
from calico.model.errors import InvalidResource
from calico.model.names import HostName
from calico.netset import Family


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("64511", 64511),
        ("4294967295", MAX_AS_NUMBER),
        ("0.64512", 64512),
        ("1.0", 65536),
        ("65535.65535", MAX_AS_NUMBER),
    ],
)
def test_number_is_read_in_both_forms(text: str, number: int) -> None:
    assert parse_as_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1_0",
        "4294967296",
        "00000000001",
        "65536.0",
        "0.65536",
        "1.2.3",
        "1.",
        "x.0.0",
        "64511; .0.0",
        ".1",
        ".",
        "\u0661",
        "\u00b2",
        "64511;",
        "64511\n",
        "0x10",
    ],
)
def test_anything_else_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(InvalidResource) as caught:
        parse_as_number(text)
    assert caught.value.found == repr(text)
    assert "4294967295" in caught.value.accepted


@given(st.integers(0, MAX_AS_NUMBER))
def test_both_forms_of_every_number_are_the_same(number: int) -> None:
    high, low = divmod(number, 1 << 16)
    assert parse_as_number(str(number)) == parse_as_number(f"{high}.{low}") == number


def test_peer_is_of_the_family_of_its_address() -> None:
    assert BgpPeer(ip_address("192.0.2.1"), AsNumber(1)).family is Family.V4
    assert BgpPeer(ip_address("2001:db8::1"), AsNumber(1)).family is Family.V6


def test_host_shares_the_default_number_unless_told_otherwise() -> None:
    host = BgpHost(HostName("h"))
    assert host.as_number is None
    assert host.addresses == {}
