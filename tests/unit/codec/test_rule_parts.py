"""The parts of a rule: spellings, and which go together."""

from ipaddress import ip_address, ip_network

import pytest

from calico.codec.rule_parts import (
    families_of,
    parse_address,
    parse_cidr,
    parse_ports,
    show_ports,
    verify_rule,
)
from calico.model.errors import InvalidResource
from calico.model.rule import Action, Cidr, Peer, PortRange, Protocol, Rule
from calico.netset import Family


@pytest.mark.parametrize(
    ("text", "network", "shown"),
    [
        ("10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8", "10.1.2.3/8"),
        ("10.1.2.3", "10.1.2.3/32", "10.1.2.3/32"),
        ("0.0.0.0/0", "0.0.0.0/0", "0.0.0.0/0"),
        ("FD00::1/64", "fd00::/64", "FD00::1/64"),
        ("fd00::1", "fd00::1/128", "fd00::1/128"),
        ("::ffff:10.0.0.1/128", "::ffff:10.0.0.1/128", "::ffff:10.0.0.1/128"),
    ],
)
def test_cidr_keeps_its_spelling(text: str, network: str, shown: str) -> None:
    cidr = parse_cidr(text)
    assert (cidr.network, cidr.text) == (ip_network(network), shown)


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8", "10",
        "10.0.0.0/255.0.0.0", "10.0.0.0/0.0.0.255", "010.0.0.0/8", "10.0.0.0/8/8",
        "10.0.0.0/8 ", " 10.0.0.0/8", "fd00::/129", "fe80::1%eth0/64", "fe80::1%eth0",
        "fd00:::/8", "WEB", "10.0.0.256/8", "10.0.0.0/\u0668", "10.0.0.0/8\n",
    ],
)  # fmt: skip
def test_bad_cidr_is_refused(text: str) -> None:
    with pytest.raises(InvalidResource, match="CIDR"):
        parse_cidr(text)


@pytest.mark.parametrize(
    ("text", "first", "last", "shown"),
    [
        ("80", 80, 80, "80"),
        ("0", 0, 0, "0"),
        ("0080", 80, 80, "80"),
        ("1024:2048", 1024, 2048, "1024:2048"),
        ("1024-2048", 1024, 2048, "1024:2048"),
        ("0:65535", 0, 65535, "0:65535"),
        ("22:22", 22, 22, "22"),
    ],
)
def test_ports_are_read_and_shown(text: str, first: int, last: int, shown: str) -> None:
    assert parse_ports(text) == PortRange(first, last)
    assert show_ports(PortRange(first, last)) == shown


@pytest.mark.parametrize(
    "text",
    ["", "65536", "99999", "999999", "2:1", "1:", ":1", "-1", "1:2:3", "1:65536", "+80",
     " 80", "80 ", "80\n", "\u0668", "http", "1.5", "1,2"],
)  # fmt: skip
def test_bad_ports_are_refused(text: str) -> None:
    with pytest.raises(InvalidResource, match="ports"):
        parse_ports(text)


V4 = Peer(cidr=parse_cidr("10.0.0.0/8"))
V6 = Peer(cidr=parse_cidr("fd00::/8"))
PORTS = Peer(ports=(PortRange(80, 80),))
ALLOW = Action.ALLOW


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        (Rule(ALLOW, source=PORTS), "ports with no protocol"),
        (Rule(ALLOW, Protocol.ICMP, destination=PORTS), "ports with icmp"),
        (Rule(ALLOW, icmp_type=8), "ICMP type or code with no protocol"),
        (Rule(ALLOW, Protocol.TCP, icmp_type=8), "ICMP type or code with tcp"),
        (Rule(ALLOW, Protocol.UDP, icmp_code=8), "ICMP type or code with udp"),
        (Rule(ALLOW, Protocol.ICMP, icmp_code=8), "an ICMP code alone"),
        (Rule(ALLOW, source=V4, destination=V6), "IPv4 and IPv6 in one rule"),
        (Rule(ALLOW, Protocol.ICMP, source=V6), "IPv4 and IPv6 in one rule"),
        (Rule(ALLOW, Protocol.ICMPV6, destination=V4), "IPv4 and IPv6 in one rule"),
    ],
)
def test_parts_that_exclude_each_other_are_refused(rule: Rule, complaint: str) -> None:
    with pytest.raises(InvalidResource, match=complaint):
        verify_rule(rule, "rule")


@pytest.mark.parametrize(
    ("rule", "families"),
    [
        (Rule(ALLOW), set[Family]()),
        (Rule(ALLOW, Protocol.TCP, source=PORTS), set[Family]()),
        (Rule(ALLOW, Protocol.ICMP, 8, 0, V4, V4), {Family.V4}),
        (Rule(ALLOW, Protocol.ICMPV6, 128, source=V6), {Family.V6}),
        (Rule(ALLOW, Protocol.UDP, source=V6), {Family.V6}),
    ],
)
def test_parts_that_go_together_are_let_through(
    rule: Rule, families: set[Family]
) -> None:
    verify_rule(rule, "rule")
    assert families_of(rule) == families


def test_cidrs_are_equal_as_networks() -> None:
    assert parse_cidr("10.0.0.1/8") == Cidr(ip_network("10.0.0.0/8"), "10/8")


@pytest.mark.parametrize("text", ["10.0.0.1", "fd00::1", "::ffff:10.0.0.1"])
def test_address_is_read(text: str) -> None:
    assert parse_address(text) == ip_address(text)


@pytest.mark.parametrize(
    "text",
    ["", "x", "10.0.0", "010.0.0.1", "10.0.0.1/32", "fe80::1%eth0", "1", "\udcff"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidResource, match="expected an IPv4 or IPv6 address"):
        parse_address(text)
