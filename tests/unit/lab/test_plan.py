import pytest

from calico.lab.errors import LabError
from calico.lab.plan import (
    MAX_HOSTS,
    environment,
    hosts,
    parse_lab_name,
    parse_workload_name,
)


def test_hosts_share_no_address() -> None:
    addresses = [
        each
        for host in hosts(MAX_HOSTS)
        for each in (host.ipv4, host.ipv6, host.router_ipv4, host.router_ipv6)
    ]
    assert len(set(addresses)) == 4 * MAX_HOSTS


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


@pytest.mark.parametrize("name", ["outside", "host1", "host99"])
def test_workload_cannot_take_the_name_of_the_labs_own(name: str) -> None:
    assert parse_lab_name(name) == name
    with pytest.raises(LabError, match="own names"):
        parse_workload_name(name)


def test_program_in_a_lab_sees_the_labs_datastore_only() -> None:
    (host,) = hosts(1)
    given = {"ETCD_ENDPOINTS": "http://x:1", "CALICO_DATA_DIR": "/y", "TERM": "xterm"}
    assert environment(given, "lab", host) == {
        "TERM": "xterm",
        "CALICO_LAB": "lab",
        "HOSTNAME": "host1",
        "CALICO_DATA_DIR": "/run/lab/data",
        "CALICO_RUN_DIR": "/run/lab/host1/run",
        "CALICO_LOG_DIR": "/run/lab/host1/log",
    }
