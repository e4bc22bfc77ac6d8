import pytest

from calico.lab.errors import LabError
from calico.lab.plan import (
    ETCD_IPV4,
    ETCD_IPV6,
    MAX_HOSTS,
    ROUTER_IPV4,
    ROUTER_IPV6,
    hosts,
    parse_lab_name,
    parse_workload_name,
)


def test_hosts_share_no_address() -> None:
    addresses = [each for host in hosts(MAX_HOSTS) for each in (host.ipv4, host.ipv6)]
    others = {ROUTER_IPV4, ROUTER_IPV6, ETCD_IPV4, ETCD_IPV6}
    assert len({*addresses, *others}) == 2 * MAX_HOSTS + 4


@pytest.mark.parametrize("n_hosts", [-1, 0, MAX_HOSTS + 1])
def test_number_of_hosts_has_limits(n_hosts: int) -> None:
    with pytest.raises(LabError, match=r"1 to 64"):
        hosts(n_hosts)


@pytest.mark.parametrize("name", ["", ".", "a/b", "-x", "a b", "é", "x" * 64])
def test_impossible_name_is_refused(name: str) -> None:
    with pytest.raises(LabError):
        parse_lab_name(name)
    with pytest.raises(LabError):
        parse_workload_name(name)


@pytest.mark.parametrize("name", ["outside", "etcd", "host1", "host99"])
def test_workload_cannot_take_the_name_of_the_labs_own(name: str) -> None:
    assert parse_lab_name(name) == name
    with pytest.raises(LabError, match="own names"):
        parse_workload_name(name)
