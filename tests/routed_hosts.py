"""Hosts with an agent and a BIRD each, on one network, with one datastore.

The network is a bridge in a namespace of its own. Whoever else speaks BGP there,
a router or a reflector, is a BIRD in a namespace too, with a configuration that
the test writes.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

from agent_host import (
    DEADLINE_S,
    Host,
    Namespace,
    Workload,
    a_host,
    namespace,
    profile,
    rules,
    until,
)

from calico.codec.bgp_values import encode_node_mesh, encode_peer
from calico.codec.keys import (
    bgp_address_key,
    bgp_node_mesh_key,
    bgp_peer_key,
    ipam_affinity_key,
)
from calico.linux.bird import BirdFiles
from calico.linux.bird_control import BirdControl, NoBird
from calico.linux.bird_replies import BirdProtocol, BirdStatus
from calico.model.bgp import AsNumber, BgpPeer
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.snapshot import PoolKey
from calico.netset import Address, Family
from calico.node.bird import BirdProcess
from calico.store.api import Operation, Put
from calico.store.resources import put_resource

POOL_V4, POOL_V6 = ip_network("10.65.0.0/16"), ip_network("fd65::/64")
AS_NUMBER = AsNumber(64511)


def ipv4_of(number: int) -> IPv4Address:
    """Return the address of a host, a router or a reflector."""
    return IPv4Address(f"172.31.0.{number}")


def ipv6_of(number: int) -> IPv6Address:
    """Return the other address of a host, a router or a reflector."""
    return IPv6Address(f"fd31::{number:x}")


@dataclass
class Bird:
    """A BIRD that somebody runs.

    Attributes:
        files: Where its files are.
    """

    files: BirdFiles

    def is_answering(self) -> bool:
        with contextlib.suppress(NoBird), self.control():
            return True
        return False

    def control(self) -> BirdControl:
        return BirdControl(self.files.socket)

    def status(self) -> BirdStatus:
        with self.control() as control:
            return control.read_status()

    def peerings(self) -> dict[str, BirdProtocol]:
        """Return what BIRD says of its peerings, by name."""
        with self.control() as control:
            return {each.name: each for each in control.read_protocols() if each.is_bgp}

    def last_reconfiguration(self) -> str:
        found = [each for each in self.status().lines if "Last reconf" in each]
        assert len(found) == 1
        return found[0]


@dataclass
class Router(Bird):
    """A BIRD of somebody else's, with a configuration of the test's."""

    space: Namespace
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = self.files.run_dir / "bird.log"
        command = ["bird", "-f", "-c", str(self.files.config)]
        command += ["-s", str(self.files.socket), "-P", str(self.files.pid)]
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                ["nsenter", f"--net={self.space.path}", *command], stderr=out
            )
        until(self.is_answering, "the router answers")

    def end(self) -> None:
        """End it, and wait until it has ended."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(DEADLINE_S)
            self.process = None


