"""Routes between hosts, with real BIRDs and real packets."""

import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest
from agent_host import Prober, await_arrival, until
from routed_hosts import (
    AS_NUMBER,
    Cluster,
    RoutedHost,
    a_cluster,
    ipv4_of,
    ipv6_of,
    mesh_names,
    put_mesh,
    put_peer,
    router_config,
)

from calico.codec.keys import (
    bgp_address_key,
    bgp_as_number_key,
    bgp_config_key,
    bgp_peer_key,
    ipam_affinity_key,
)
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.snapshot import PoolKey
from calico.netset import Family
from calico.store.api import Delete, Put
from calico.store.resources import delete_resource, put_resource

pytestmark = pytest.mark.system

ROUTER, OTHER_ROUTER, REFLECTOR = 250, 251, 252
ROUTER_AS, OTHER_ROUTER_AS = 65000, 65001


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory: Path = tmp_path_factory.mktemp("routes")
    with a_cluster(directory, 3) as made:
        yield made


@pytest.fixture(autouse=True)
def mesh_again(cluster: Cluster) -> Iterator[None]:
    """See that each test leaves the mesh as it was."""
    yield
    _await_mesh(cluster)


@contextmanager
def _while(cluster: Cluster, *operations: Put | Delete) -> Generator[None]:
    """Change the datastore for a while."""
    store = cluster.hosts[1].host.store
    before = {each.key: store.get(each.key) for each in operations}
    cluster.commit(*operations)
    try:
        yield
    finally:
        cluster.commit(
            *(
                Delete(key) if kept is None else Put(key, kept.value)
                for key, kept in before.items()
            )
        )


def _await_mesh(cluster: Cluster) -> None:
    for number, host in cluster.hosts.items():
        host.await_peers(*_mesh_of(cluster, number))
        for other in set(cluster.hosts) - {number}:
            peer = cluster.hosts[other]
            host.await_route(peer.block_v4, via=ipv4_of(other))
            host.await_route(peer.block_v6, via=ipv6_of(other))


def _mesh_of(cluster: Cluster, number: int) -> list[str]:
    return mesh_names(set(cluster.hosts) - {number})


def _config(host: RoutedHost) -> str:
    return host.bird.files.config.read_text()


def test_hosts_of_a_mesh_reach_each_others_workloads(cluster: Cluster) -> None:
    workloads = {n: host.host.workloads[f"w{n}"] for n, host in cluster.hosts.items()}
    _await_mesh(cluster)
    for number, host in cluster.hosts.items():
        for other in set(cluster.hosts) - {number}:
            for family in (4, 6):
                await_arrival(workloads[number], workloads[other], family)
            # The block is announced, and not what is in it.
            assert host.route_to(f"10.65.{other}.5/32") == ""
            assert host.route_to(f"fd65::{other}:5/128") == ""
        # What nobody has in a block of one's own goes nowhere.
        assert "blackhole" in host.route_to(host.block_v4)
        assert host.problems() == {}


def test_borrowed_address_is_announced_by_itself(cluster: Cluster) -> None:
    here, owner, third = (cluster.hosts[n] for n in (1, 2, 3))
    guest = here.add_workload("guest", "10.65.2.40", "fd65::2:28")
    for host in (owner, third):
        host.await_route("10.65.2.40/32", via=ipv4_of(1))
        host.await_route("fd65::2:28/128", via=ipv6_of(1))
        for family in (4, 6):
            await_arrival(host.host.workloads[f"w{host.number}"], guest, family)
    here.host.put(here.host.no_endpoint(guest))
    for host in (owner, third):
        host.await_route("10.65.2.40/32", via=None)
        host.await_route("fd65::2:28/128", via=None)


def test_address_of_a_workload_here_is_nobody_elses(cluster: Cluster) -> None:
    home, thief, third = (cluster.hosts[n] for n in (1, 2, 3))
    stolen = {"10.65.1.5": ipv4_of(2), "fd65::1:5": ipv6_of(2)}
    for address in stolen:
        thief.host.space.run("ip", "route", "add", "blackhole", address)
    try:
        # The others have no way of knowing.
        third.await_route("10.65.1.5", via=ipv4_of(2))
        third.await_route("fd65::1:5", via=ipv6_of(2))
        for address in stolen:
            assert "dev caliw1" in home.host.space.run("ip", "route", "get", address)
            assert " via " not in home.route_to(address)
    finally:
        for address in stolen:
            thief.host.space.run("ip", "route", "del", "blackhole", address)
    third.await_route("10.65.1.5", via=None)
    third.await_route("fd65::1:5", via=None)


