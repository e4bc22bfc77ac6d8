from ipaddress import ip_network

import pytest

from calico.model.rule import Action, Cidr, Direction, ProfileRules, Protocol, Rule


@pytest.mark.parametrize(
    ("protocol", "number", "has_ports"),
    [
        (Protocol.TCP, 6, True),
        (Protocol.UDP, 17, True),
        (Protocol.ICMP, 1, False),
        (Protocol.ICMPV6, 58, False),
    ],
)
def test_protocol_knows_its_number_and_fields(
    protocol: Protocol, number: int, *, has_ports: bool
) -> None:
    assert protocol.number == number
    assert protocol.has_ports is has_ports
    assert protocol.is_icmp is not has_ports


def test_cidrs_are_equal_when_their_networks_are() -> None:
    network = ip_network("10.0.0.0/24")
    assert Cidr(network, "10.0.0.7/24") == Cidr(network, "10.0.0.0/24")


def test_rules_are_found_by_direction() -> None:
    allow, deny = Rule(Action.ALLOW), Rule(Action.DENY)
    rules = ProfileRules(inbound=(allow,), outbound=(deny,))
    assert rules.of(Direction.INBOUND) == (allow,)
    assert rules.of(Direction.OUTBOUND) == (deny,)
