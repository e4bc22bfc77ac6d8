"""Hosts that share an etcd and whose routes BIRD carries, with real packets.

All of it is typed as a user would, in a lab of three hosts.
"""

import json
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_network

import pytest
from lab_cluster import Cluster, Prober, argv_of, cluster
from lab_user import until

pytestmark = pytest.mark.system

ALLOWED = ["allowed", "allowed"]
DENIED = ["denied", "denied"]
AGENT = "calico.agent"
BIRD = "bird.conf"
PORT = 5000


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with cluster("--hosts=3", "--etcd") as made:
        yield made


def test_change_on_one_host_is_in_force_on_the_other(three: Cluster) -> None:
    three.add_profiles("WEB1", "CLIENT1", "OTHER1")
    three.add("web1", "host2", "WEB1")
    three.add("client1", "host1", "CLIENT1")
    three.add("other1", "host1", "OTHER1")
    assert three.probe("client1", "web1", "tcp", "80") == DENIED
    rule = ("inbound", "allow", "tcp", "from", "tag", "CLIENT1", "to", "ports", "80")
    three.done("host1", "profile", "WEB1", "rule", "add", *rule)
    three.done("host1", "wait")
    assert three.probe("client1", "web1", "tcp", "80") == ALLOWED
    assert three.probe("client1", "web1", "tcp", "81") == DENIED
    assert three.probe("other1", "web1", "tcp", "80") == DENIED
    three.done("host3", "profile", "WEB1", "rule", "remove", *rule)
    three.done("host3", "wait")
    assert three.probe("client1", "web1", "tcp", "80") == DENIED


def test_hosts_have_blocks_of_their_own_and_announce_them(three: Cluster) -> None:
    three.add_profiles("IPAM2")
    hosts = ("host1", "host2", "host3")
    added = {
        host: [three.add(f"ipam2-{host}-{n}", host, "IPAM2") for n in range(2)]
        for host in hosts
    }
    addresses = [each.ipv4 for made in added.values() for each in made]
    assert len(set(addresses)) == len(addresses)
    for host in hosts:
        for other in hosts:
            blocks = {
                ip_network(f"{each.ipv4}/26", strict=False) for each in added[other]
            }
            for block in blocks if other != host else ():
                three.await_route(host, str(block), f"172.31.0.{other[-1]}")
            # The block is announced, and not its addresses.
            if other != host:
                assert (
                    not {str(each.ipv4) for each in added[other]}
                    & three.routes(host).keys()
                )
    asked = three.probe("ipam2-host1-0", "ipam2-host3-1", "icmp")
    assert asked == ["allowed"]


def test_moved_endpoint_is_reached_at_its_new_host(three: Cluster) -> None:
    three.add_profiles("MOVED3", "OTHER3")
    three.add("moved3", "host1", "MOVED3", "192.168.77.1")
    three.add("friend3", "host3", "MOVED3")
    three.add("other3", "host3", "OTHER3")
    assert three.probe("friend3", "moved3", "tcp", "80") == ALLOWED
    path = "/run/netns/moved3"
    three.done("host1", "container", "remove", path)
    three.done("host2", "container", "add", path, "192.168.77.1")
    three.done("host2", "container", path, "ip", "add", "ipv6")
    three.done("host2", "container", path, "profile", "append", "MOVED3")
    three.done("host2", "wait")
    assert three.probe("friend3", "moved3", "tcp", "80") == ALLOWED
    assert three.probe("other3", "moved3", "tcp", "80") == DENIED
    # The block stays the first host's; the address alone is led elsewhere.
    three.await_route("host3", "192.168.77.0/26", "172.31.0.1")
    three.await_route("host3", "192.168.77.1", "172.31.0.2")


def test_pool_is_added_and_removed_while_its_addresses_are_used(
    three: Cluster,
) -> None:
    three.add_profiles("POOL4", "OTHER4")
    pool = "10.77.0.0/24"
    three.done("host1", "pool", "add", pool)
    three.add("a4", "host1", "POOL4", pool)
    three.add("b4", "host1", "POOL4", pool)
    three.add("c4", "host2", "POOL4", pool)
    three.add("other4", "host1", "OTHER4")
    only = ("--ipv4",)
    assert three.probe("c4", "a4", "tcp", "80", *only) == ["allowed"]
    three.done("host2", "pool", "remove", pool)
    three.done("host2", "wait")
    assert three.probe("b4", "a4", "tcp", "80", *only) == ["allowed"]
    assert three.probe("other4", "a4", "tcp", "80", *only) == ["denied"]
    refused = three.user.lab("add", "d4", "--host=host2", "10.77.0.200")
    assert refused.returncode == 1
    assert "not in any configured pools" in refused.stderr
    three.done("host3", "pool", "add", pool)
    try:
        three.done("host3", "wait")
        three.add("e4", "host3", "POOL4", pool)
        assert three.probe("c4", "a4", "tcp", "80", *only) == ["allowed"]
        assert three.probe("e4", "c4", "tcp", "80", *only) == ["allowed"]
    finally:
        three.done("host3", "pool", "remove", pool)