def test_peer_of_all_hosts_is_believed_within_pools_alone(cluster: Cluster) -> None:
    sessions = [f"neighbor {ipv4_of(n)} as {AS_NUMBER};" for n in cluster.hosts]
    routes = ["10.65.200.0/24", "203.0.113.0/24", "0.0.0.0/0", "10.0.0.0/8"]
    router = cluster.add_router(
        ROUTER, router_config(ROUTER, ROUTER_AS, sessions, routes)
    )
    with _while(cluster, put_peer(None, ipv4_of(ROUTER), ROUTER_AS)):
        for number, host in cluster.hosts.items():
            name = f"Global_{ipv4_of(ROUTER)}".replace(".", "_")
            host.await_peers(*_mesh_of(cluster, number), name)
            host.await_route("10.65.200.0/24", via=ipv4_of(ROUTER))
            for outside in ("203.0.113.0/24", "0.0.0.0/0", "10.0.0.0/8"):
                assert host.route_to(outside) == ""
        # And it is told what the pools hold, not what else a host knows.
        own = router.space.run("ip", "route", "show", "proto", "bird")
        assert "10.65.200.0/24" not in own  # It has no way to the kernel.
        with router.control() as control:
            lines = [each.text for each in control.ask("show route")]
        known = {line.split()[0] for line in lines if "/" in line.split(" ")[0]}
        blocks = {host.block_v4 for host in cluster.hosts.values()}
        assert known == {*blocks, *routes, "172.31.0.0/24"}
    router.end()


def test_peer_of_one_host_is_that_hosts_alone(cluster: Cluster) -> None:
    here, other = cluster.hosts[1], cluster.hosts[2]
    session = f"neighbor {ipv4_of(1)} as {AS_NUMBER};"
    config = router_config(OTHER_ROUTER, OTHER_ROUTER_AS, [session], ["10.65.201.0/24"])
    router = cluster.add_router(OTHER_ROUTER, config)
    with _while(cluster, put_peer(here.name, ipv4_of(OTHER_ROUTER), OTHER_ROUTER_AS)):
        name = f"Node_{ipv4_of(OTHER_ROUTER)}".replace(".", "_")
        here.await_peers(*_mesh_of(cluster, 1), name)
        here.await_route("10.65.201.0/24", via=ipv4_of(OTHER_ROUTER))
        # Learned there, known to all, by way of the host that learned it.
        other.await_route("10.65.201.0/24", via=ipv4_of(1))
        assert set(other.bird.peerings()) == set(_mesh_of(cluster, 2))
    router.end()


def test_reflector_takes_the_place_of_the_mesh(cluster: Cluster) -> None:
    workloads = {n: host.host.workloads[f"w{n}"] for n, host in cluster.hosts.items()}
    sessions = [
        f"neighbor {ipv4_of(n)} as {AS_NUMBER}; rr client;" for n in cluster.hosts
    ]
    reflector = cluster.add_router(
        REFLECTOR, router_config(REFLECTOR, AS_NUMBER, sessions)
    )
    with _while(cluster, put_mesh(is_on=False)):
        for number, host in cluster.hosts.items():
            host.await_peers()
            for other in set(cluster.hosts) - {number}:
                host.await_route(cluster.hosts[other].block_v4, via=None)
        with _while(cluster, put_peer(None, ipv4_of(REFLECTOR), AS_NUMBER)):
            name = f"Global_{ipv4_of(REFLECTOR)}".replace(".", "_")
            for number, host in cluster.hosts.items():
                host.await_peers(name)
                for other in set(cluster.hosts) - {number}:
                    # The way is the other host itself, not the reflector.
                    block = cluster.hosts[other].block_v4
                    host.await_route(block, via=ipv4_of(other))
                    await_arrival(workloads[number], workloads[other])
    reflector.end()


def test_host_with_an_as_of_its_own_is_spoken_with_as_such(cluster: Cluster) -> None:
    own = cluster.hosts[3]
    with _while(cluster, Put(bgp_as_number_key(own.name), b"0.64600")):
        for number in (1, 2):
            host = cluster.hosts[number]
            (name, _) = mesh_names([3])

            def is_other_as(host: RoutedHost = host, name: str = name) -> bool:
                return host.bird.peerings()[name].neighbor_as == 64600

            until(is_other_as, "the other AS")
            host.await_peers(*_mesh_of(cluster, number))
            host.await_route(own.block_v4, via=ipv4_of(3))
            own.await_route(host.block_v4, via=ipv4_of(number))
            await_arrival(host.host.workloads[f"w{number}"], own.host.workloads["w3"])


