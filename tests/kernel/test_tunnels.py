"""Tunnels in the kernel: what is left behind, of others, or not as it should be."""

import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from agent_host import Namespace, namespace

from calico.ir.overlay import NO_OVERLAY, Overlay, Tunnel, tunnel_mac
from calico.ir.routing import Carrier
from calico.linux.host_links import Link, LinkEvent
from calico.linux.namespace import call_inside, open_namespace
from calico.linux.rtnetlink import Netlink
from calico.linux.tunnels import Tunnels, remove_tunnels

pytestmark = pytest.mark.kernel

LOCAL, FAR, FARTHER = (IPv4Address(f"172.31.0.{n}") for n in (1, 2, 3))
OWN4, OWN6 = ip_address("10.65.0.1"), ip_address("fd80::1")
BLOCK4, BLOCK6 = ip_network("10.65.1.0/26"), ip_network("fd80::40/122")
OWN_BLOCK4, OWN_BLOCK6 = ip_network("10.65.0.0/26"), ip_network("fd80::/122")
NAME = "vxlan.calico"

OVERLAY = Overlay(
    {Carrier.VXLAN: Tunnel(LOCAL, frozenset({OWN4, OWN6}), {BLOCK4: FAR, BLOCK6: FAR})},
    frozenset({OWN_BLOCK4, OWN_BLOCK6}),
)


class Host:
    """A namespace with an underlay, and what is sent to its kernel."""

    def __init__(self, space: Namespace) -> None:
        self.space = space
        self.ip("link add up0 mtu 1400 type veth peer name up1")
        self.ip(f"addr add {LOCAL}/24 dev up0")
        self.ip("link set up0 up")
        with open_namespace(space.path) as inside:
            self.netlink = call_inside(inside, Netlink)

    def ip(self, words: str) -> str:
        return self.space.run("ip", *words.split())

    def link(self, name: str = NAME) -> dict[str, object] | None:
        links: list[dict[str, object]] = json.loads(self.ip("-j -d link show"))
        return next((each for each in links if each["ifname"] == name), None)

    def routes(self) -> set[str]:
        lines = (self.ip("-4 route show") + self.ip("-6 route show")).splitlines()
        return {" ".join(each.split()) for each in lines if " proto 81" in each}

    def shows(self) -> dict[str, object]:
        """Say everything that belongs to the overlay."""
        device = self.link()
        if device is None:
            return {"device": None, "routes": self.routes()}
        fdb = self.space.run("bridge", "fdb", "show", "dev", NAME)
        return {
            "device": (device["address"], device["mtu"], device["flags"]),
            "addresses": self.ip(f"-br addr show dev {NAME}").split()[2:],
            "neighbours": set(
                (
                    self.ip(f"-4 neigh show dev {NAME}")
                    + self.ip(f"-6 neigh show dev {NAME}")
                ).splitlines()
            ),
            "forwarding": set(fdb.splitlines()),
            "routes": self.routes(),
        }


@pytest.fixture
def host() -> Iterator[Host]:
    with namespace() as space:
        made = Host(space)
        with made.netlink:
            yield made


def apply(host: Host, overlay: Overlay) -> dict[str, object]:
    """Make an agent that is started anew reach an overlay, without a complaint."""
    tunnels = Tunnels(host.netlink)
    tunnels.apply(overlay)
    assert tunnels.problems == {}
    return host.shows()


def test_device_knows_the_other_ends_and_nothing_else(host: Host) -> None:
    shown = apply(host, OVERLAY)
    mac = tunnel_mac(FAR).hex(":")
    device = host.link()
    assert device is not None
    # What the underlay takes, without what is put around.
    assert (device["mtu"], device["address"]) == (1350, tunnel_mac(LOCAL).hex(":"))
    assert shown["forwarding"] == {f"{mac} dst {FAR} self permanent"}
    hop6 = "fe80::cca:acff:fe1f:2"
    assert shown["neighbours"] == {
        f"{FAR} lladdr {mac} PERMANENT ",
        f"{hop6} lladdr {mac} PERMANENT ",
    }
    starts = (
        f"{BLOCK4} via {FAR} dev {NAME} proto 81 onlink",
        f"{BLOCK6} via {hop6} dev {NAME} proto 81",
        f"blackhole {OWN_BLOCK4} proto 81",
        f"blackhole {OWN_BLOCK6} dev lo proto 81",
    )
    assert len(host.routes()) == len(starts)
    for start in starts:
        assert any(each.startswith(start) for each in host.routes()), start


