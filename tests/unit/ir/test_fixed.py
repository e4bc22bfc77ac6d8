from dataclasses import replace

import pytest

from calico.ir.fixed import host_pinholes, source_exceptions
from calico.ir.match import CompiledRule
from calico.ir.origin import Fixed, FixedOrigin
from calico.model.network import DEFAULT_SETTINGS, HostSettings
from calico.model.rule import Action
from calico.netset import Family


def admitted(rules: tuple[CompiledRule, ...]) -> set[Fixed]:
    assert all(rule.action is Action.ALLOW for rule in rules)
    return {rule.origin.place for rule in rules if isinstance(rule.origin, FixedOrigin)}


@pytest.mark.parametrize(
    ("settings", "family", "places"),
    [
        (DEFAULT_SETTINGS, Family.V4, {Fixed.HOST_DNS, Fixed.HOST_DHCP}),
        (
            DEFAULT_SETTINGS,
            Family.V6,
            {Fixed.HOST_DNS, Fixed.HOST_DHCP, Fixed.HOST_ND},
        ),
        (replace(DEFAULT_SETTINGS, workload_dns=False), Family.V4, {Fixed.HOST_DHCP}),
        (
            replace(DEFAULT_SETTINGS, workload_dhcp=False),
            Family.V6,
            {Fixed.HOST_DNS, Fixed.HOST_ND},
        ),
    ],
)
def test_pinholes_follow_the_settings(
    settings: HostSettings, family: Family, places: set[Fixed]
) -> None:
    rules = host_pinholes(settings, family)
    assert admitted(rules) == places
    assert all(rule.match.family is family for rule in rules)


def test_dhcp_ports_belong_to_the_family() -> None:
    ports = {
        family: [
            (rule.match.source_ports.ranges[0], rule.match.destination_ports.ranges[0])
            for rule in host_pinholes(DEFAULT_SETTINGS, family)
            if rule.origin == FixedOrigin(Fixed.HOST_DHCP)
        ]
        for family in Family
    }
    assert ports == {
        Family.V4: [((68, 68), (67, 67))],
        Family.V6: [((546, 546), (547, 547))],
    }


def test_multicast_report_passes_the_source_check_and_is_no_pinhole() -> None:
    def types(rules: tuple[CompiledRule, ...]) -> list[int]:
        return [rule.match.icmp.icmp_type for rule in rules if rule.match.icmp]

    assert types(host_pinholes(DEFAULT_SETTINGS, Family.V6)) == [
        *(130, 131, 132, 133),
        *(135, 136),
    ]
    assert types(source_exceptions(Family.V6)) == [130, 131, 132, 133, 135, 136, 143]


def test_only_the_unset_address_is_excepted() -> None:
    for family in Family:
        for rule in source_exceptions(family):
            assert rule.match.source.networks.ranges == ((0, 0),)
    assert admitted(source_exceptions(Family.V4)) == {Fixed.DHCP_SOURCE}
    assert admitted(source_exceptions(Family.V6)) == {Fixed.ND_SOURCE}
