"""An agent and interfaces: link-local flows, names that change hands."""

import contextlib
import json
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from agent_host import (
    Host,
    Namespace,
    Workload,
    a_host,
    arrives,
    profile,
    rules,
    setting,
    until,
)

pytestmark = pytest.mark.system

ANY = rules(["allow"])
NONE = rules([])
HOST_LINK_LOCAL = "fe80::ecee:eeff:feee:eeee"
LINK_LOCAL_OF_FIRST = "fe80::ff:fe00:1"
DNS = 53

# The number of the one interface inside, after `lo`.
_SCOPE = 2


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with a_host(tmp_path / "h1") as made:
        made.start()
        yield made


def test_flow_between_link_local_addresses_is_cut_too(host: Host) -> None:
    host.put(*profile("A", NONE))
    one = host.add_workload("one", "A")
    server = _datagrams(host.space, "::", DNS)
    found: list[socket.socket] = []

    def has_address() -> bool:
        # Not before it is certain that nobody else has it.
        with contextlib.suppress(OSError):
            found.append(_datagrams(one.space, LINK_LOCAL_OF_FIRST, 0))
        return bool(found)

    until(has_address, "an address on the link")
    client = found[0]

    def is_answered() -> bool:
        client.sendto(b"?", (HOST_LINK_LOCAL, DNS, 0, _SCOPE))
        with contextlib.suppress(TimeoutError):
            server.sendto(b"!", server.recvfrom(16)[1])
            return client.recv(16) == b"!"
        return False

    with server, client:
        until(is_answered, "an answer of the host")
        host.put(setting("WorkloadDns", "false"))
        until(lambda: host.status().n_cuts > 0, "the flow is cut")
        assert not is_answered()
    assert f"> [{HOST_LINK_LOCAL}]:{DNS}" in host.status().cuts[-1].flow


def test_interface_that_is_renamed_is_closed_until_it_is_named_back(
    host: Host,
) -> None:
    host.put(*profile("A", ANY), *profile("SHUT", NONE))
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    shut = host.add_workload("shut", "SHUT")
    for renamed in (other, shut):
        host.space.run("ip", "link", "set", renamed.interface, "name", "taken0")
        until(partial(_is_missing, host, renamed), "it is noticed")
        for family in (4, 6):
            assert not arrives(one, renamed, family)
            assert not arrives(renamed, one, family)
        assert "taken0" in host.status().problems[f"interface {renamed.interface}"]
        host.space.run("ip", "link", "set", "taken0", "name", renamed.interface)
        until(lambda: not host.status().missing_interfaces, "it is back")
        assert not host.status().problems
    for family in (4, 6):
        until(partial(arrives, one, other, family), "it is open again")
        assert not arrives(one, shut, family)


def reaches_host(host: Host, workload: Workload) -> bool:
    """Report whether a datagram from a workload comes to its own host."""
    with (
        _datagrams(host.space, "::", DNS) as server,
        _datagrams(workload.space, LINK_LOCAL_OF_FIRST, 0) as client,
    ):
        client.sendto(b"?", (HOST_LINK_LOCAL, DNS, 0, _SCOPE))
        with contextlib.suppress(TimeoutError):
            return server.recv(16) == b"?"
    return False


def test_workload_stays_judged_when_its_prefix_leaves_the_settings(
    host: Host,
) -> None:
    host.put(*profile("A", NONE))
    one = host.add_workload("one", "A")
    until(partial(_reaches_once, host, one), "a pinhole lets it through")
    host.put(setting("WorkloadDns", "false"))
    assert not reaches_host(host, one)
    host.put(setting("InterfacePrefix", "tap"))
    assert not reaches_host(host, one)


def test_interface_without_an_endpoint_is_taken_down(host: Host) -> None:
    host.put(*profile("A", ANY))
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    until(partial(arrives, one, other), "both are connected")
    host.commit(host.no_endpoint(one))
    host.settle()
    until(lambda: not _is_up(host, one.interface), "it is taken down")
    assert _is_up(host, other.interface)


def test_interface_is_set_up_without_a_way_to_the_loopback(host: Host) -> None:
    host.put(*profile("A", ANY))
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    until(partial(arrives, one, other), "both are connected")
    directory = f"/proc/sys/net/ipv4/conf/{one.interface}"
    assert host.space.run("cat", f"{directory}/rp_filter") == "1\n"
    assert host.space.run("cat", f"{directory}/route_localnet") == "0\n"


def test_interface_that_was_renamed_while_no_agent_ran_is_taken_down(
    host: Host,
) -> None:
    host.put(*profile("A", ANY))
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    until(partial(arrives, one, other), "both are connected")
    host.stop()
    host.space.run("ip", "link", "set", one.interface, "name", "taken0")
    host.start()
    assert not _is_up(host, "taken0")
    assert "it is down now" in host.status().problems["interface taken0"]
    assert _is_up(host, other.interface)


def _reaches_once(host: Host, workload: Workload) -> bool:
    with contextlib.suppress(OSError):
        return reaches_host(host, workload)
    return False


def _is_up(host: Host, interface: str) -> bool:
    shown = host.space.run("ip", "-j", "link", "show", "dev", interface)
    return "UP" in json.loads(shown)[0]["flags"]


def _datagrams(space: Namespace, address: str, port: int) -> socket.socket:
    def binding() -> socket.socket:
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        made.settimeout(0.3)
        try:
            made.bind((address, port, 0, _SCOPE if address != "::" else 0))
        except BaseException:
            made.close()
            raise
        return made

    return space.open_socket(binding)


def _is_missing(host: Host, workload: Workload) -> bool:
    return workload.interface in host.status().missing_interfaces
