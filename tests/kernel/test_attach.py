"""Workloads connected to this host, in namespaces of a real kernel.

No agent runs here: the host's ends of the veths stay down, which is how they
have to be left.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from threading import Thread
from typing import cast
from uuid import uuid4

import pytest

from calico.attach.addresses import Inside, add_address, remove_address
from calico.attach.choices import AnyAddress, parse_choice
from calico.attach.errors import (
    AddressNotHeld,
    AlreadyAttached,
    BadAddress,
    HostNamespace,
    NoSuchPool,
    UnknownWorkload,
)
from calico.attach.in_force import wait_able_to_send
from calico.attach.site import Site
from calico.attach.workload import (
    Attached,
    Connection,
    attach_workload,
    container_at,
    detach_all,
    detach_workload,
)
from calico.codec.block_json import decode_block
from calico.codec.keys import (
    HOST_PREFIX,
    IPAM_HANDLE_PREFIX,
    decode_ipam_block_key,
)
from calico.ipam.blocks import allocated
from calico.ipam.errors import AlreadyAssigned, PoolNotFound
from calico.ipam.release import read_attributes
from calico.linux.namespace import NamespaceMissing, open_namespace
from calico.linux.veth import InterfaceExists, InterfaceMissing, Workload
from calico.model.errors import CalicoError, Conflict, OutcomeUnknown
from calico.model.names import HostName, InterfaceName, ProfileId
from calico.model.network import Pool
from calico.model.snapshot import PoolKey
from calico.netset import Address, Family
from calico.store.api import (
    Decide,
    KeyValue,
    Note,
    Revision,
    Scope,
    Store,
    T,
    Transaction,
)
from calico.store.resources import put_resource
from calico.store.sqlite import SqliteStore

pytestmark = pytest.mark.kernel

HOST = HostName("h.example")
NOTE = Note("tester", HOST, "test")
POOLS = ("10.77.0.0/24", "fd77::/64")


def run(*words: str) -> str:
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return done.stdout


def names_in(shown: str) -> list[str]:
    lines = shown.splitlines()
    return sorted(line.split(":")[1].split("@")[0].strip() for line in lines)


def links(namespace: str) -> list[str]:
    """List the interfaces inside a namespace."""
    return names_in(run("ip", "-n", namespace, "-o", "link", "show"))


def ends(namespace: str) -> list[str]:
    """List the interfaces here whose other end is in a namespace."""
    shown = run("ip", "-o", "link", "show", "type", "veth").splitlines()
    mark = f"link-netns {namespace}"
    return names_in("\n".join(line for line in shown if mark in line))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    store = SqliteStore.open(tmp_path / "data")
    for text in POOLS:
        cidr = ip_network(text)
        put = put_resource(PoolKey(cidr), Pool(cidr))
        store.commit(Transaction((), (put,), NOTE))
    yield Site(store, HOST, tmp_path / "run", NOTE)
    store.close()


@contextmanager
def made_namespace() -> Generator[str]:
    name = f"ctip-{uuid4().hex[:8]}"
    run("ip", "netns", "add", name)
    try:
        yield name
    finally:
        # The kernel takes a namespace apart later, on its own time; a veth that
        # is deleted by name is gone at once.
        for link in set(links(name)) - {"lo"}:
            subprocess.run(["ip", "-n", name, "link", "del", link], check=False)
        run("ip", "netns", "del", name)


@pytest.fixture
def namespace() -> Iterator[str]:
    with made_namespace() as name:
        yield name


def path_of(namespace: str) -> str:
    return f"/run/netns/{namespace}"


def connection(namespace: str, *choices: str, interface: str = "eth1") -> Connection:
    path = path_of(namespace)
    return Connection(
        container_at(path),
        path,
        tuple(map(parse_choice, choices)),
        InterfaceName(interface),
    )


def inside(namespace: str, interface: str = "eth1") -> Inside:
    path = path_of(namespace)
    return Inside(container_at(path), path, InterfaceName(interface))


def attach(site: Site, namespace: str, *choices: str) -> Attached:
    return attach_workload(site, connection(namespace, *choices))


def detach(site: Site, namespace: str) -> None:
    detach_workload(site, container_at(path_of(namespace)))


State = tuple[object, ...]


def allocations(item: KeyValue) -> list[tuple[Address, str | None]]:
    network = decode_ipam_block_key(item.key)
    if network is None:
        return []
    found = allocated(decode_block(network, item.value))
    return [(address, known.handle) for address, known in found]


def state(site: Site, namespace: str) -> State:
    """Everything that a command could have left behind, but empty blocks."""
    items = site.store.list_prefix("").items
    return (
        ends(namespace),
        links(namespace),
        run("ip", "-n", namespace, "route"),
        run("ip", "-n", namespace, "-6", "route"),
        run("ip", "-n", namespace, "neigh"),
        run("ip", "-n", namespace, "-o", "addr"),
        [
            (item.key, item.value)
            for item in items
            if item.key.startswith((HOST_PREFIX, IPAM_HANDLE_PREFIX))
        ],
        [taken for item in items for taken in allocations(item)],
    )


def test_workload_gets_addresses_routes_and_neighbours(
    site: Site, namespace: str
) -> None:
    attached = attach(site, namespace, "10.77.0.5", "fd77::5")
    endpoint = attached.endpoint
    assert [str(address) for address in endpoint.addresses] == ["10.77.0.5", "fd77::5"]
    assert endpoint.key.workload == path_of(namespace)
    assert endpoint.interface == f"cali{endpoint.key.endpoint[:11]}"
    assert endpoint.profile_ids == ()

    here = run("ip", "-d", "link", "show", endpoint.interface)
    assert "state DOWN" in here
    assert "link/ether ee:ee:ee:ee:ee:ee" in here
    assert "addrgenmode eui64" in here

    shown = run("ip", "-n", namespace, "addr", "show", "eth1")
    assert endpoint.mac is not None
    assert f"link/ether {endpoint.mac.hex(':')}" in shown
    assert "inet 10.77.0.5/32 scope global eth1" in shown
    assert "inet6 fd77::5/128 scope global nodad" in shown
    assert ",UP" in shown

    routes = run("ip", "-n", namespace, "route")
    assert "default via 169.254.1.1 dev eth1" in routes
    assert "169.254.1.1 dev eth1 scope link" in routes
    gateway = "fe80::ecee:eeff:feee:eeee"
    assert f"default via {gateway} dev eth1" in run(
        "ip", "-n", namespace, "-6", "route"
    )
    neighbours = run("ip", "-n", namespace, "neigh", "show", "nud", "permanent")
    for address in ("169.254.1.1", gateway):
        assert f"{address} dev eth1 lladdr ee:ee:ee:ee:ee:ee PERMANENT" in neighbours


def test_gateway_addresses_are_those_of_the_ends_once_they_are_up(
    site: Site, namespace: str
) -> None:
    endpoint = attach(site, namespace, "fd77::5").endpoint
    run("ip", "link", "set", endpoint.interface, "up")
    shown = run("ip", "-6", "-o", "addr", "show", "dev", endpoint.interface)
    assert "fe80::ecee:eeff:feee:eeee/64" in shown


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_workload_of_one_family_has_nothing_of_the_other(
    site: Site, namespace: str, family: str
) -> None:
    attach(site, namespace, family)
    other = ["-6"] if family == "ipv4" else ["-4"]
    assert "default" not in run("ip", "-n", namespace, *other, "route")
    assert "scope global" not in run("ip", "-n", namespace, *other, "addr")


def test_other_default_routes_give_way(site: Site, namespace: str) -> None:
    run("ip", "-n", namespace, "link", "add", "d0", "type", "veth", "peer", "d1")
    for device in ("d0", "d1"):
        run("ip", "-n", namespace, "link", "set", device, "up")
    run("ip", "-n", namespace, "addr", "add", "10.9.9.9/24", "dev", "d0")
    run("ip", "-n", namespace, "route", "add", "default", "via", "10.9.9.1")
    run("ip", "-n", namespace, "route", "add", "default", "via", "10.9.9.2",
        "metric", "1")  # fmt: skip
    attach(site, namespace, "ipv4")
    routes = run("ip", "-n", namespace, "route").splitlines()
    assert [line.strip() for line in routes if line.startswith("default")] == [
        "default via 169.254.1.1 dev eth1 linkdown",
        "default via 10.9.9.2 dev d0 metric 1",
        "default via 10.9.9.1 dev d0 metric 2",
    ]


def test_taking_off_leaves_nothing(site: Site, namespace: str) -> None:
    before = state(site, namespace)
    attach(site, namespace, "ipv4", "ipv6")
    assert state(site, namespace) != before
    detach(site, namespace)
    assert state(site, namespace) == before
    with pytest.raises(UnknownWorkload):
        detach(site, namespace)


def test_same_namespace_under_another_path_is_refused(
    site: Site, namespace: str, tmp_path: Path
) -> None:
    attach(site, namespace, "10.77.0.5")
    before = state(site, namespace)
    link = tmp_path / "link"
    link.symlink_to(path_of(namespace))
    bound = tmp_path / "bound"
    bound.touch()
    run("mount", "--bind", path_of(namespace), str(bound))
    try:
        for path in (path_of(namespace), f"/var{path_of(namespace)}", link, bound):
            again = Connection(
                container_at(str(path)), str(path), (AnyAddress(Family.V4),)
            )
            with pytest.raises(AlreadyAttached):
                attach_workload(site, again)
    finally:
        run("umount", str(bound))
    assert state(site, namespace) == before


@pytest.mark.parametrize(
    ("choices", "error"),
    [
        (["10.1.2.3"], PoolNotFound),
        (["10.77.0.9"], AlreadyAssigned),
        (["10.77.0.8", "10.77.0.9"], AlreadyAssigned),
        (["ipv4", "fd99::1"], PoolNotFound),
        (["10.99.0.0/24"], NoSuchPool),
    ],
)
def test_address_that_cannot_be_had_leaves_nothing(
    site: Site, namespace: str, choices: list[str], error: type[CalicoError]
) -> None:
    with made_namespace() as other:
        attach(site, other, "10.77.0.9")
        before = state(site, namespace)
        with pytest.raises(error):
            attach(site, namespace, *choices)
        assert state(site, namespace) == before


def test_interface_that_exists_leaves_nothing(site: Site, namespace: str) -> None:
    run("ip", "-n", namespace, "link", "add", "eth1", "type", "veth")
    before = state(site, namespace)
    with pytest.raises(InterfaceExists, match="interface eth1 exists"):
        attach(site, namespace, "ipv4")
    assert state(site, namespace) == before
    attached = attach_workload(site, connection(namespace, "ipv4", interface="cal0"))
    assert "cal0" in links(namespace)
    assert attached.address in ip_network(POOLS[0])


def test_workload_is_coming_up_from_carrier_until_it_can_send(
    site: Site, namespace: str
) -> None:
    wanted = connection(namespace, "ipv4")
    here = attach_workload(site, wanted).endpoint.interface
    with (
        open_namespace(path_of(namespace)) as held,
        closing(Workload(held, wanted.interface)) as workload,
    ):
        assert not workload.is_coming_up()
        # So the kernel's link watch leaves it where it is.
        run("ip", "-n", namespace, "link", "set", "eth1", "mode", "dormant")
        run("ip", "link", "set", here, "up")
        assert workload.is_coming_up()
        wait_able_to_send(wanted, 0.0)
        assert workload.is_coming_up()
        switch = Thread(target=switch_up, args=(namespace,))
        switch.start()
        wait_able_to_send(wanted, 30.0)
        assert not workload.is_coming_up()
        switch.join()
        run("ip", "link", "set", here, "down")
        assert not workload.is_coming_up()
    run("ip", "-n", namespace, "link", "del", "eth1")
    wait_able_to_send(wanted, 30.0)


def switch_up(namespace: str) -> None:
    # Without effect until the link watch has seen the carrier.
    while "state DORMANT" not in run("ip", "-n", namespace, "link", "show", "eth1"):
        pass
    run("ip", "-n", namespace, "link", "set", "eth1", "state", "up")


@pytest.mark.parametrize("path", ["/run/netns/none", "/etc/passwd", "/dev/null", "/"])
def test_path_that_is_no_namespace_leaves_nothing(
    site: Site, namespace: str, path: str
) -> None:
    before = state(site, namespace)
    wanted = Connection(container_at(path), path, (AnyAddress(Family.V4),))
    with pytest.raises(NamespaceMissing, match=path):
        attach_workload(site, wanted)
    assert state(site, namespace) == before


def test_namespace_of_the_host_is_refused(site: Site) -> None:
    path = "/proc/self/ns/net"
    wanted = Connection(container_at(path), path, (AnyAddress(Family.V4),))
    with pytest.raises(HostNamespace):
        attach_workload(site, wanted)


class Interrupted:
    """A store in which something happens at the n-th write.

    Everything else is the real store's.
    """

    def __init__(self, store: Store, n: int, happen: Callable[[], None]) -> None:
        self._store = store
        self._left = n
        self._happen = happen

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def commit(self, transaction: Transaction) -> Revision:
        self._count()
        return self._store.commit(transaction)

    def update(self, scope: Scope, decide: Decide[T]) -> tuple[Revision, T]:
        self._count()
        return self._store.update(scope, decide)

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._happen()


def interrupted(site: Site, n: int, happen: Callable[[], None]) -> Site:
    # Whatever is not counted is forwarded, which no type checker sees.
    return replace(site, store=cast("Store", Interrupted(site.store, n, happen)))


def fail_with(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize(
    "error",
    [Conflict("key", 1, 2), OutcomeUnknown("store", "lost"), KeyboardInterrupt()],
)
def test_failure_at_any_write_leaves_nothing(
    site: Site, namespace: str, n: int, error: Exception
) -> None:
    run("ip", "-n", namespace, "link", "set", "lo", "up")
    run("ip", "-n", namespace, "route", "add", "default", "dev", "lo")
    before = state(site, namespace)
    wanted = connection(namespace, "10.77.0.5", "10.77.0.6")
    with pytest.raises(type(error)):
        attach_workload(interrupted(site, n, fail_with(error)), wanted)
    assert state(site, namespace) == before


def killed_at(site: Site, n: int, act: Callable[[Site], object]) -> None:
    """Act in a process of its own that is killed at its n-th write."""
    pid = os.fork()
    if pid == 0:
        # SQLite's connections do not survive a fork: a store of the child's own.
        data = Path(str(site.run_dir)).parent / "data"
        own = replace(site, store=SqliteStore.open(data))
        act(interrupted(own, n, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("n", [1, 2, 3])
def test_kill_leaves_nothing_open_and_adding_again_works(
    site: Site, namespace: str, n: int
) -> None:
    before = state(site, namespace)
    wanted = connection(namespace, "10.77.0.5", "10.77.0.6")
    killed_at(site, n, lambda own: attach_workload(own, wanted))
    assert site.store.list_prefix(HOST_PREFIX).items == ()
    for address in wanted.choices:
        assert not isinstance(address, AnyAddress)
        known = read_attributes(site.store, address)
        assert known is None or known.handle is not None
    for link in ends(namespace):
        assert "state DOWN" in run("ip", "link", "show", link)
    attached = attach_workload(site, wanted)
    assert ends(namespace) == [attached.endpoint.interface]
    detach(site, namespace)
    assert state(site, namespace) == before


@pytest.mark.parametrize("n", [1, 2, 3])
def test_kill_while_taking_off_is_finished_by_the_next_call(
    site: Site, namespace: str, n: int
) -> None:
    before = state(site, namespace)
    attach(site, namespace, "10.77.0.5", "fd77::5")
    container = container_at(path_of(namespace))
    if n < 3:
        killed_at(site, n, lambda own: detach_workload(own, container))
        detach(site, namespace)
    else:
        detach(site, namespace)
    assert state(site, namespace) == before


def test_second_family_comes_later_and_goes_again(site: Site, namespace: str) -> None:
    attach(site, namespace, "10.77.0.5")
    before = run("ip", "-n", namespace, "-6", "route")
    added = add_address(site, inside(namespace), ip_address("fd77::5"))
    assert set(map(str, added.endpoint.addresses)) == {"10.77.0.5", "fd77::5"}
    assert "default via fe80::" in run("ip", "-n", namespace, "-6", "route")
    removed = remove_address(site, inside(namespace), ip_address("fd77::5"))
    assert [str(address) for address in removed.endpoint.addresses] == ["10.77.0.5"]
    assert run("ip", "-n", namespace, "-6", "route") == before
    assert read_attributes(site.store, ip_address("fd77::5")) is None
    assert "10.77.0.5/32" in run("ip", "-n", namespace, "addr")


def test_adding_keeps_profiles_that_were_set_meanwhile(
    site: Site, namespace: str
) -> None:
    attached = attach_workload(
        site,
        replace(connection(namespace, "ipv4"), profile_ids=(ProfileId("WEB"),)),
    )
    assert attached.endpoint.profile_ids == ("WEB",)
    added = add_address(site, inside(namespace), AnyAddress(Family.V4))
    assert added.endpoint.profile_ids == ("WEB",)


@pytest.mark.parametrize(
    ("choice", "interface", "error"),
    [
        ("10.77.0.5", "eth1", AlreadyAssigned),
        ("10.1.2.3", "eth1", PoolNotFound),
        ("10.1.2.0/24", "eth1", NoSuchPool),
        ("ipv4", "eth7", InterfaceMissing),
    ],
)
def test_failing_addition_leaves_nothing(
    site: Site, namespace: str, choice: str, interface: str, error: type[CalicoError]
) -> None:
    attach(site, namespace, "10.77.0.5")
    before = state(site, namespace)
    with pytest.raises(error):
        add_address(site, inside(namespace, interface), parse_choice(choice))
    assert state(site, namespace) == before


@pytest.mark.parametrize("choice", ["10.77.0.6", "fd77::6"])
def test_failing_write_of_an_addition_leaves_nothing(
    site: Site, namespace: str, choice: str
) -> None:
    attach(site, namespace, "10.77.0.5")
    before = state(site, namespace)
    for n in (1, 2, 3):
        # The first write gives back what a killed command left.
        broken = interrupted(site, n, fail_with(Conflict("key", 1, 2)))
        with pytest.raises(Conflict):
            add_address(broken, inside(namespace), parse_choice(choice))
        assert state(site, namespace) == before


def test_failing_write_of_a_removal_leaves_all(site: Site, namespace: str) -> None:
    attach(site, namespace, "10.77.0.5", "10.77.0.6")
    before = state(site, namespace)
    for n in (1, 2):
        broken = interrupted(site, n, fail_with(Conflict("key", 1, 2)))
        with pytest.raises(Conflict):
            remove_address(broken, inside(namespace), ip_address("10.77.0.5"))
        assert state(site, namespace)[:6] == before[:6]
        assert state(site, namespace)[7] == before[7]


def test_killed_addition_can_be_made_again(site: Site, namespace: str) -> None:
    attach(site, namespace, "10.77.0.5")
    wanted = ip_address("10.77.0.6")
    killed_at(site, 3, lambda own: add_address(own, inside(namespace), wanted))
    assert read_attributes(site.store, wanted) is not None
    added = add_address(site, inside(namespace), wanted)
    assert wanted in added.endpoint.addresses


def test_address_of_nobody_cannot_be_removed(site: Site, namespace: str) -> None:
    with pytest.raises(UnknownWorkload):
        remove_address(site, inside(namespace), ip_address("10.77.0.5"))
    attach(site, namespace, "10.77.0.5")
    with pytest.raises(AddressNotHeld):
        remove_address(site, inside(namespace), ip_address("10.77.0.6"))


def test_all_workloads_of_a_host_are_taken_off(site: Site, namespace: str) -> None:
    before = state(site, namespace)
    with made_namespace() as other:
        attach(site, namespace, "ipv4")
        attach(site, other, "ipv6")
        assert len(detach_all(site)) == 2
        assert state(site, namespace) == before


def test_workload_whose_namespace_is_gone_can_be_taken_off(site: Site) -> None:
    with made_namespace() as name:
        attach(site, name, "10.77.0.5")
    detach(site, name)
    assert site.store.list_prefix(HOST_PREFIX).items == ()
    assert read_attributes(site.store, ip_address("10.77.0.5")) is None


@pytest.mark.parametrize("text", ["", "10.77", "ipv5", "fe80::1%eth0", "10.0.0.0/33"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_choice(text)


def test_unknown_workload_is_named_as_the_user_wrote_it(site: Site) -> None:
    with pytest.raises(UnknownWorkload) as caught:
        detach_workload(site, container_at("/x/../y"))
    assert str(caught.value) == "Container /x/../y is unknown to Calico."
