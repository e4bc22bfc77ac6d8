"""Lay the links of a lab: a bridge in `outside`, everything else linked to it.

All of it is done by functions that run inside the lab (`entry.call`), with
ip(8), one process per namespace. Nothing is undone when a step fails: the
holder ends, and everything goes with it.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from calico.lab.errors import LabError
from calico.lab.plan import (
    ETCD,
    ETCD_IPV4,
    ETCD_IPV6,
    NAMESPACES,
    NETWORK_IPV4,
    NETWORK_IPV6,
    OUTSIDE,
    OUTSIDE_IPV4,
    OUTSIDE_IPV6,
    ROUTER_IPV4,
    ROUTER_IPV6,
    LabHost,
    namespace_path,
)
from calico.linux import syscalls

PROGRAM_PATHS = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
"""Where programs of the system are looked for, whatever the user's PATH says."""

_BRIDGE = "lan"
_UPLINK = "eth0"
_LINK_LOCAL = IPv6Address("fe80::")
_HOST_PART = 2**64 - 1


@dataclass(frozen=True, slots=True)
class _Station:
    """A namespace on the network of the hosts."""

    place: str
    ipv4: IPv4Address
    ipv6: IPv6Address


def make_network(hosts: Sequence[LabHost], *, with_etcd: bool) -> None:
    """Make the namespaces of a lab's hosts and of the outside, and link them.

    Runs inside the lab.

    Raises:
        LabError: The kernel, or ip(8), refused a part of it.
    """
    stations = [_Station(host.name, host.ipv4, host.ipv6) for host in hosts]
    if with_etcd:
        stations.append(_Station(ETCD, ETCD_IPV4, ETCD_IPV6))
    for place in (OUTSIDE, *(each.place for each in stations)):
        make_namespace(place)
        _set_sysctls(place, is_router=place == OUTSIDE)
    run_ip(OUTSIDE, _outside_commands(stations))
    for each in stations:
        run_ip(each.place, _station_commands(each))


def check_sources() -> None:
    """Drop what hosts send with other addresses than those of their network.

    Runs inside the lab, in `outside`.

    Raises:
        LabError: The kernel, or nft(8), refused.
    """
    program = shutil.which("nft", path=PROGRAM_PATHS)
    if program is None:
        raise LabError("nft", "not installed", ("install nftables",))
    done = subprocess.run(
        [program, "-f", "-"],
        input=_SOURCES,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"bridge in `{OUTSIDE}`", " ".join(done.stderr.split()))


_SOURCES = f"""\
table bridge sources {{
  chain from-hosts {{
    type filter hook prerouting priority 0;
    ip saddr != {NETWORK_IPV4} drop
    ip6 saddr != {{ {NETWORK_IPV6}, fe80::/10, :: }} drop
  }}
}}
"""


def make_namespace(place: str) -> None:
    """Make a network namespace with a name, its loopback up.

    Runs inside the lab. This process is in the new namespace afterwards.

    Raises:
        LabError: The name is taken, or the kernel refused.
    """
    path = namespace_path(place)
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        raise LabError(f"`{place}`", "this name is taken in this lab") from None
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        syscalls.mount("/proc/self/ns/net", str(path), flags=syscalls.MS_BIND)
    except OSError as error:
        path.unlink()
        raise LabError(
            f"network namespace `{place}`", error.strerror or "refused"
        ) from error
    run_ip(place, ["link set lo up"])


def enter_namespace(place: str) -> None:
    """Move this process into a namespace. Runs inside the lab."""
    number = os.open(namespace_path(place), os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(number, syscalls.CLONE_NEWNET)
    finally:
        os.close(number)


def delete_namespace(place: str) -> None:
    """Take a namespace's name away; it ends with the last process in it.

    Runs inside the lab.
    """
    path = namespace_path(place)
    syscalls.unmount(str(path))
    path.unlink()


def list_namespaces() -> frozenset[str]:
    """List all namespaces of the lab that have a name. Runs inside the lab."""
    return frozenset(path.name for path in NAMESPACES.iterdir())


def run_ip(place: str, commands: Iterable[str], *options: str) -> str:
    """Give ip(8) commands for one namespace. Runs inside the lab.

    Args:
        place: The namespace.
        commands: Each without the word `ip`.
        options: Options of ip(8) itself.

    Returns:
        What it printed.

    Raises:
        LabError: One was refused; those before it took effect.
    """
    program = shutil.which("ip", path=PROGRAM_PATHS)
    if program is None:
        raise LabError("ip", "not installed", ("install iproute2",))
    done = subprocess.run(
        [program, "-n", place, *options, "-batch", "-"],
        input="".join(f"{command}\n" for command in commands),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"network of `{place}`", " ".join(done.stderr.split()))
    return done.stdout


def _outside_commands(stations: Sequence[_Station]) -> list[str]:
    commands = [
        f"address add {OUTSIDE_IPV4}/32 dev lo",
        f"address add {OUTSIDE_IPV6}/128 dev lo nodad",
        # A snooping bridge drops neighbour solicitations until it has seen who
        # listens for them.
        f"link add {_BRIDGE} type bridge mcast_snooping 0",
        *_addresses(_BRIDGE, ROUTER_IPV4, ROUTER_IPV6),
    ]
    for each in stations:
        commands += [
            f"link add {each.place} type veth peer name {_UPLINK} netns {each.place}",
            f"link set {each.place} master {_BRIDGE} addrgenmode none up",
        ]
    return commands


def _station_commands(station: _Station) -> list[str]:
    return [
        *_addresses(_UPLINK, station.ipv4, station.ipv6),
        f"route add default via {ROUTER_IPV4}",
        f"route add ::/0 via {ROUTER_IPV6}",
    ]


def _addresses(interface: str, ipv4: IPv4Address, ipv6: IPv6Address) -> list[str]:
    """Bring a link up and give it its addresses, usable at once.

    A link-local address that the kernel makes is checked for duplicates for a
    second, and until then no neighbour is looked for.
    """
    link_local = IPv6Address(int(_LINK_LOCAL) | int(ipv6) & _HOST_PART)
    return [
        f"link set {interface} addrgenmode none",
        f"address add {link_local}/64 dev {interface} nodad",
        f"link set {interface} up",
        f"address add {ipv4}/24 dev {interface}",
        f"address add {ipv6}/64 dev {interface} nodad",
    ]


def _set_sysctls(place: str, *, is_router: bool) -> None:
    """Set what must not depend on the machine's own settings.

    Writes for the namespace that this process is in: the one just made.
    """
    wanted = {"ipv6/conf/all/disable_ipv6": "0", "ipv6/conf/default/disable_ipv6": "0"}
    if is_router:
        wanted |= {
            "ipv4/ip_forward": "1",
            "ipv4/conf/all/rp_filter": "0",
            "ipv4/conf/default/rp_filter": "0",
            # It leads packets of hosts back to hosts, and they shall not be told
            # another way.
            "ipv4/conf/all/send_redirects": "0",
            "ipv4/conf/default/send_redirects": "0",
            "ipv6/conf/all/forwarding": "1",
        }
    for name, value in wanted.items():
        try:
            (Path("/proc/sys/net") / name).write_text(value, "ascii")
        except OSError as error:
            what = f"sysctl net/{name} in `{place}`"
            raise LabError(what, error.strerror or "refused") from error
