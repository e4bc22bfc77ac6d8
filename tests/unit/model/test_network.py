from ipaddress import ip_network

import pytest

from calico.model.network import DEFAULT_SETTINGS, EndpointToHostAction, Pool
from calico.netset import Family


@pytest.mark.parametrize(
    ("cidr", "family"), [("10.0.0.0/8", Family.V4), ("fd00::/64", Family.V6)]
)
def test_pool_belongs_to_the_family_of_its_network(cidr: str, family: Family) -> None:
    assert Pool(ip_network(cidr)).family is family


def test_traffic_to_the_host_is_dropped_unless_said_otherwise() -> None:
    assert DEFAULT_SETTINGS.endpoint_to_host is EndpointToHostAction.DROP