def test_next_agent_changes_nothing_that_is_right(host: Host) -> None:
    before = apply(host, OVERLAY)
    index = (host.link() or {})["ifindex"]
    # Its own addresses are not known to it yet.
    tunnel = OVERLAY.tunnels[Carrier.VXLAN]
    unknown = Tunnel(tunnel.local, None, tunnel.routes)
    again = Overlay({Carrier.VXLAN: unknown}, OVERLAY.own_blocks)
    assert apply(host, again) == before
    assert (host.link() or {})["ifindex"] == index


@pytest.mark.parametrize(
    "found",
    [
        f"link add {NAME} type vxlan id 4096 dstport 4789 local 172.31.0.9 nolearning",
        f"link add {NAME} type vxlan id 4097 dstport 4789 local {LOCAL} nolearning",
        f"link add {NAME} type vxlan id 4096 dstport 4790 local {LOCAL} nolearning",
        f"link add {NAME} type vxlan id 4096 dstport 4789 local {LOCAL}",
        f"link add {NAME} type vxlan id 4096 dstport 4789 local {LOCAL} nolearning",
    ],
    ids=["local", "identifier", "port", "learning", "mac"],
)
def test_device_that_is_not_as_it_should_be_is_made_anew(
    host: Host, found: str
) -> None:
    wanted = apply(host, OVERLAY)
    host.ip(f"link del {NAME}")
    host.ip(found)
    index = (host.link() or {})["ifindex"]
    assert apply(host, OVERLAY) == wanted
    assert (host.link() or {})["ifindex"] != index


def test_what_was_left_behind_goes(host: Host) -> None:
    wanted = apply(host, OVERLAY)
    mac = tunnel_mac(FARTHER).hex(":")
    for words in (
        f"neigh add {FARTHER} lladdr {mac} dev {NAME} nud permanent",
        f"route add 10.65.9.0/26 via {FAR} dev {NAME} onlink proto 81",
        "route add blackhole 10.65.8.0/26 proto 81",
        "-6 route add blackhole fd80::80/122 proto 81",
        f"addr add 10.65.0.9/32 dev {NAME}",
        f"link set {NAME} mtu 1300",
    ):
        host.ip(words)
    host.space.run("bridge", *f"fdb add {mac} dst {FARTHER} dev {NAME}".split())
    assert host.shows() != wanted
    assert apply(host, OVERLAY) == wanted


def test_without_an_overlay_everything_goes_and_nothing_of_others(host: Host) -> None:
    others = (
        "link add vx0 type vxlan id 77 dstport 4789 dev up0",
        "link set vx0 up",
        "route add 10.9.0.0/16 dev vx0",
        "route add 10.65.9.0/26 via 172.31.0.9",
        "route add blackhole 10.8.0.0/16 proto 80",
    )
    for words in others:
        host.ip(words)
    before = host.ip("route show"), host.ip("link show vx0")
    apply(host, OVERLAY)
    assert host.ip("route show") != before[0]
    assert remove_tunnels(host.netlink) == {}
    assert host.shows() == {"device": None, "routes": set()}
    assert (host.ip("route show"), host.ip("link show vx0")) == before


def test_block_that_moves_is_reached_at_its_new_host(host: Host) -> None:
    tunnels = Tunnels(host.netlink)
    tunnels.apply(OVERLAY)
    moved = Tunnel(
        LOCAL,
        frozenset({OWN4, OWN6}),
        {BLOCK4: FARTHER, BLOCK6: FARTHER, OWN_BLOCK4: FAR, OWN_BLOCK6: FAR},
    )
    # And what was ours is another's, and the other way round.
    for overlay in (
        Overlay({Carrier.VXLAN: moved}, frozenset()),
        OVERLAY,
        Overlay({Carrier.VXLAN: moved}, frozenset({BLOCK4, BLOCK6})),
    ):
        tunnels.apply(overlay)
        assert tunnels.problems == {}
        by_hand = host.shows()
        # What is reached step by step is what a start reaches at once.
        remove_tunnels(host.netlink)
        assert apply(host, overlay) == by_hand
        tunnels = Tunnels(host.netlink)
        tunnels.apply(overlay)