@dataclass
class HostBird(Bird):
    """The BIRD that a host's supervisor runs.

    It is ended while the supervisor is stopped, and comes back when that goes
    on, so a test sees what happens in between.
    """

    host: Host

    def pid(self) -> int:
        return int(self.files.pid.read_text())

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it by a signal, and keep it from being started again."""
        self._signal_supervisor(signal.SIGSTOP)
        os.kill(self.pid(), number)
        until(lambda: not self.is_answering(), "BIRD has ended")

    def leave(self) -> None:
        """Let it end so that its peers wait, and keep it from being started."""
        self._signal_supervisor(signal.SIGSTOP)
        with self.control() as control:
            control.leave_gracefully()
        until(lambda: not self.is_answering(), "BIRD has ended")

    def start(self) -> None:
        """Let the supervisor start it again, and wait until it answers."""
        self._signal_supervisor(signal.SIGCONT)
        until(self.is_answering, "BIRD answers")

    def _signal_supervisor(self, number: signal.Signals) -> None:
        assert self.host.supervisor is not None
        self.host.supervisor.send_signal(number)


@dataclass
class RoutedHost:
    """A host of the cluster."""

    number: int
    host: Host
    bird: HostBird

    @property
    def name(self) -> HostName:
        return HostName(self.host.name)

    @property
    def block_v4(self) -> str:
        return f"10.65.{self.number}.0/26"

    @property
    def block_v6(self) -> str:
        return f"fd65::{self.number}:0/122"

    def launch(self) -> None:
        """Start the supervisor, and wait for the agent and for BIRD."""
        self.host.start()
        until(self.bird.is_answering, "BIRD answers")

    def route_to(self, prefix: str) -> str:
        """Return what the kernel says of the way to exactly this prefix."""
        option = "-6" if ":" in prefix else "-4"
        return self.host.space.run("ip", option, "route", "show", "exact", prefix)

    def await_route(self, prefix: str, *, via: Address | None) -> None:
        """Wait until the kernel has this way to exactly this prefix, or none."""
        until(
            lambda: self._has_way(self.route_to(prefix), via),
            f"{self.name} reaches {prefix} via {via}: {self.route_to(prefix)!r}",
        )

    @staticmethod
    def _has_way(said: str, via: Address | None) -> bool:
        return said == "" if via is None else f" via {via} " in said

    def await_peers(self, *names: str) -> None:
        """Wait until exactly these peerings are there, and established."""

        def are_there() -> bool:
            found = self.bird.peerings()
            states = {each.bgp_state for each in found.values()}
            return set(found) == set(names) and states <= {"Established"}

        until(are_there, f"{self.name} speaks with {names}")

    def add_workload(self, name: str, ipv4: str, ipv6: str) -> Workload:
        """Connect a workload with these addresses, open to all."""
        workload = Workload(
            name=name,
            space=self.host.stack.enter_context(namespace()),
            ipv4=IPv4Address(ipv4),
            ipv6=IPv6Address(ipv6),
            mac=f"02:00:00:00:{self.number:02x}:{len(self.host.workloads) + 1:02x}",
        )
        self.host.workloads[name] = workload
        self.host.make_wire(workload)
        self.host.put(self.host.endpoint(workload, "ANY"))
        self.host.await_carrier(workload)
        return workload

    def problems(self) -> dict[str, str]:
        return dict(self.host.status().problems)


@dataclass
class Network:
    """A network that hosts and routers are on."""

    space: Namespace
    n_links: int = 0

    def connect(self, space: Namespace, number: int) -> None:
        """Give a namespace an interface on this network, and its addresses."""
        self.n_links += 1
        port = f"port{self.n_links}"
        peer = ("peer", "name", "eth0", "netns", str(space.pid))
        self.space.run("ip", "link", "add", port, "type", "veth", *peer)
        self.space.run("ip", "link", "set", port, "master", "bridge", "up")
        for line in (
            "link set eth0 up",
            f"addr add {ipv4_of(number)}/24 dev eth0",
            f"addr add {ipv6_of(number)}/64 dev eth0 nodad",
        ):
            space.run("ip", *line.split())


@dataclass
class Cluster:
    """All of it."""

    directory: Path
    network: Network
    hosts: dict[int, RoutedHost] = field(default_factory=dict[int, RoutedHost])
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def commit(self, *operations: Operation) -> None:
        """Change the datastore."""
        next(iter(self.hosts.values())).host.commit(*operations)

    def add_host(self, number: int) -> RoutedHost:
        """Make a host and tell the datastore of it; nothing runs there yet."""
        made = self.stack.enter_context(
            a_host(
                self.directory / f"h{number}",
                f"h{number}",
                CALICO_DATA_DIR=str(self.directory / "data"),
            )
        )
        self.network.connect(made.space, number)
        made.space.run(
            "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"
        )
        bird = HostBird(BirdFiles(made.run_dir), made)
        # Whatever a test has stopped goes on before it is asked to end.
        self.stack.callback(self._end, made, bird)
        host = RoutedHost(number, made, bird)
        self.hosts[number] = host
        made.commit(*host_keys(host), *profile("ANY", rules(["allow"])))
        return host

    @staticmethod
    def _end(host: Host, bird: HostBird) -> None:
        if host.supervisor is not None:
            host.supervisor.send_signal(signal.SIGCONT)
            host.stop()
        BirdProcess(bird.files.run_dir).end_leftover(signal.SIGKILL)

    def add_router(self, number: int, config: str) -> Router:
        """Start a BIRD of somebody else's."""
        directory = self.directory / f"router{number}"
        directory.mkdir()
        space = self.stack.enter_context(namespace())
        self.network.connect(space, number)
        router = Router(BirdFiles(directory), space)
        router.files.config.write_text(config)
        self.stack.callback(router.end)
        router.start()
        return router