def test_policy_and_packets_go_on_while_etcd_is_down(three: Cluster) -> None:
    three.add_profiles("ETCD5", "OTHER5")
    target = three.add("target5", "host2", "ETCD5")
    friend = three.add("friend5", "host1", "ETCD5")
    other = three.add("other5", "host1", "OTHER5")
    (member,) = three.pids("etcd", "--data-dir")
    argv = argv_of(member)
    with Prober(target, PORT, (friend, other)) as prober:
        prober.pass_more("friend5")
        three.kill("etcd", "--data-dir")
        refused = three.type("host2", "profile", "add", "LATE5")
        assert refused.returncode == 5
        assert "Traceback" not in refused.stderr
        prober.pass_more("friend5")
        prober.try_more("other5")
        assert prober.n_arrived("other5") == 0
        three.start_etcd(argv)
        assert until(lambda: three.type("host2", "wait").returncode == 0)
        assert prober.n_arrived("other5") == 0
        three.done("host1", "profile", "OTHER5", "tag", "add", "ETCD5")
        prober.pass_more("other5")
        assert prober.lost("friend5") == []


def test_killed_agents_and_birds_change_nothing_for_packets(three: Cluster) -> None:
    three.add_profiles("KILL6", "OTHER6")
    target = three.add("target6", "host2", "KILL6")
    friend = three.add("friend6", "host1", "KILL6")
    other = three.add("other6", "host1", "OTHER6")
    with Prober(target, PORT, (friend, other)) as prober:
        prober.pass_more("friend6")
        for word in (AGENT, BIRD):
            for host in ("host1", "host2"):
                killed = three.kill(host, word)
                three.await_another(host, word, killed)
                prober.pass_more("friend6")
        assert until(lambda: _is_established(three, "host1", "172.31.0.2"))
        three.done("host1", "wait")
        prober.pass_more("friend6")
        prober.try_more("other6")
        assert prober.n_arrived("other6") == 0
        three.done("host1", "profile", "OTHER6", "tag", "add", "KILL6")
        prober.pass_more("other6")
        assert prober.lost("friend6") == []


def _is_established(three: Cluster, host: str, peer: str, name: str = "") -> bool:
    lines = three.done(host, "status", HOSTNAME=name or host).splitlines()
    return any(f" {peer} " in line and "Established" in line for line in lines)


def test_host_leaves_and_comes_back_under_another_name(three: Cluster) -> None:
    three.add_profiles("LEAVE7", "OTHER7")
    target = three.add("target7", "host2", "LEAVE7")
    friend = three.add("friend7", "host1", "LEAVE7")
    three.add("other7", "host1", "OTHER7")
    gone = three.add("gone7", "host3", "LEAVE7")
    block = str(ip_network(f"{gone.ipv4}/26", strict=False))
    assert three.probe("friend7", "gone7", "icmp") == ["allowed"]
    three.await_route("host1", block, "172.31.0.3")
    with Prober(target, PORT, (friend,)) as prober:
        prober.pass_more("friend7")
        three.done("host3", "node", "stop", "--force")
        three.done("host3", "node", "remove", "--remove-endpoints")
        assert until(lambda: block not in three.routes("host1"))
        prober.pass_more("friend7")
        start = ("node", "--ip=172.31.0.3", "--ip6=fd31::3")
        try:
            three.done("host3", *start, "--as=65001", HOSTNAME="renamed")
            _see_renamed(three)
            three.done("host3", "node", "stop", "--force", HOSTNAME="renamed")
            remove = ("node", "remove", "--remove-endpoints")
            three.done("host3", *remove, HOSTNAME="renamed")
        finally:
            three.done("host3", *start)
        assert prober.lost("friend7") == []
    three.add("back7", "host3", "LEAVE7")
    assert three.probe("friend7", "back7", "tcp", "80") == ALLOWED


def _see_renamed(three: Cluster) -> None:
    """See that a host is what HOSTNAME says, and is a host like others."""
    path = "/run/netns/named7"
    three.user.done("run", "--host=host3", "--", "ip", "netns", "add", "named7")
    for words in (("add", path, "ipv4"), (path, "profile", "append", "LEAVE7")):
        three.done("host3", "container", *words, HOSTNAME="renamed")
    three.done("host1", "wait")
    listed = three.done("host1", "endpoint", "show", "--host=renamed", "-o", "json")
    assert json.loads(listed)
    assert until(lambda: three.probe("friend7", "named7", "icmp") == ["allowed"])
    assert three.probe("other7", "named7", "icmp") == ["denied"]
    # With an AS number of its own it is a peer of the others, and of the router.
    for peer in ("172.31.0.1", "172.31.0.254"):
        assert until(partial(_is_established, three, "host3", peer, "renamed"))


def test_without_a_mesh_the_global_peer_is_the_way(three: Cluster) -> None:
    three.add_profiles("MESH8", "OTHER8")
    three.add("a8", "host1", "MESH8")
    three.add("other8", "host1", "OTHER8")
    far = three.add("b8", "host2", "MESH8")
    block = str(ip_network(f"{far.ipv4}/26", strict=False))
    three.await_route("host1", block, "172.31.0.2")
    assert "node-to-node mesh" in three.done("host1", "status")
    three.done("host1", "bgp", "node-mesh", "off")
    try:
        assert until(lambda: block not in three.routes("host1"))
        assert three.routes("outside")[block] == "172.31.0.2"
        assert three.probe("a8", "b8", "tcp", "80") == ALLOWED
        assert three.probe("other8", "b8", "tcp", "80") == DENIED
        status = three.done("host1", "status")
        assert "node-to-node mesh" not in status
        assert "| global" in status
    finally:
        three.done("host1", "bgp", "node-mesh", "on")
    assert until(lambda: block in three.routes("host1"))
