"""Packets between hosts whose network carries no workload's address.

What arrives here has taken the tunnel: without one there is no way.
"""

import contextlib
import json
import socket
import struct
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from threading import Event, Thread

import pytest
from agent_host import (
    DEADLINE_S,
    NOTE,
    PORT,
    Host,
    Namespace,
    Prober,
    Workload,
    arrives,
    await_arrival,
    namespace,
    profile,
    rules,
    until,
)
from frames import frame, marker
from overlay_cluster import (
    DEVICE,
    POOL4,
    POOL6,
    UNDERLAY_MTU,
    Cluster,
    a_cluster,
    await_tunnel,
    device_of,
    put_pool,
    tunnel_addresses,
    tunnel_routes,
)

from calico.control.client import ask_counters, ask_drops
from calico.control.drops import DropReason
from calico.ipam.handles import tunnel_handle
from calico.ipam.release import read_attributes, release_handle
from calico.ir.origin import Fixed
from calico.ir.packet import Elsewhere, Packet
from calico.ir.tunnel import VXLAN_ID, VXLAN_PORT
from calico.linux.namespace import call_inside, open_namespace
from calico.linux.veth import create_veth
from calico.model.block import block_of
from calico.model.names import HostName, InterfaceName
from calico.netset import Address, family_of

pytestmark = pytest.mark.system

ANY = rules(["allow"])
TUNNEL_MTU = UNDERLAY_MTU - 50
IP_AND_UDP_BYTES = 28
BRIEF_S = 0.3
CALICOCTL = Path(__file__).resolve().parents[2] / "calicoctl"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with a_cluster(tmp_path_factory.mktemp("overlay"), "a", "b") as made:
        a = made.hosts["a"]
        a.put(*profile("P", rules(["allow from tag P"])), *profile("ANY", ANY))
        made.add_workload(a, "one", "P")
        made.add_workload(made.hosts["b"], "other", "P")
        made.add_workload(made.hosts["b"], "open", "ANY")
        yield made


@pytest.fixture
def a(cluster: Cluster) -> Host:
    return cluster.hosts["a"]


@pytest.fixture
def b(cluster: Cluster) -> Host:
    return cluster.hosts["b"]


@pytest.fixture
def one(a: Host) -> Workload:
    return a.workloads["one"]


@pytest.fixture
def other(b: Host) -> Workload:
    return b.workloads["other"]


@pytest.mark.parametrize("family", [4, 6])
def test_workloads_of_two_hosts_reach_each_other_as_policy_allows(
    b: Host, one: Workload, other: Workload, family: int
) -> None:
    await_arrival(one, other, family)
    await_arrival(other, one, family)
    await_arrival(one, b.workloads["open"], family)
    # It is in no tag that `one` lets in.
    assert not arrives(b.workloads["open"], one, family)


# The host's own traffic.


