"""Hosts on one network that knows their own addresses and no workload's.

Each is a namespace with an agent; all share one datastore, and there is no BIRD
anywhere. A stranger on the same network is no host of the cluster.
"""

import contextlib
import json
from collections.abc import Generator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

from agent_host import (
    NOTE,
    Host,
    Namespace,
    Workload,
    a_host,
    namespace,
    until,
)

from calico.codec.keys import bgp_address_key
from calico.ipam.assign import Claim, assign_next
from calico.ir.overlay import TUNNEL_DEVICES
from calico.ir.routing import Carrier
from calico.model.block import Attributes
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.snapshot import PoolKey
from calico.netset import Address, Family, Network
from calico.store.api import Delete, Put
from calico.store.resources import delete_resource, put_resource

DEVICE = TUNNEL_DEVICES[Carrier.VXLAN]
POOL4, POOL6 = ip_network("10.65.0.0/16"), ip_network("fd80::/64")
UNDERLAY_MTU = 1500


@dataclass
class Cluster:
    """Hosts by name, and the network between them."""

    directory: Path
    fabric: Namespace
    stack: contextlib.ExitStack
    hosts: dict[str, Host] = field(default_factory=dict[str, Host])
    n_connected: int = 0
    n_workloads: int = 0

    def connect(self, space: Namespace) -> IPv4Address:
        """Connect a namespace to the network, and return its address there."""
        self.n_connected += 1
        address = IPv4Address("172.31.0.0") + self.n_connected
        port = f"port{self.n_connected}"
        inside = ("name", "up0", "netns", str(space.pid))
        self.fabric.run("ip", "link", "add", port, "type", "veth", "peer", *inside)
        self.fabric.run("ip", "link", "set", port, "master", "net0", "up")
        space.run("ip", "addr", "add", f"{address}/24", "dev", "up0")
        space.run("ip", "link", "set", "up0", "up")
        return address

    def add_host(self, name: str) -> Host:
        """Let a host join, with its agent."""
        data = {"CALICO_DATA_DIR": str(self.directory / "data")}
        host = self.stack.enter_context(a_host(self.directory / name, name, **data))
        address = self.connect(host.space)
        host.commit(
            Put(bgp_address_key(HostName(name), Family.V4), str(address).encode())
        )
        host.options = ("--backend=none",)
        self.hosts[name] = host
        host.start()
        return host

    def add_stranger(self) -> tuple[Namespace, IPv4Address]:
        """Let somebody join who is no host of the cluster."""
        space = self.stack.enter_context(namespace())
        return space, self.connect(space)

    def add_workload(self, host: Host, name: str, *profiles: str) -> Workload:
        """Connect a workload with addresses out of blocks of its host."""
        self.n_workloads += 1
        attributes = Attributes(f"{host.name}.test.{name}.{name}")
        claim = Claim(HostName(host.name), attributes, NOTE)
        ipv4 = assign_next(host.store, Family.V4, claim)
        ipv6 = assign_next(host.store, Family.V6, claim)
        assert isinstance(ipv4, IPv4Address)
        assert isinstance(ipv6, IPv6Address)
        mac = f"02:00:00:00:01:{self.n_workloads:02x}"
        space = host.stack.enter_context(namespace())
        workload = Workload(name, space, ipv4, ipv6, mac)
        host.workloads[name] = workload
        host.make_wire(workload)
        host.put(host.endpoint(workload, *profiles))
        host.await_carrier(workload)
        for each in self.hosts.values():
            each.settle()
        return workload


@contextlib.contextmanager
def a_cluster(directory: Path, *names: str) -> Generator[Cluster]:
    """Make hosts whose pools of both families are carried by VXLAN."""
    directory.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        fabric = stack.enter_context(namespace())
        fabric.run("ip", "link", "add", "net0", "type", "bridge")
        fabric.run("ip", "link", "set", "net0", "up")
        cluster = Cluster(directory, fabric, stack)
        for name in names:
            cluster.add_host(name)
        first = cluster.hosts[names[0]]
        first.commit(put_pool(POOL4, is_vxlan=True), put_pool(POOL6, is_vxlan=True))
        for each in cluster.hosts.values():
            each.settle()
            await_tunnel(each)
        yield cluster


def put_pool(cidr: Network, *, is_vxlan: bool) -> Put:
    """Make the operation that writes a pool."""
    return put_resource(PoolKey(cidr), Pool(cidr, vxlan=is_vxlan))


def no_pool(cidr: Network) -> Delete:
    """Make the operation that deletes a pool."""
    return delete_resource(PoolKey(cidr))


def device_of(host: Host) -> dict[str, object] | None:
    """Read the VXLAN device of a host; absent when it has none."""
    shown = host.space.run("ip", "-j", "-d", "link", "show")
    links: list[dict[str, object]] = json.loads(shown)
    return next((each for each in links if each["ifname"] == DEVICE), None)


def tunnel_addresses(host: Host) -> set[Address]:
    """List the addresses that the host has on its VXLAN device."""
    if device_of(host) is None:
        return set()
    shown = host.space.run("ip", "-j", "addr", "show", "dev", DEVICE)
    found: set[Address] = set()
    for each in json.loads(shown)[0]["addr_info"]:
        if each["scope"] == "global":
            kind = IPv4Address if each["family"] == "inet" else IPv6Address
            found.add(kind(each["local"]))
    return found


def await_tunnel(host: Host) -> None:
    """Wait until a host has its tunnel, with an address of each family."""
    until(lambda: len(tunnel_addresses(host)) == 2, f"the tunnel of {host.name}")


def tunnel_routes(host: Host) -> set[str]:
    """List the routes of the overlay, as `ip` shows them."""
    found: set[str] = set()
    for family in ("-4", "-6"):
        shown = host.space.run("ip", family, "route", "show", "proto", "81")
        found.update(" ".join(each.split()) for each in shown.splitlines())
    return found