def test_host_without_ipv6_has_no_ipv6_peers(cluster: Cluster) -> None:
    lacking = cluster.hosts[3]
    with _while(cluster, Put(bgp_address_key(lacking.name, Family.V6), b"")):
        own = mesh_names([1, 2])
        lacking.await_peers(*(each for each in own if "Mesh_172" in each))
        for number in (1, 2):
            cluster.hosts[number].await_peers(*_mesh_of(cluster, number)[:3])
            cluster.hosts[number].await_route(lacking.block_v6, via=None)
            cluster.hosts[number].await_route(lacking.block_v4, via=ipv4_of(3))
        assert lacking.problems() == {}


def test_pool_comes_and_goes_without_a_session_ending(cluster: Cluster) -> None:
    here, there = cluster.hosts[1], cluster.hosts[2]
    pool = Pool(ip_network("10.66.0.0/16"))
    block = ip_network("10.66.0.0/26")
    mark = ipam_affinity_key(here.name, block)
    before = {name: each.since for name, each in there.bird.peerings().items()}
    with _while(cluster, put_resource(PoolKey(pool.cidr), pool)):
        cluster.commit(Put(mark, b""))
        there.await_route(str(block), via=ipv4_of(1))
        # Removed while the block is in use: it is no longer spoken of.
        cluster.commit(delete_resource(PoolKey(pool.cidr)))
        there.await_route(str(block), via=None)
        here.await_route(str(block), via=None)
        cluster.commit(Delete(mark))
    assert {n: each.since for n, each in there.bird.peerings().items()} == before


def test_block_that_a_host_gives_up_is_announced_no_more(cluster: Cluster) -> None:
    here, there = cluster.hosts[1], cluster.hosts[2]
    block = ip_network("10.65.1.64/26")
    mark = ipam_affinity_key(here.name, block)
    cluster.commit(Put(mark, b""))
    there.await_route(str(block), via=ipv4_of(1))
    cluster.commit(Delete(mark))
    there.await_route(str(block), via=None)
    assert here.route_to(str(block)) == ""


def _endings() -> list[str]:
    return ["killed", "asked to leave gracefully"]


@pytest.mark.parametrize("ending", _endings())
def test_bird_begins_anew_and_no_packet_is_lost(cluster: Cluster, ending: str) -> None:
    host, other = cluster.hosts[1], cluster.hosts[2]
    here, there = host.host.workloads["w1"], other.host.workloads["w2"]
    await_arrival(here, there)
    await_arrival(there, here)
    with Prober(here, there) as out, Prober(there, here) as back:
        out.pass_more()
        back.pass_more()
        before = host.bird.pid()
        if ending == "killed":
            host.bird.end(signal.SIGKILL)
        else:
            host.bird.leave()
        until(lambda: _has_lost(other, 1), "the peer notices")
        out.pass_more()
        back.pass_more()
        host.bird.start()
        assert host.bird.pid() != before
        assert host.bird.status().is_recovering
        _await_mesh(cluster)
        until(lambda: not host.bird.status().is_recovering, "it is as before")
        out.pass_more()
        back.pass_more()
    assert (out.missing(), back.missing()) == (set(), set())
    assert len(out.received) > 100


def _has_lost(host: RoutedHost, number: int) -> bool:
    found = host.bird.peerings()
    return all(found[name].bgp_state != "Established" for name in mesh_names([number]))


def test_bird_that_is_just_ended_is_forgotten(cluster: Cluster) -> None:
    # What the two before must not look like.
    host, other = cluster.hosts[1], cluster.hosts[2]
    host.bird.end(signal.SIGTERM)
    other.await_route(host.block_v4, via=None)
    # Its own routes stay in its kernel.
    host.await_route(other.block_v4, via=ipv4_of(2))
    host.bird.start()


