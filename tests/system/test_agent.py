"""An agent on a real kernel: policy goes in, follows the store, and stays."""

import json
import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from agent_host import (
    PORT,
    Connection,
    Host,
    Prober,
    Workload,
    a_host,
    arrives,
    profile,
    routes_of,
    rules,
    setting,
    until,
)

from calico.codec.keys import READY_KEY, host_status_key
from calico.model.endpoint import EndpointState
from calico.model.names import HostName
from calico.store.api import Put

pytestmark = pytest.mark.system

ANY = rules(["allow"])
NONE = rules([])
# linux/in.h, linux/in6.h; the `socket` module does not name them.
_FREEBIND = {
    socket.AF_INET: (socket.IPPROTO_IP, 15),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 78),
}
WEB = rules(["allow udp from tag WEB"])


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with a_host(tmp_path / "h1") as made:
        made.start()
        yield made


def test_policy_is_enforced_in_both_families_and_follows_the_store(host: Host) -> None:
    host.put(*profile("WEB", NONE), *profile("DB", WEB))
    web = host.add_workload("web", "WEB")
    database = host.add_workload("db", "DB")
    for family in (4, 6):
        assert arrives(web, database, family)
        assert not arrives(database, web, family)
    host.put(*profile("WEB", NONE, "OTHER"))
    for family in (4, 6):
        assert not arrives(web, database, family)
    assert host.status().n_endpoints == 2
    assert routes_of(host) == {web.ipv4, web.ipv6, database.ipv4, database.ipv6}


def test_endpoint_is_closed_and_without_route_while_inactive(host: Host) -> None:
    host.put(*profile("A", ANY))
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    host.put(host.endpoint(other, "A", state=EndpointState.INACTIVE))
    assert not arrives(one, other)
    assert routes_of(host) == {one.ipv4, one.ipv6}
    host.put(host.endpoint(other, "A"))
    assert arrives(one, other)


def test_interface_that_comes_later_goes_down_or_is_made_anew(host: Host) -> None:
    host.put(*profile("A", ANY))
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    host.space.run("ip", "link", "set", other.interface, "down")
    until(lambda: other.ipv4 not in routes_of(host), "the route goes with the link")
    host.space.run("ip", "link", "set", other.interface, "up")
    until(lambda: {other.ipv4, other.ipv6} <= routes_of(host), "the routes are back")
    host.space.run("ip", "link", "del", other.interface)
    until(
        lambda: host.status().missing_interfaces == (other.interface,), "it is missed"
    )
    host.make_wire(other)
    until(lambda: {other.ipv4, other.ipv6} <= routes_of(host), "the routes are back")
    assert arrives(one, other)
    sysctl = f"/proc/sys/net/ipv4/conf/{other.interface}/rp_filter"
    assert host.space.run("cat", sysctl) == "1\n"


def test_undecodable_values_deny_where_they_are_used_and_are_named(host: Host) -> None:
    host.put(*profile("A", ANY), *profile("BAD", ANY))
    one = host.add_workload("one", "A")
    other = host.add_workload("other", "BAD")
    third = host.add_workload("third", "A")
    assert arrives(one, other)
    bad = "/calico/v1/policy/profile/BAD/rules"
    host.put(Put(bad, b'{"inbound_rules": 3}'), Put("/calico/v1/nonsense", b"\xff"))
    assert not arrives(one, other)
    assert arrives(one, third)
    assert "inbound_rules" in host.status().problems[bad]
    host.put(*profile("BAD", ANY))
    assert bad not in host.status().problems
    assert arrives(one, other)


def test_updates_are_held_back_while_not_ready(host: Host) -> None:
    host.put(*profile("A", ANY))
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    before = host.status().revision
    host.commit(Put(READY_KEY, b"false"))
    until(lambda: not host.status().is_ready, "not ready")
    host.commit(*profile("A", NONE))
    assert arrives(one, other)
    assert host.status().revision == before
    host.put(Put(READY_KEY, b"true"))
    assert not arrives(one, other)


def test_setting_takes_effect_live(host: Host) -> None:
    host.put(*profile("A", ANY))
    one = host.add_workload("one", "A")
    host.space.run("ip", "addr", "add", "172.20.0.1/32", "dev", "lo")
    listener = host.space.open_socket(
        lambda: socket.create_server(("172.20.0.1", PORT))
    )
    with listener:
        assert _connects(one, "172.20.0.1")
        host.put(setting("DefaultEndpointToHostAction", "DROP"))
        assert not _connects(one, "172.20.0.1")


