"""Lay the links and routes of a lab: `outside` in the middle, hosts around it.

All of it is done by functions that run inside the lab (`entry.call`), with
ip(8), one process per namespace. Nothing is undone when a step fails: the
holder ends, and everything goes with it.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from calico.lab.errors import LabError
from calico.lab.plan import (
    NAMESPACES,
    OUTSIDE,
    OUTSIDE_IPV4,
    OUTSIDE_IPV6,
    LabHost,
    namespace_path,
)
from calico.linux import syscalls

_PATHS = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_UPLINK = "eth0"
_ROUTER_LINK_LOCAL = "fe80::1"
_HOST_LINK_LOCAL = "fe80::2"


def make_network(hosts: Sequence[LabHost]) -> None:
    """Make the namespaces of a lab's hosts and of the outside, and link them.

    Runs inside the lab.

    Raises:
        LabError: The kernel, or ip(8), refused a part of it.
    """
    for place in (OUTSIDE, *(host.name for host in hosts)):
        make_namespace(place)
        _set_sysctls(place, is_router=place == OUTSIDE)
    run_ip(OUTSIDE, _outside_commands(hosts))
    for host in hosts:
        run_ip(host.name, _host_commands(host))


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
    program = shutil.which("ip", path=_PATHS)
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


def _outside_commands(hosts: Sequence[LabHost]) -> list[str]:
    commands = [
        f"address add {OUTSIDE_IPV4}/32 dev lo",
        f"address add {OUTSIDE_IPV6}/128 dev lo nodad",
    ]
    for host in hosts:
        commands += [
            f"link add {host.name} type veth peer name {_UPLINK} netns {host.name}",
            *_link_local(host.name, _ROUTER_LINK_LOCAL),
            f"link set {host.name} up",
            f"address add {host.router_ipv4}/24 dev {host.name}",
            f"address add {host.router_ipv6}/64 dev {host.name} nodad",
        ]
    return commands


def _host_commands(host: LabHost) -> list[str]:
    return [
        *_link_local(_UPLINK, _HOST_LINK_LOCAL),
        f"link set {_UPLINK} up",
        f"address add {host.ipv4}/24 dev {_UPLINK}",
        f"address add {host.ipv6}/64 dev {_UPLINK} nodad",
        f"route add default via {host.router_ipv4}",
        f"route add ::/0 via {host.router_ipv6}",
    ]


def _link_local(interface: str, address: str) -> list[str]:
    """Give a link its own address at once.

    The one that the kernel makes is checked for duplicates for a second, and
    until then no neighbour is looked for on behalf of the outside's address.
    """
    return [
        f"link set {interface} addrgenmode none",
        f"address add {address}/64 dev {interface} nodad",
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
            "ipv6/conf/all/forwarding": "1",
        }
    for name, value in wanted.items():
        try:
            (Path("/proc/sys/net") / name).write_text(value, "ascii")
        except OSError as error:
            what = f"sysctl net/{name} in `{place}`"
            raise LabError(what, error.strerror or "refused") from error