def test_agent_begins_anew_and_bird_does_not_notice(cluster: Cluster) -> None:
    host, other = cluster.hosts[1], cluster.hosts[2]
    here, there = host.host.workloads["w1"], other.host.workloads["w2"]
    await_arrival(here, there)
    await_arrival(there, here)
    before = host.bird.last_reconfiguration(), _config(host)
    with Prober(here, there) as out, Prober(there, here) as back:
        out.pass_more()
        back.pass_more()
        host.host.kill_agent()
        out.pass_more()
        back.pass_more()
        # The new one has come so far as to know, and found nothing to do.
        key = bgp_config_key(host.name, "loglevel")
        cluster.commit(Put(key, b"loud"))
        until(lambda: key in host.problems(), "it reads what routing needs")
        cluster.commit(Delete(key))
        until(lambda: key not in host.problems(), "it is mended")
    assert (out.missing(), back.missing()) == (set(), set())
    assert (host.bird.last_reconfiguration(), _config(host)) == before


def test_missing_bird_is_named_and_finds_its_configuration(cluster: Cluster) -> None:
    host, other = cluster.hosts[3], cluster.hosts[2]
    host.bird.end()
    until(lambda: "BIRD" in host.problems(), "BIRD is missed")
    assert "not running" in host.problems()["BIRD"]
    block = ip_network("10.65.3.64/26")
    with _while(cluster, Put(ipam_affinity_key(host.name, block), b"")):
        until(lambda: str(block) in _config(host), "the file does not wait for BIRD")
        host.bird.start()
        other.await_route(str(block), via=ipv4_of(3))
        until(lambda: host.problems() == {}, "all is well")


HOSTILE = (
    "192.0.2.9; protocol static evil { ipv4; route 0.0.0.0/0 blackhole; }",
    '192.0.2.9" ; include "/etc/passwd',
    "192.0.2.9 as 1;\n}\nprotocol static evil {",
    "}}}}",
    "fe80::9%eth0",
    "\0",
)


def _names(host: RoutedHost, key: str) -> bool:
    return key in host.problems()


def test_value_that_tries_to_be_configuration_is_named(cluster: Cluster) -> None:
    host, other = cluster.hosts[1], cluster.hosts[2]
    await_arrival(host.host.workloads["w1"], other.host.workloads["w2"])
    before = {n: _config(each) for n, each in cluster.hosts.items()}
    peer = bgp_peer_key(None, ipv4_of(9))
    level = bgp_config_key(None, "loglevel")
    for hostile in HOSTILE:
        text = hostile.encode()
        name = f"/calico/bgp/v1/host/{hostile.replace('/', '')}/ip_addr_v4"
        odd = name.replace("\0", "%00")
        planted = (
            Put(bgp_address_key(HostName("h9"), Family.V4), text),
            Put(bgp_as_number_key(HostName("h9")), text),
            Put(peer, b'{"ip": "172.31.0.9", "as_num": "%s"}' % text),
            Put(level, text),
            Put(odd, b"192.0.2.77"),
        )
        with _while(cluster, *planted):
            for each in planted:
                until(partial(_names, host, each.key), f"{each.key} is named")
            assert {n: _config(each) for n, each in cluster.hosts.items()} == before
        until(lambda: host.problems() == {}, "all is well")
    assert set(host.bird.peerings()) == set(_mesh_of(cluster, 1))
    await_arrival(host.host.workloads["w1"], other.host.workloads["w2"])


def test_host_whose_own_address_is_lost_stays_as_it_was(cluster: Cluster) -> None:
    host, other = cluster.hosts[3], cluster.hosts[1]
    before = host.bird.last_reconfiguration(), _config(host)
    key = bgp_address_key(host.name, Family.V4)
    with _while(cluster, Put(key, b"nowhere")):
        until(lambda: key in host.problems(), "it is named here")
        until(lambda: key in other.problems(), "it is named there")
        # The others cannot go on with a host that has no address.
        names = [each for each in _mesh_of(cluster, 1) if each != mesh_names([3])[0]]
        other.await_peers(*names)
        assert (host.bird.last_reconfiguration(), _config(host)) == before


def test_routes_stay_while_the_datastore_is_silent(cluster: Cluster) -> None:
    host, other = cluster.hosts[1], cluster.hosts[2]
    here, there = host.host.workloads["w1"], other.host.workloads["w2"]
    await_arrival(here, there)
    before = host.bird.last_reconfiguration(), _config(host)
    data = cluster.directory / "data"
    with Prober(here, there) as out:
        out.pass_more()
        data.rename(cluster.directory / "lost")
        try:
            until(lambda: "does not exist" in host.host.degraded(), "it is missed")
            out.pass_more()
        finally:
            (cluster.directory / "lost").rename(data)
        until(lambda: not host.host.degraded(), "it is back")
        out.pass_more()
    assert out.missing() == set()
    assert (host.bird.last_reconfiguration(), _config(host)) == before
