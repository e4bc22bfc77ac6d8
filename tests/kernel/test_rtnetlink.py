"""Route netlink against the kernel, in namespaces of its own."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from uuid import uuid4

import pytest

from calico.linux.namespace import call_inside, open_namespace
from calico.linux.routes import put_default, read_defaults, restore_defaults
from calico.linux.rtmessage import Attributes, Flag, Kind, Message
from calico.linux.rtnetlink import LINK_EVENTS, Netlink, NetlinkRefused
from calico.model.errors import Unavailable

pytestmark = pytest.mark.kernel

OURS = 80


def run(*words: str) -> str:
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def name() -> Iterator[str]:
    made = f"ctrt-{uuid4().hex[:8]}"
    run("ip", "netns", "add", made)
    yield made
    run("ip", "netns", "del", made)


@pytest.fixture
def namespace(name: str) -> Iterator[int]:
    with open_namespace(f"/run/netns/{name}") as fd:
        yield fd


@pytest.fixture
def sock(namespace: int) -> Iterator[Netlink]:
    with call_inside(namespace, Netlink) as opened:
        yield opened


def ip(name: str, words: str) -> str:
    return run("ip", "-n", name, *words.split())


def add_wire(name: str, interface: str) -> int:
    ip(name, f"link add {interface} type veth peer name {interface}-peer")
    ip(name, f"link set {interface} up")
    ip(name, f"link set {interface}-peer up")
    return int(ip(name, f"-o link show {interface}").partition(":")[0])


def route(address: str, index: int, proto: int = OURS) -> Message:
    fields = {
        "family": 2,
        "dst_len": 32,
        "table": 254,
        "proto": proto,
        "scope": 253,
        "type": 1,
    }
    packed = ip_address(address).packed
    attributes: Attributes = (("RTA_DST", packed), ("RTA_OIF", index))
    return Message(Kind.NEWROUTE, fields, attributes, Flag.CREATE | Flag.REPLACE)


def link(name: str) -> Message:
    return Message(Kind.GETLINK, {}, (("IFLA_IFNAME", name),))


def test_socket_talks_to_the_namespace_it_was_made_in_from_any_thread(
    name: str, sock: Netlink
) -> None:
    index = add_wire(name, "w0")
    found: list[Message] = []
    thread = threading.Thread(target=lambda: found.extend(sock.request(link("w0"))))
    thread.start()
    thread.join()
    found.extend(sock.request(link("w0")))
    assert [each.fields["index"] for each in found] == [index, index]
    assert {each.text("IFLA_IFNAME") for each in found} == {"w0"}
    assert all(len(each.octets("IFLA_ADDRESS")) == 6 for each in found)


def test_socket_works_in_a_forked_child(namespace: int) -> None:
    child = os.fork()
    if child == 0:
        try:
            with call_inside(namespace, Netlink) as opened:
                (found,) = opened.request(link("lo"))
            os._exit(0 if found.text("IFLA_IFNAME") == "lo" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def held() -> tuple[int, int]:
    """Count what is open, besides the directory that is read for it."""
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


def test_nothing_stays_open(namespace: int) -> None:
    call_inside(namespace, Netlink).close()
    before = held()
    for _ in range(5):
        for groups in (0, LINK_EVENTS):
            opened = call_inside(namespace, partial(Netlink, groups))
            opened.request(link("lo"))
            opened.close()
            opened.close()
    assert held() == before


def test_closed_socket_is_unavailable(namespace: int) -> None:
    sock = call_inside(namespace, Netlink)
    sock.close()
    with pytest.raises(Unavailable):
        sock.request(link("lo"))


def test_refusal_has_the_words_of_the_kernel(sock: Netlink) -> None:
    with pytest.raises(NetlinkRefused) as caught:
        sock.request(link("absent"))
    assert caught.value.errno == errno.ENODEV
    assert caught.value.reason == os.strerror(errno.ENODEV)
    unheard = Message(Kind.NEWROUTE, {"family": 2, "dst_len": 33}, (), Flag.CREATE)
    with pytest.raises(NetlinkRefused) as caught:
        sock.request(unheard)
    assert caught.value.reason == f"Invalid prefix length ({os.strerror(errno.EINVAL)})"


def test_refused_request_does_not_stop_the_next(name: str, sock: Netlink) -> None:
    index = add_wire(name, "w0")
    there = [route(f"10.9.{n // 250}.{n % 250}", index) for n in range(1000)]
    requests = [each for good in there for each in (good, route("10.8.0.1", 9999))]
    answers = sock.send(requests)
    assert answers[::2] == [None] * 1000
    assert [each.errno for each in answers[1::2] if each] == [errno.ENODEV] * 1000
    assert len(ip(name, f"route show proto {OURS}").splitlines()) == 1000


def test_listing_selects_by_protocol(name: str, sock: Netlink) -> None:
    index = add_wire(name, "w0")
    sock.send([route("10.9.0.1", index), route("10.9.0.2", index, proto=4)])
    fields = {"family": 2, "proto": OURS}
    (found,) = sock.dump(Message(Kind.GETROUTE, fields))
    assert IPv4Address(found.octets("RTA_DST")) == IPv4Address("10.9.0.1")
    assert found.number("RTA_OIF") == index


def test_overrun_is_told_and_events_go_on(name: str, namespace: int) -> None:
    index = add_wire(name, "w0")
    with (
        call_inside(namespace, lambda: Netlink(LINK_EVENTS)) as events,
        call_inside(namespace, Netlink) as sock,
    ):
        flips = [
            Message(Kind.NEWLINK, {"index": index, "flags": n % 2, "change": 1})
            for n in range(1000)
        ]
        sock.send(flips)
        assert events.read_events() is None
        last = flips[-1].fields["flags"]
        sock.send([Message(Kind.NEWLINK, {"index": index, "flags": 0, "change": 1})])
        sock.send([flips[-1]])
        while True:
            heard = events.read_events() or []
            if any(
                each.kind is Kind.NEWLINK and each.fields["flags"] & 1 == last
                for each in heard
            ):
                break


DEFAULTS = (
    "default via 10.1.0.9 dev w0 onlink src 10.0.0.1 metric 0 mtu 1400 advmss 1300",
    "default metric 0 nexthop via 10.0.0.9 dev w0 weight 3 "
    "nexthop via 10.0.0.8 dev w0 weight 1",
    "default nhid 7 metric 0",
    "default dev w0 scope link proto dhcp metric 0",
)


@pytest.mark.parametrize("words", DEFAULTS)
def test_default_route_gives_way_and_comes_back_with_all_it_says(
    name: str, sock: Netlink, words: str
) -> None:
    add_wire(name, "w0")
    ours = add_wire(name, "w1")
    ip(name, "addr add 10.0.0.1/24 dev w0")
    ip(name, "nexthop add id 7 via 10.0.0.7 dev w0")
    ip(name, f"route add {words}")
    before = ip(name, "-d route show default")
    defaults = read_defaults(sock)
    ip(name, "route add 169.254.1.1 dev w1 scope link")
    put_default(sock, ours, IPv4Address("169.254.1.1"))
    first, rest = ip(name, "-d route show default").split("\n", 1)
    assert "via 169.254.1.1 dev w1" in first
    assert "metric 1" in rest
    assert without_metric(rest) == without_metric(before)
    ip(name, "route del default via 169.254.1.1")
    restore_defaults(sock, defaults)
    assert ip(name, "-d route show default") == before


def without_metric(shown: str) -> list[str]:
    return shown.replace("metric 1 ", "").split()


def test_default_route_of_the_other_family_keeps_its_preference(
    name: str, sock: Netlink
) -> None:
    add_wire(name, "w0")
    ours = add_wire(name, "w1")
    ip(name, "addr add fd00::1/64 dev w0 nodad")
    ip(name, "route add default via fd00::9 dev w0 metric 1024 pref high mtu 1300")
    before = ip(name, "-6 route show default")
    defaults = read_defaults(sock)
    put_default(sock, ours, ip_address("fe80::1"))
    moved = before.replace("metric 1024", "metric 1025")
    assert moved in ip(name, "-6 route show default")
    ip(name, "-6 route del default via fe80::1 dev w1")
    restore_defaults(sock, defaults)
    assert ip(name, "-6 route show default") == before


def test_library_is_not_loaded_before_a_socket_is_opened() -> None:
    text = "import sys, calico.linux.veth; sys.exit('pyroute2' in sys.modules)"
    source = Path(__file__).parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source)}
    subprocess.run([sys.executable, "-c", text], check=True, env=environment)
