"""What the agent does to links, against the kernel, in a namespace of its own."""

import errno
import os
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from uuid import uuid4

import pytest

from calico.linux.host_links import (
    ROUTE_PROTOCOL,
    KernelRoute,
    Link,
    LinkEvent,
    LinkEvents,
    RouteSocket,
    delete_link,
    delete_neighbour,
    delete_route,
    replace_neighbour,
    replace_route,
    set_up,
)
from calico.linux.namespace import call_inside, open_namespace

pytestmark = pytest.mark.kernel

MAC = bytes.fromhex("020000000001")
BOTH = [ip_address("10.9.0.1"), ip_address("fd00::1")]


def run(*words: str) -> str:
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return done.stdout


def ip(name: str, words: str) -> str:
    return run("ip", "-n", name, *words.split())


@pytest.fixture
def name() -> Iterator[str]:
    made = f"ctrt-{uuid4().hex[:8]}"
    run("ip", "netns", "add", made)
    ip(made, "link add w0 type veth peer name w1")
    yield made
    run("ip", "netns", "del", made)


@pytest.fixture
def routes(name: str) -> Iterator[RouteSocket]:
    with open_namespace(f"/run/netns/{name}") as namespace:
        opened = call_inside(namespace, RouteSocket)
    yield opened
    opened.close()


@pytest.fixture
def events(name: str) -> Iterator[LinkEvents]:
    with open_namespace(f"/run/netns/{name}") as namespace:
        opened = call_inside(namespace, LinkEvents)
    yield opened
    opened.close()


def find(routes: RouteSocket, name: str) -> Link:
    (found,) = (link for link in routes.list_links() if link.name == name)
    return found


def test_links_are_listed_brought_up_and_deleted(
    name: str, routes: RouteSocket
) -> None:
    before = find(routes, "w0")
    assert not before.is_up
    assert before.mac.hex(":") in ip(name, "link show w0")
    assert routes.send([set_up(before)]) == []
    assert find(routes, "w0") == Link(before.index, "w0", is_up=True, mac=before.mac)
    assert routes.send([delete_link(before)]) == []
    assert [link.name for link in routes.list_links()] == ["lo"]
    ((refused, number),) = routes.send([set_up(before)])
    assert (refused.what, refused.interface) == ("bringing w0 up", "w0")
    assert number == errno.ENODEV


def test_routes_and_neighbours_come_and_go(name: str, routes: RouteSocket) -> None:
    link = find(routes, "w0")
    made = [set_up(link)]
    for address in BOTH:
        made += [replace_route(address, link), replace_neighbour(address, MAC, link)]
    assert routes.send(made) == []
    assert routes.send(made) == []
    ip(name, "route add 10.9.0.2 dev w0 proto static")
    ip(name, f"route add 10.9.1.0/24 dev w0 proto {ROUTE_PROTOCOL}")
    ours = [KernelRoute(address, link.index) for address in BOTH]
    assert sorted(routes.list_routes(), key=str) == sorted(ours, key=str)
    shown = ip(name, "neigh show nud permanent")
    for address in BOTH:
        assert f"{address} dev w0 lladdr {MAC.hex(':')} PERMANENT" in shown
    gone = [
        *map(delete_route, ours),
        *(delete_neighbour(address, link) for address in BOTH),
    ]
    assert routes.send(gone) == []
    assert routes.list_routes() == []
    assert "PERMANENT" not in ip(name, "neigh show nud permanent")
    assert [number for _, number in routes.send(gone)] == [
        errno.ESRCH,
        errno.ESRCH,
        errno.ENOENT,
        errno.ENOENT,
    ]


def test_own_addresses_are_listed_with_their_interface(
    name: str, routes: RouteSocket
) -> None:
    ip(name, "addr add 10.9.0.1/32 peer 10.9.0.2 dev w0")
    ip(name, "addr add fd00::1/64 dev w0 nodad")
    index = find(routes, "w0").index
    assert set(routes.list_addresses()) >= {(each, index) for each in BOTH}


def test_thousand_routes_are_made_around_one_that_is_refused(
    routes: RouteSocket,
) -> None:
    link = find(routes, "w0")
    absent = Link(9999, "absent", is_up=True, mac=b"")
    wanted = [ip_address(f"10.9.{n // 250}.{n % 250}") for n in range(1000)]
    requests = [replace_route(address, link) for address in wanted]
    requests.insert(500, replace_route(wanted[0], absent))
    assert routes.send([set_up(link)]) == []
    refused = routes.send(requests)
    assert [(each.interface, number) for each, number in refused] == [
        ("absent", errno.ENODEV)
    ]
    assert {route.address for route in routes.list_routes()} == set(wanted)


def test_events_say_what_became_of_a_link(
    routes: RouteSocket, events: LinkEvents
) -> None:
    link = find(routes, "w0")
    routes.send([set_up(link), delete_link(link)])
    heard: list[LinkEvent] = []
    while not heard or heard[-1].exists or heard[-1].link.name != "w0":
        heard += events.read() or []
    assert any(each.exists and each.link.is_up for each in heard)
    assert {each.link.index for each in heard if each.link.name == "w0"} == {link.index}


def test_nothing_but_the_socket_is_open() -> None:
    RouteSocket().close()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- only counted
    opened = RouteSocket()
    opened.list_links()
    assert len(os.listdir("/proc/self/fd")) == before + 1  # noqa: PTH208 -- same
    opened.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 -- same
