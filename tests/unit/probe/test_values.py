from functools import partial
from ipaddress import ip_address

import pytest

from calico.model.errors import InvalidResource
from calico.model.rule import Protocol
from calico.netset import Family
from calico.probe.errors import AddressMissing, PortInUse
from calico.probe.values import HERE, Place, Probe

A4, A6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")


probe = partial(Probe, HERE, None)


@pytest.mark.parametrize(
    "wanted",
    [
        probe(A4, Protocol.TCP, 1),
        probe(A6, Protocol.UDP, 65535, source_port=65535, source_address=A6),
        probe(A4, Protocol.ICMP),
        probe(A6, Protocol.ICMPV6, icmp_type=255, icmp_code=255),
    ],
)
def test_probe_that_can_be_sent_is_let_through(wanted: Probe) -> None:
    wanted.verify()


@pytest.mark.parametrize(
    ("wanted", "parts"),
    [
        (probe(A4, Protocol.TCP), ["port", "`0`", "from 1 to 65535"]),
        (probe(A4, Protocol.UDP, 65536), ["port", "`65536`"]),
        (probe(A4, Protocol.UDP, 1, source_port=-1), ["source port", "`-1`"]),
        (probe(A4, Protocol.ICMP, icmp_type=256), ["ICMP type", "from 0 to 255"]),
        (probe(A4, Protocol.ICMP, icmp_code=-1), ["ICMP code", "`-1`"]),
        (probe(A6, Protocol.ICMP), ["destination", f"`{A6}`", "an IPv4 address"]),
        (probe(A4, Protocol.ICMPV6), ["destination", "an IPv6 address"]),
        (probe(A4, Protocol.TCP, 1, source_address=A6), ["source", "an IPv4 address"]),
        (probe(ip_address("224.0.0.1"), Protocol.TCP, 1), ["one machine"]),
        (probe(ip_address("::"), Protocol.TCP, 1), ["one machine"]),
        (probe(ip_address("fe80::1"), Protocol.TCP, 1), ["beyond one link"]),
    ],
)
def test_probe_that_cannot_be_is_refused(wanted: Probe, parts: list[str]) -> None:
    with pytest.raises(InvalidResource) as caught:
        wanted.verify()
    for part in parts:
        assert part in str(caught.value)


def test_icmp_is_an_echo_request_unless_something_else_is_asked_for() -> None:
    assert probe(A4, Protocol.ICMP).message_type == 8
    assert probe(A6, Protocol.ICMPV6).message_type == 128
    assert probe(A6, Protocol.ICMPV6).is_echo
    assert not probe(A4, Protocol.ICMP, icmp_type=13).is_echo
    assert not probe(A4, Protocol.TCP, 80).is_echo


def test_place_is_named_as_people_know_it() -> None:
    assert str(HERE) == "this host"
    assert str(Place.of_process(7)) == "/proc/7/ns/net"


def test_errors_say_where_and_what() -> None:
    assert "x: has no IPv6 address" in str(AddressMissing("x", Family.V6))
    assert "x: does not have the address" in str(AddressMissing("x", "192.0.2.1"))
    assert "x: udp source port 7 is in use" in str(PortInUse("x", "udp", 7))