def ask(source: Namespace, target: Namespace, address: Address) -> str:
    """Ask over TCP who is asking, and return what is answered."""
    kind = socket.AF_INET if family_of(address).value == 4 else socket.AF_INET6

    def listen() -> socket.socket:
        made = socket.socket(kind, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((str(address), 0))
        made.listen()
        return made

    with target.open_socket(listen) as server:
        port: int = server.getsockname()[1]
        with source.open_socket(lambda: socket.socket(kind)) as client:
            client.settimeout(DEADLINE_S)
            client.connect((str(address), port))
            answering, peer = server.accept()
            with answering:
                answering.sendall(str(peer[0]).encode())
                return client.recv(64).decode()


def test_host_and_workload_of_another_host_reach_each_other(
    a: Host, b: Host, one: Workload
) -> None:
    opened = b.workloads["open"]
    own = tunnel_addresses(a)
    assert len(own) == 2
    for address in (opened.ipv4, opened.ipv6):
        # The reply finds its way by the address that the host has in the tunnel.
        assert ask(a.space, opened.space, address) in {str(each) for each in own}
    for address in own:
        assert ask(opened.space, a.space, address) in {
            str(opened.ipv4),
            str(opened.ipv6),
        }
    # A host is in no tag: what lets tags in does not let it in.
    with pytest.raises(TimeoutError):
        _connect(b.space, one.ipv4)


def _connect(source: Namespace, address: Address) -> None:
    with source.open_socket(socket.socket) as client:
        client.settimeout(BRIEF_S)
        client.connect((str(address), PORT))


def test_address_of_the_host_is_allocated_and_told(a: Host) -> None:
    for address in tunnel_addresses(a):
        known = read_attributes(a.store, address)
        assert known is not None
        assert known.handle == tunnel_handle(HostName("a"))
    told = a.store.get("/calico/v1/host/a/config/IpInIpTunnelAddr")
    assert told is not None
    assert IPv4Address(told.value.decode()) in tunnel_addresses(a)


# Sizes.


def _fragments_made(space: Namespace) -> int:
    names, values = (
        line.split()
        for line in space.run("cat", "/proc/net/snmp").splitlines()
        if line.startswith("Ip:")
    )
    return int(values[names.index("FragCreates")])


def _send_whole(source: Workload, target: Workload, n_bytes: int) -> bool:
    """Send a datagram that may not be cut, and say whether it arrives."""

    def sending() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, always
        return made

    def receiving() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((str(target.ipv4), PORT + 1))
        return made

    with (
        target.space.open_socket(receiving) as receiver,
        source.space.open_socket(sending) as sender,
    ):
        receiver.settimeout(BRIEF_S)
        payload = b"x" * (n_bytes - IP_AND_UDP_BYTES)
        try:
            sender.sendto(payload, (str(target.ipv4), PORT + 1))
            return receiver.recv(1 << 16) == payload
        except TimeoutError:
            return False


def test_largest_packet_of_a_workload_fits_into_the_tunnel(a: Host, b: Host) -> None:
    device = device_of(a)
    assert device is not None
    assert device["mtu"] == TUNNEL_MTU
    target = b.workloads["open"]
    with namespace() as space, open_namespace(space.path) as inside:
        with open_namespace(a.space.path) as host:
            interface = InterfaceName("calibig")
            mac = bytes.fromhex("020000000201")
            call_inside(
                host, lambda: create_veth(inside, interface, InterfaceName("e0"), mac)
            )
        try:
            shown = a.space.run("ip", "-j", "link", "show", "calibig")
            assert json.loads(shown)[0]["mtu"] == TUNNEL_MTU
            shown = space.run("ip", "-j", "link", "show", "e0")
            assert json.loads(shown)[0]["mtu"] == TUNNEL_MTU
        finally:
            a.space.run("ip", "link", "del", "calibig")
    before = [_fragments_made(each.space) for each in (a, b)]
    source = a.workloads["one"]
    until(lambda: _send_whole(source, target, TUNNEL_MTU), "a full packet arrives")
    # Connected as if there were no tunnel, it learns what fits.
    with pytest.raises(OSError, match="Message too long"):
        until(lambda: _send_whole(source, target, TUNNEL_MTU + 1), "too much arrives")
    assert [_fragments_made(each.space) for each in (a, b)] == before


def test_transfer_of_full_segments_is_not_cut_into_fragments(
    a: Host, b: Host, one: Workload
) -> None:
    target = b.workloads["open"]
    before = [_fragments_made(each.space) for each in (a, b)]
    payload = b"x" * (1 << 20)

    def listen() -> socket.socket:
        return socket.create_server((str(target.ipv4), 0))

    with target.space.open_socket(listen) as server:
        address = (str(target.ipv4), server.getsockname()[1])
        with one.space.open_socket(socket.socket) as client:
            client.settimeout(DEADLINE_S)
            client.connect(address)
            answering, _ = server.accept()
            with answering:
                answering.settimeout(DEADLINE_S)
                sending = Thread(target=client.sendall, args=(payload,))
                sending.start()
                n_received = 0
                while n_received < len(payload):
                    n_received += len(answering.recv(1 << 16))
                sending.join()
    assert [_fragments_made(each.space) for each in (a, b)] == before


# Who may send into a tunnel.


_FROM_MAC = bytes.fromhex("0eca00000000")


def _wrap(
    a: Host, source: IPv4Address, target: Workload, mark: bytes, vxlan_id: int
) -> bytes:
    """Write what VXLAN carries: a datagram from any source to a workload of `a`."""
    device = device_of(a)
    assert device is not None
    mac = bytes.fromhex(str(device["address"]).replace(":", ""))
    packet = Packet(
        Elsewhere.OUTSIDE,
        Elsewhere.OUTSIDE,
        source,
        target.ipv4,
        17,
        _FROM_MAC,
        4000,
        PORT,
    )
    header = struct.pack(">II", 0x08000000, vxlan_id << 8)
    return header + frame(packet, mac, mark)


def _send(space: Namespace, data: bytes, host: IPv4Address) -> None:
    with space.open_socket(
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ) as sender:
        sender.sendto(data, (str(host), VXLAN_PORT))


def _dropped(host: Host) -> int:
    """Say how many packets of tunnels were dropped as a stranger's."""
    origin = Fixed.FOREIGN_TUNNEL.value
    counters = ask_counters(host.run_dir)
    return sum(each.packets for each in counters if each.origin == origin)


def _underlay(host: Host) -> IPv4Address:
    shown = host.space.run("ip", "-j", "addr", "show", "dev", "up0")
    return IPv4Address(json.loads(shown)[0]["addr_info"][0]["local"])


def _receiver(target: Workload) -> socket.socket:
    def receiving() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(BRIEF_S)
        made.bind(("", PORT))
        return made

    return target.space.open_socket(receiving)


def _hears(receiver: socket.socket, mark: bytes, within_s: float = BRIEF_S) -> bool:
    receiver.settimeout(within_s)
    with contextlib.suppress(TimeoutError):
        while True:
            if receiver.recv(64) == mark:
                return True
    return False


def test_forged_packet_of_a_stranger_is_not_unwrapped(
    cluster: Cluster, a: Host, b: Host, one: Workload, other: Workload
) -> None:
    stranger, _ = cluster.add_stranger()
    to = _underlay(a)
    before, since = _dropped(a), ask_drops(a.run_dir, 0, 0).newest
    with _receiver(one) as receiver:
        # From a host it is what it says: a packet of a workload in the tag.
        genuine = _wrap(a, other.ipv4, one, marker(1), VXLAN_ID)
        _send(b.space, genuine, to)
        receiver.settimeout(DEADLINE_S)
        assert receiver.recv(64) == marker(1)
        receiver.settimeout(BRIEF_S)
        assert _dropped(a) == before
        forged = _wrap(a, other.ipv4, one, marker(2), VXLAN_ID)
        _send(stranger, forged, to)
        assert not _hears(receiver, marker(2))
        assert _dropped(a) == before + 1
        # What a host sends in the name of nobody is judged as from outside.
        outside = _wrap(a, IPv4Address("192.0.2.1"), one, marker(3), VXLAN_ID)
        _send(b.space, outside, to)
        assert not _hears(receiver, marker(3))
        assert _dropped(a) == before + 1

    def is_told() -> bool:
        # Only so many a second are, and others may have been sent just before.
        _send(stranger, forged, to)
        drops = ask_drops(a.run_dir, since, BRIEF_S).drops
        return DropReason.FOREIGN_TUNNEL.value in {each.reason for each in drops}

    until(is_told, "the drop is told")


def test_other_networks_of_vxlan_are_left_alone(cluster: Cluster, a: Host) -> None:
    stranger, _ = cluster.add_stranger()
    a.space.run(
        *("ip", "link", "add", "vx0", "type", "vxlan", "id", "77"),
        *("dstport", str(VXLAN_PORT), "dev", "up0"),
    )
    try:
        a.space.run("ip", "link", "set", "vx0", "up")
        before = _dropped(a)
        one = a.workloads["one"]
        _send(stranger, _wrap(a, one.ipv4, one, marker(1), 77), _underlay(a))
        until(lambda: _n_received(a, "vx0") == 1, "the other device gets its frame")
        assert _dropped(a) == before
    finally:
        a.space.run("ip", "link", "del", "vx0")


def _n_received(host: Host, interface: str) -> int:
    shown = host.space.run("ip", "-j", "-s", "link", "show", interface)
    counted: int = json.loads(shown)[0]["stats64"]["rx"]["packets"]
    return counted


def test_workload_cannot_send_into_the_tunnel_of_any_host(
    a: Host, b: Host, one: Workload
) -> None:
    opened = b.workloads["open"]
    to_own, to_other = _underlay(a), _underlay(b)
    with _receiver(opened) as receiver:
        data = _wrap(b, one.ipv4, opened, marker(1), VXLAN_ID)
        _send(a.space, data, to_other)
        receiver.settimeout(DEADLINE_S)
        assert receiver.recv(64) == marker(1)
        receiver.settimeout(BRIEF_S)
        # Masqueraded, it would come from a host of the cluster.
        for host in (to_other, to_own):
            before = _dropped(a)
            _send(one.space, _wrap(b, one.ipv4, opened, marker(2), VXLAN_ID), host)
            assert not _hears(receiver, marker(2))
            assert _dropped(a) == before + 1


# Hosts and blocks that come and go; what breaks in between.


def test_host_joins_and_leaves(cluster: Cluster, a: Host, one: Workload) -> None:
    before = tunnel_routes(a)
    c = cluster.add_host("c")
    await_tunnel(c)
    third = cluster.add_workload(c, "third", "P")
    for family in (4, 6):
        await_arrival(one, third, family)
        await_arrival(third, one, family)
    joined = _underlay(c)
    forged = _wrap(a, third.ipv4, one, marker(9), VXLAN_ID)
    with _receiver(one) as receiver:
        _send(c.space, forged, _underlay(a))
        assert _hears(receiver, marker(9), DEADLINE_S)
    dropped = _dropped(a)
    assert before < tunnel_routes(a)
    assert str(joined) in a.space.run("bridge", "fdb", "show", "dev", DEVICE)

    c.stop()
    own = tunnel_addresses(c)
    remove = (str(CALICOCTL), "node", "remove", "--remove-endpoints")
    done = subprocess.run(
        ("nsenter", f"--net={c.space.path}", *remove),
        capture_output=True,
        text=True,
        check=False,
        env=c.environ,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert device_of(c) is None
    assert not tunnel_routes(c)
    for address in (*own, third.ipv4, third.ipv6):
        assert read_attributes(a.store, address) is None
    del cluster.hosts["c"]
    until(lambda: tunnel_routes(a) == before, "the routes to the host are gone")
    assert str(joined) not in a.space.run("bridge", "fdb", "show", "dev", DEVICE)
    # It is a stranger now.
    with _receiver(one) as receiver:
        _send(c.space, forged, _underlay(a))
        assert not _hears(receiver, marker(9))
    assert _dropped(a) == dropped + 1


def test_released_block_has_no_route_any_more(
    cluster: Cluster, a: Host, b: Host
) -> None:
    before = tunnel_routes(a), tunnel_routes(b)
    added = [cluster.add_workload(b, f"w{n}", "P") for n in range(2)]
    assert {block_of(each.ipv4) for each in added} == {
        block_of(b.workloads["other"].ipv4)
    }
    # Of its own blocks a host sends away nothing that no workload has.
    block = block_of(added[0].ipv4)
    assert any(each.startswith(f"blackhole {block}") for each in before[1])
    for each in added:
        b.put(b.no_endpoint(each))
        release_handle(b.store, f"b.test.{each.name}.{each.name}", NOTE)
    assert (tunnel_routes(a), tunnel_routes(b)) == before


def test_packets_pass_while_an_agent_is_killed_and_comes_back(
    a: Host, one: Workload, other: Workload
) -> None:
    await_arrival(one, other)
    index = _index(a)
    with Prober(one, other) as prober:
        prober.pass_more()
        a.kill_agent()
        await_tunnel(a)
        prober.pass_more()
        assert prober.missing() == set()
    assert _index(a) == index


def _index(host: Host) -> object:
    device = device_of(host)
    return None if device is None else device["ifindex"]


def test_device_that_cannot_be_made_is_named_until_it_can(
    a: Host, one: Workload, other: Workload
) -> None:
    routes = tunnel_routes(a)
    # What another program has of the same kind leaves no room for ours.
    a.space.run("ip", "link", "set", DEVICE, "down")
    a.space.run("ip", "link", "set", DEVICE, "name", "theirs")
    until(lambda: DEVICE in a.status().problems, "the problem is named")
    assert "another interface has its port" in a.status().problems[DEVICE]
    a.space.run("ip", "link", "del", "theirs")
    until(lambda: tunnel_routes(a) == routes, "the routes are back")
    await_arrival(one, other)
    until(lambda: DEVICE not in a.status().problems, "nothing is wrong any more")


def test_stranger_stays_out_while_an_agent_is_killed_and_comes_back(
    cluster: Cluster, a: Host, b: Host, one: Workload, other: Workload
) -> None:
    stranger, _ = cluster.add_stranger()
    to, stopping = _underlay(a), Event()
    forged = _wrap(a, other.ipv4, one, marker(1), VXLAN_ID)

    def send() -> None:
        while not stopping.wait(0.001):
            _send(stranger, forged, to)

    sending = Thread(target=send)
    with _receiver(one) as receiver:
        sending.start()
        try:
            until(lambda: _dropped(a) > 0, "forged packets come")
            a.kill_agent()
            await_tunnel(a)
            before = _dropped(a)
            until(lambda: _dropped(a) > before, "forged packets still come")
        finally:
            stopping.set()
            sending.join()
        # A genuine one behind them all, so that none is still on its way.
        _send(b.space, _wrap(a, other.ipv4, one, marker(2), VXLAN_ID), to)
        receiver.settimeout(DEADLINE_S)
        assert receiver.recv(64) == marker(2)


@pytest.mark.parametrize("damage", ["del", "down"])
def test_device_that_somebody_breaks_is_mended(
    a: Host, one: Workload, other: Workload, damage: str
) -> None:
    routes = tunnel_routes(a)
    assert any(DEVICE in each for each in routes)
    before = _index(a)
    words = ("del", DEVICE) if damage == "del" else ("set", DEVICE, "down")
    a.space.run("ip", "link", *words)
    if damage == "del":
        until(lambda: _index(a) not in {None, before}, "another device")
    until(lambda: tunnel_routes(a) == routes, "the routes are back")
    for family in (4, 6):
        await_arrival(one, other, family)
        await_arrival(other, one, family)
    assert len(tunnel_addresses(a)) == 2


def test_tunnel_goes_with_the_last_pool_that_asks_for_it(
    a: Host, b: Host, one: Workload, other: Workload
) -> None:
    await_arrival(one, other)
    own = tunnel_addresses(a)
    a.put(*(put_pool(cidr, is_vxlan=False) for cidr in (POOL4, POOL6)))
    try:
        until(lambda: device_of(a) is device_of(b) is None, "no device")
        until(lambda: not tunnel_routes(a) | tunnel_routes(b), "no routes")
        assert not arrives(one, other)
        assert "tunnel-hosts" not in a.space.run(
            "nft", "list", "table", "inet", "calico"
        )
        until(
            lambda: all(read_attributes(a.store, each) is None for each in own),
            "the addresses are given back",
        )
    finally:
        a.put(*(put_pool(cidr, is_vxlan=True) for cidr in (POOL4, POOL6)))
    for host in (a, b):
        await_tunnel(host)
    await_arrival(one, other)
    assert "tunnel-hosts" in a.space.run("nft", "list", "table", "inet", "calico")