def host_keys(host: RoutedHost) -> tuple[Put, ...]:
    """Make the operations that tell of a host with a block of each family."""
    name = host.name
    blocks = (ip_network(host.block_v4), ip_network(host.block_v6))
    return (
        Put(bgp_address_key(name, Family.V4), str(ipv4_of(host.number)).encode()),
        Put(bgp_address_key(name, Family.V6), str(ipv6_of(host.number)).encode()),
        *(Put(ipam_affinity_key(name, block), b"") for block in blocks),
    )


def put_mesh(*, is_on: bool) -> Put:
    """Make the operation that switches the mesh."""
    return Put(bgp_node_mesh_key(), encode_node_mesh(is_on=is_on))


def put_peer(host: HostName | None, address: Address, as_number: int) -> Put:
    """Make the operation that names a peer of all hosts, or of one."""
    peer = BgpPeer(address, AsNumber(as_number))
    return Put(bgp_peer_key(host, address), encode_peer(peer))


def mesh_names(numbers: Iterable[int]) -> list[str]:
    """Name the peerings with other hosts, of both families."""
    found: list[str] = []
    for number in numbers:
        found.append(f"Mesh_{ipv4_of(number)}".replace(".", "_"))
        found.append(f"Mesh_{ipv6_of(number)}".replace(":", "_"))
    return found


def router_config(
    number: int, as_number: int, sessions: Sequence[str], routes: Sequence[str] = ()
) -> str:
    """Write the configuration of a router that says and believes everything.

    Args:
        number: Which address it has.
        as_number: The AS that it is in.
        sessions: `neighbor … as …;` and what else, one text for each session.
        routes: IPv4 prefixes that it announces, with itself as the way there.
    """
    blackholes = "".join(f"  route {each} blackhole;\n" for each in routes)
    peers = "".join(
        f"""
protocol bgp {{
  local {ipv4_of(number)} as {as_number};
  {session}
  multihop;
  connect delay time 1;
  ipv4 {{ import all; export all; }};
}}
"""
        for session in sessions
    )
    return f"""
log stderr all;
router id {ipv4_of(number)};
protocol device {{ }}
protocol direct {{ ipv4; }}
protocol static {{
  ipv4;
{blackholes}}}
{peers}"""


@contextlib.contextmanager
def a_cluster(directory: Path, n_hosts: int) -> Generator[Cluster]:
    """Make a cluster whose agents and BIRDs run, with one workload on each host."""
    with contextlib.ExitStack() as stack:
        bridge = stack.enter_context(namespace())
        bridge.run("ip", "link", "add", "bridge", "type", "bridge")
        bridge.run("ip", "link", "set", "bridge", "up")
        cluster = Cluster(directory, Network(bridge), stack=stack)
        for number in range(1, n_hosts + 1):
            cluster.add_host(number)
        pools = [Pool(cidr) for cidr in (POOL_V4, POOL_V6)]
        cluster.commit(*(put_resource(PoolKey(pool.cidr), pool) for pool in pools))
        for host in cluster.hosts.values():
            host.launch()
        for number, host in cluster.hosts.items():
            host.add_workload(f"w{number}", f"10.65.{number}.5", f"fd65::{number}:5")
        for number, host in cluster.hosts.items():
            host.await_peers(*mesh_names(set(cluster.hosts) - {number}))
        yield cluster