def test_last_address_that_goes_takes_no_route_with_it(host: Host) -> None:
    tunnels = Tunnels(host.netlink)
    tunnels.apply(OVERLAY)
    before = host.routes()
    tunnel = OVERLAY.tunnels[Carrier.VXLAN]
    bare = Tunnel(tunnel.local, frozenset(), tunnel.routes)
    tunnels.apply(Overlay({Carrier.VXLAN: bare}, OVERLAY.own_blocks))
    assert (tunnels.problems, host.routes()) == ({}, before)
    assert str(OWN4) not in host.ip(f"addr show dev {NAME}")


def test_route_of_another_program_stays_and_is_told(host: Host) -> None:
    host.ip(f"route add {BLOCK4} via 172.31.0.9")
    tunnels = Tunnels(host.netlink)
    tunnels.apply(OVERLAY)
    assert tunnels.problems == {f"route to {BLOCK4}": "File exists"}
    assert f"{BLOCK4} via 172.31.0.9 dev up0" in host.ip("route show")
    # As soon as it is gone, ours comes.
    host.ip(f"route del {BLOCK4} via 172.31.0.9")
    tunnels.resync()
    assert tunnels.problems == {}
    assert any(each.startswith(str(BLOCK4)) for each in host.routes())


def test_interface_of_another_program_with_our_name_is_left_alone(host: Host) -> None:
    host.ip(f"link add {NAME} type veth peer name other")
    tunnels = Tunnels(host.netlink)
    tunnels.apply(OVERLAY)
    assert tunnels.problems == {NAME: "is an interface of another program"}
    tunnels.apply(NO_OVERLAY)
    assert host.link() is not None


def test_port_and_identifier_of_another_program_are_told(host: Host) -> None:
    host.ip(f"link add vx0 type vxlan id 4096 dstport 4789 local {LOCAL} nolearning")
    tunnels = Tunnels(host.netlink)
    tunnels.apply(OVERLAY)
    assert "another interface has its port" in tunnels.problems[NAME]
    assert host.link("vx0") is not None


def test_address_that_no_interface_has_is_told(host: Host) -> None:
    host.ip(f"addr del {LOCAL}/24 dev up0")
    tunnels = Tunnels(host.netlink)
    tunnels.apply(OVERLAY)
    reason = f"no interface has the address of this host, {LOCAL}"
    assert tunnels.problems[NAME] == reason


def test_mtu_follows_the_interface_beneath(host: Host) -> None:
    tunnels = Tunnels(host.netlink)
    tunnels.apply(OVERLAY)
    host.ip("link set up0 mtu 9000")
    tunnels.resync()
    assert (host.link() or {})["mtu"] == 8950


def test_kernel_without_ipip_says_so_and_the_rest_goes_on(host: Host) -> None:
    both = {**OVERLAY.tunnels, Carrier.IPIP: Tunnel(LOCAL)}
    tunnels = Tunnels(host.netlink)
    tunnels.apply(Overlay(both, OVERLAY.own_blocks))
    if host.link("tunl0") is None:
        assert tunnels.problems["tunl0"].startswith("cannot be made")
    else:
        assert tunnels.problems == {}
    assert any(each.startswith(str(BLOCK4)) for each in host.routes())


def test_device_that_gets_another_name_is_missed(host: Host) -> None:
    tunnels = Tunnels(host.netlink)
    tunnels.apply(OVERLAY)
    index, mac = (host.link() or {})["ifindex"], tunnel_mac(LOCAL)
    assert isinstance(index, int)
    host.ip(f"link set {NAME} down")
    host.ip(f"link set {NAME} name theirs")
    event = LinkEvent(Link(index, "theirs", is_up=False, mac=mac), exists=True)
    tunnels.note_link(event)
    assert "another interface has its port" in tunnels.problems[NAME]
    host.ip("link del theirs")
    tunnels.note_link(replace(event, exists=False))
    assert tunnels.problems == {}
    assert any(each.startswith(str(BLOCK4)) for each in host.routes())