def test_flows_that_a_change_denies_are_cut_and_reported(host: Host) -> None:
    host.put(*profile("A", rules(["allow tcp to ports 5000"])), *profile("B", ANY))
    one, other = host.add_workload("one", "B"), host.add_workload("other", "A")
    third = host.add_workload("third", "B")
    with Connection(one, other) as cut, Connection(one, third) as kept:
        host.put(*profile("A", rules(["allow tcp to ports 5001"])))
        until(lambda: host.status().n_cuts > 0, "the flow is cut")
        assert not cut.speaks()
        assert kept.speaks()
    found = host.status().cuts[-1]
    assert f"> {other.ipv4}:5000" in found.flow
    assert found.rule == "end of profiles inbound: A"


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("addr add 172.20.0.1/32 dev lo", "172.20.0.1"),
        ("addr add fd77::1/128 dev lo", "fd77::1"),
        ("addr add fe80::77/64 dev cali{} nodad", "fe80::77"),
        # Every address of the network is the host's.
        ("route add local 172.21.0.0/24 dev lo", "172.21.0.5"),
        ("-6 route add local fd78::/64 dev lo", "fd78::5"),
    ],
)
def test_flow_from_a_later_address_of_the_host_is_not_cut(
    host: Host, line: str, source: str
) -> None:
    host.put(*profile("A", ANY))
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    lone = host.add_workload("lone")
    host.space.run("ip", *line.format(lone.name).split())
    until(lambda: _is_own(host, source), "the address is the host's")
    client, server = _speaking(host, source, lone)
    with client, server, Connection(one, other):
        # The setting makes all flows be looked at, and one of them be cut.
        host.put(*profile("A", NONE), setting("WorkloadDns", "false"))
        until(lambda: host.status().n_cuts > 0, "flows have been looked at")
        server.send(b"reply")
        assert client.recv(16) == b"reply"
    assert {each.rule for each in host.status().cuts} == {"end of profiles inbound: A"}


def test_flows_are_not_cut_when_switched_off(host: Host) -> None:
    host.put(*profile("A", ANY), setting("CutEstablishedFlows", "false"))
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    with Connection(one, other) as kept:
        host.put(*profile("A", NONE))
        assert not arrives(one, other)
        assert kept.speaks()
    assert host.status().n_cuts == 0


def test_flows_of_a_deleted_endpoint_go(host: Host) -> None:
    host.put(*profile("A", ANY))
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    with Connection(one, other):
        pass
    assert _flows_of(host, str(other.ipv4))
    host.put(host.no_endpoint(other))
    until(lambda: not _flows_of(host, str(other.ipv4)), "its flows are gone")


def test_member_that_moves_between_sets_is_never_in_none(host: Host) -> None:
    between = [f"allow tcp to ports {port}" for port in range(2000, 2060)]
    target = rules(["allow udp from tag X", *between, "allow udp from tag Y"])
    host.put(*profile("X", NONE), *profile("Y", NONE), *profile("T", target))
    one, other = host.add_workload("one", "X"), host.add_workload("other", "T")
    with Prober(one, other) as prober:
        prober.pass_more()
        for number in range(20):
            host.put(host.endpoint(one, "Y" if number % 2 == 0 else "X"))
        prober.pass_more()
    assert prober.missing() == set()


def test_status_is_in_the_store_while_the_agent_lives(host: Host) -> None:
    key = host_status_key(HostName(host.name))
    host.put(*profile("A", ANY))
    revision = host.status().revision

    def told() -> int:
        found = host.store.get(key)
        return 0 if found is None else int(json.loads(found.value)["revision"])

    until(lambda: told() == revision, "the revision is told")
    host.stop()
    assert host.store.get(key) is None


def _is_own(host: Host, address: str) -> bool:
    """Say whether the kernel takes what is sent to an address for the host's.

    An IPv6 address gets its local route later than the address is there, on
    the kernel's own time, even without a check for duplicates (Linux,
    net/ipv6/addrconf.c, addrconf_dad_work). Until then the host can send from
    it, and the answer is lost.
    """
    family = "-4" if "." in address else "-6"
    shown = host.space.run(
        "ip", family, "route", "show", "table", "local", "type", "local"
    )
    networks = [ip_network(line.split()[1]) for line in shown.splitlines()]
    return any(ip_address(address) in network for network in networks)


def _speaking(
    host: Host, source: str, target: Workload
) -> tuple[socket.socket, socket.socket]:
    """Open a flow of datagrams from the host to a workload, and answer once."""
    is_v4 = "." in source
    kind = socket.AF_INET if is_v4 else socket.AF_INET6
    address = str(target.ipv4 if is_v4 else target.ipv6)
    scope = f"%{target.interface}" if source.startswith("fe80") else ""

    def receiving() -> socket.socket:
        made = socket.socket(kind, socket.SOCK_DGRAM)
        made.bind((address, PORT))
        return made

    def sending() -> socket.socket:
        made = socket.socket(kind, socket.SOCK_DGRAM)
        # Not every address of the host is one of an interface.
        made.setsockopt(*_FREEBIND[kind], 1)
        made.bind(socket.getaddrinfo(source + scope, 0, kind)[0][4])
        made.connect((address, PORT))
        return made

    server, client = (
        target.space.open_socket(receiving),
        host.space.open_socket(sending),
    )
    for each in (server, client):
        each.settimeout(5)
    client.send(b"call")
    found, caller = server.recvfrom(16)
    assert found == b"call"
    server.connect(caller)
    server.send(b"answer")
    assert client.recv(16) == b"answer"
    return client, server


def _connects(source: Workload, address: str) -> bool:
    with source.space.open_socket(socket.socket) as made:
        made.settimeout(0.5)
        return made.connect_ex((address, PORT)) == 0


def _flows_of(host: Host, address: str) -> list[str]:
    table = host.space.run("cat", "/proc/net/nf_conntrack")
    return [line for line in table.splitlines() if address in line]
