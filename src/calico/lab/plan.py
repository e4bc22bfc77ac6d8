"""What a lab consists of: names, addresses and directories, as values.

All hosts are on one network, 172.31.0.0/24 and fd31::/64; host number N is
172.31.0.N and fd31::N. The router there is the namespace `outside`, which is
also the outsider: it speaks from 198.51.100.1 and 2001:db8::1 (RFC 5737, RFC
3849). A lab with an etcd has it in a namespace of its own on the same network.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from calico.lab.errors import LabError

DEFAULT_LAB = "lab"
OUTSIDE = "outside"
ETCD = "etcd"
MAX_HOSTS = 64

ROOT = Path("/run/lab")
"""Inside a lab: all that it keeps. On the lab's own file system."""

MARK = ROOT / "lab.json"
"""Inside a lab: says which one it is."""

NAMESPACES = Path("/run/netns")
"""Inside a lab: where `ip netns` looks, too."""

DATA_DIR = ROOT / "data"

OUTSIDE_IPV4 = IPv4Address("198.51.100.1")
OUTSIDE_IPV6 = IPv6Address("2001:db8::1")

NETWORK_IPV4 = IPv4Network("172.31.0.0/24")
NETWORK_IPV6 = IPv6Network("fd31::/64")
ROUTER_IPV4 = IPv4Address("172.31.0.254")
ROUTER_IPV6 = IPv6Address("fd31::fe")
ETCD_IPV4 = IPv4Address("172.31.0.253")
ETCD_IPV6 = IPv6Address("fd31::fd")

ETCD_ENDPOINT = f"http://{ETCD_IPV4}:2379"

LAB_VARIABLE = "CALICO_LAB"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_HOST = re.compile(r"host[0-9]+\Z")


@dataclass(frozen=True, slots=True)
class LabHost:
    """A host of a lab.

    Attributes:
        number: From 1.
    """

    number: int

    @property
    def name(self) -> str:
        """Its name in the datastore, and its namespace's."""
        return f"host{self.number}"

    @property
    def ipv4(self) -> IPv4Address:
        """Its own address."""
        return IPv4Address(f"172.31.0.{self.number}")

    @property
    def ipv6(self) -> IPv6Address:
        """Its own address."""
        return IPv6Address(f"fd31::{self.number:x}")

    @property
    def run_dir(self) -> Path:
        """Where its agent's socket is."""
        return ROOT / self.name / "run"

    @property
    def log_dir(self) -> Path:
        """Where its agent logs."""
        return ROOT / self.name / "log"


@dataclass(frozen=True, slots=True)
class Layout:
    """What a lab is made of.

    Attributes:
        n_hosts: How many hosts it has.
        has_etcd: Its datastore is an etcd, and not a file that all hosts share.
        has_vxlan: Its network carries only the hosts' own addresses, so its pools
            are carried by VXLAN.
    """

    n_hosts: int
    has_etcd: bool = False
    has_vxlan: bool = False


def hosts(n_hosts: int) -> tuple[LabHost, ...]:
    """List the hosts of a lab.

    Raises:
        LabError: A lab cannot have that many.
    """
    if not 1 <= n_hosts <= MAX_HOSTS:
        raise LabError(f"{n_hosts} hosts", f"a lab has 1 to {MAX_HOSTS}")
    return tuple(LabHost(number) for number in range(1, n_hosts + 1))


def parse_lab_name(text: str) -> str:
    """Take `text` as a lab's name.

    Raises:
        LabError: It is no valid name.
    """
    return _parse("lab name", text)


def parse_workload_name(text: str) -> str:
    """Take `text` as the name of a workload of a lab.

    Raises:
        LabError: It is no valid name, or one that the lab itself uses.
    """
    if text in {OUTSIDE, ETCD} or _HOST.match(text):
        raise LabError(
            f"workload `{text}`",
            f"`{OUTSIDE}`, `{ETCD}`, `host1`, `host2`, … are the lab's own names",
            ("take another name",),
        )
    return _parse("workload name", text)


def name_option(lab: str) -> str:
    """Spell the option that names a lab, for a command to be typed."""
    return "" if lab == DEFAULT_LAB else f" --name={lab}"


def namespace_path(place: str) -> Path:
    """Say where, inside a lab, the namespace of a host or workload is."""
    return NAMESPACES / place


def _parse(kind: str, text: str) -> str:
    if not _NAME.match(text):
        raise LabError(
            f"{kind} `{text}`",
            "not 1 to 63 characters of A-Z a-z 0-9 _ . - that begin with a letter"
            " or digit",
        )
    return text
