"""A host with its agent and workloads, each in a network namespace of its own.

The namespaces have no names: each is held by a process, and goes with it. So
the tests need no directory of the machine, and work in a user namespace too.
The store is written by the test itself, in place of the commands.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from threading import Event, Thread
from typing import Self

from calico.codec.keys import POLICY_PREFIXES, READY_KEY
from calico.codec.words import parse_rule
from calico.control.client import NoAgent, ask_status, wait_for_revision
from calico.control.protocol import AgentStatus
from calico.linux.namespace import call_inside
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    ProfileId,
    TagName,
    WorkloadId,
)
from calico.model.rule import ProfileRules
from calico.model.snapshot import ProfileRulesKey, ProfileTagsKey, SettingKey
from calico.node.bird import BirdProcess
from calico.settings import Settings
from calico.store.api import Delete, Note, Operation, Put, Store, Transaction
from calico.store.open import open_store
from calico.store.resources import delete_resource, put_resource

DEADLINE_S = 30.0
NOTE = Note("test", "test", "test")
HOST_MAC = "ee:ee:ee:ee:ee:ee"
GATEWAY = "169.254.1.1"
PORT = 5000

Address = IPv4Address | IPv6Address


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds, up to a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.002)


@dataclass
class Namespace:
    """A network namespace that a process holds."""

    pid: int

    @property
    def path(self) -> str:
        return f"/proc/{self.pid}/ns/net"

    def run(self, *argv: str, text: str | None = None) -> str:
        """Run a command inside and return what it prints."""
        done = subprocess.run(
            ["nsenter", f"--net={self.path}", *argv],
            input=text,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, (argv, done.stderr)
        return done.stdout

    def open_socket(self, make: Callable[[], socket.socket]) -> socket.socket:
        """Make a socket inside; it can be used from anywhere."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            return call_inside(fd, make)
        finally:
            os.close(fd)


@contextlib.contextmanager
def namespace() -> Generator[Namespace]:
    own = Path("/proc/self/ns/net").stat().st_ino
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    try:
        made = Namespace(holder.pid)
        until(lambda: Path(made.path).stat().st_ino != own, "a new network namespace")
        until(
            lambda: Path(f"/proc/{holder.pid}/comm").read_text() == "sleep\n",
            "the holder",
        )
        made.run("ip", "link", "set", "lo", "up")
        yield made
    finally:
        holder.kill()
        holder.wait()


@dataclass
class Workload:
    """A workload with one address of each family."""

    name: str
    space: Namespace
    ipv4: IPv4Address
    ipv6: IPv6Address
    mac: str

    @property
    def interface(self) -> str:
        return f"cali{self.name}"


@dataclass
class Host:
    """A host whose supervisor and agent can be started, killed and asked."""

    name: str
    space: Namespace
    directory: Path
    store: Store
    environ: dict[str, str]
    options: tuple[str, ...] = ()
    supervisor: "subprocess.Popen[bytes] | None" = None
    workloads: dict[str, Workload] = field(default_factory=dict[str, Workload])
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def run_dir(self) -> Path:
        return self.directory / "run"

    # The agent.

    def start(self) -> None:
        """Start the supervisor and wait until policy is in force."""
        self.launch()
        self.settle()

    def launch(self) -> None:
        """Start the supervisor."""
        argv = ["nsenter", f"--net={self.space.path}", sys.executable, "-I", "-m"]
        with (self.directory / "node.out").open("ab") as out:
            self.supervisor = subprocess.Popen(
                [*argv, "calico.node.supervisor", *self.options],
                env=self.environ,
                stdout=out,
                stderr=out,
            )

    def stop(self) -> None:
        """End the supervisor, and the agent with it, as one would."""
        if self.supervisor is not None:
            self.supervisor.send_signal(signal.SIGTERM)
            assert self.supervisor.wait(DEADLINE_S) == 0, self.log()
            self.supervisor = None

    def kill_agent(self) -> int:
        """Kill the agent, and wait until the next one answers."""
        before = self.status().pid
        os.kill(before, signal.SIGKILL)

        def is_another() -> bool:
            try:
                return self.status().pid != before
            except NoAgent:
                return False

        until(is_another, "another agent")
        self.settle()
        return before

    def settle(self) -> None:
        """Wait until the agent has everything in force that is in the store."""
        revision = self.store.last_change(POLICY_PREFIXES)

        def is_in_force() -> bool:
            assert self.supervisor is not None, "nobody supervises"
            assert self.supervisor.poll() is None, self.log()
            try:
                return wait_for_revision(self.run_dir, revision, 1.0) >= revision
            except NoAgent:
                return False

        until(is_in_force, f"revision {revision} in force")

    def status(self) -> AgentStatus:
        return ask_status(self.run_dir)

    def degraded(self) -> str:
        """Say what the agent misses; nothing while it does not answer yet."""
        try:
            return self.status().degraded
        except NoAgent:
            return ""

    def log(self) -> str:
        return (self.directory / "node.out").read_text()

    # The store.

    def commit(self, *operations: Operation) -> None:
        """Change the store without waiting."""
        self.store.commit(Transaction((), operations, NOTE))

    def put(self, *operations: Operation) -> None:
        """Change the store and wait until the change is in force."""
        self.commit(*operations)
        self.settle()

    def endpoint(
        self,
        workload: Workload,
        *profiles: str,
        state: EndpointState = EndpointState.ACTIVE,
    ) -> Put:
        made = WorkloadEndpoint(
            key=self.key(workload),
            state=state,
            interface=InterfaceName(workload.interface),
            mac=bytes.fromhex(workload.mac.replace(":", "")),
            profile_ids=tuple(ProfileId(each) for each in profiles),
            addresses=(workload.ipv4, workload.ipv6),
        )
        return put_resource(made.key, made)

    def add_members(self, profile_name: str, number: int) -> None:
        """Write endpoints of another host that list a profile."""
        made: list[Operation] = []
        for each in range(number):
            key = EndpointKey(
                HostName("elsewhere"),
                OrchestratorId("test"),
                WorkloadId(f"w{each}"),
                EndpointId(f"w{each}"),
            )
            endpoint = WorkloadEndpoint(
                key=key,
                state=EndpointState.ACTIVE,
                interface=InterfaceName("cali0"),
                mac=None,
                profile_ids=(ProfileId(profile_name),),
                addresses=(IPv4Address("10.66.0.0") + each,),
            )
            made.append(put_resource(key, endpoint))
        for start in range(0, number, 1000):
            self.commit(*made[start : start + 1000])
        self.settle()

    def no_endpoint(self, workload: Workload) -> Delete:
        return delete_resource(self.key(workload))

    def key(self, workload: Workload) -> EndpointKey:
        return EndpointKey(
            HostName(self.name),
            OrchestratorId("test"),
            WorkloadId(workload.name),
            EndpointId(workload.name),
        )

    # The network.

    def add_workload(self, name: str, *profiles: str) -> Workload:
        """Connect a workload and wait until its policy is in force, and it can send."""
        workload = self.connect(name)
        self.put(self.endpoint(workload, *profiles))
        self.await_carrier(workload)
        return workload

    def connect(self, name: str) -> Workload:
        """Make a workload and its wire, and no endpoint."""
        number = len(self.workloads) + 1
        workload = Workload(
            name=name,
            space=self.stack.enter_context(namespace()),
            ipv4=IPv4Address(f"10.65.0.{number}"),
            ipv6=IPv6Address(f"fd80::{number}"),
            mac=f"02:00:00:00:00:{number:02x}",
        )
        self.workloads[name] = workload
        self.make_wire(workload)
        return workload

    def make_wire(self, workload: Workload) -> None:
        """Make the veth, the host's end down."""
        inside = ("name", "eth0", "netns", str(workload.space.pid))
        wire = ("link", "add", workload.interface, "address", HOST_MAC, "type", "veth")
        self.space.run("ip", *wire, "peer", *inside)
        lines = [
            f"link set eth0 address {workload.mac} up",
            f"addr add {workload.ipv4}/32 dev eth0",
            f"addr add {workload.ipv6}/128 dev eth0 nodad",
            f"neigh add {GATEWAY} lladdr {HOST_MAC} dev eth0",
            f"route add {GATEWAY} dev eth0",
            f"route add default via {GATEWAY}",
            f"neigh add fe80::1 lladdr {HOST_MAC} dev eth0",
            "-6 route add default via fe80::1 dev eth0",
        ]
        for line in lines:
            workload.space.run("ip", *line.split())

    def await_carrier(self, workload: Workload) -> None:
        """Wait until what a workload sends is no longer dropped at its own end.

        When the agent brings the host's end up, the end inside gets a carrier
        at once, but a queue only when the kernel's link watch comes to it,
        which takes a while on a busy machine. Until then it receives, and
        drops without a word what it sends (Linux, net/core/link_watch.c). The
        state is `UP` from then on.
        """
        show = ("ip", "-o", "link", "show", "dev", "eth0")
        until(
            lambda: " state UP " in workload.space.run(*show),
            f"{workload.name} has a carrier",
        )


def rules(
    inbound: Sequence[str] = (), outbound: Sequence[str] = ("allow",)
) -> ProfileRules:
    """Make rules out of words."""
    return ProfileRules(
        tuple(parse_rule(text.split()) for text in inbound),
        tuple(parse_rule(text.split()) for text in outbound),
    )


def profile(name: str, made: ProfileRules, *tags: str) -> tuple[Put, Put]:
    """Make the operations that write a profile."""
    named = ProfileId(name)
    carried = tuple(TagName(tag) for tag in tags or (name,))
    return (
        put_resource(ProfileTagsKey(named), carried),
        put_resource(ProfileRulesKey(named), made),
    )


def setting(name: str, value: str) -> Put:
    """Make the operation that writes a global setting."""
    return put_resource(SettingKey(name), value)


@contextlib.contextmanager
def a_host(directory: Path, name: str = "h1", **environ: str) -> Generator[Host]:
    """Make a host whose agent is not started yet."""
    directory.mkdir(exist_ok=True)
    values = {
        "PATH": os.environ["PATH"],
        "HOSTNAME": name,
        "CALICO_DATA_DIR": str(directory / "data"),
        "CALICO_RUN_DIR": str(directory / "run"),
        "CALICO_LOG_DIR": str(directory / "log"),
        **environ,
    }
    store = open_store(Settings.from_environment(values))
    with contextlib.ExitStack() as stack:
        stack.callback(store.close)
        space = stack.enter_context(namespace())
        host = Host(name, space, directory, store, values, stack=stack)
        host.commit(
            Put(READY_KEY, b"true"), setting("DefaultEndpointToHostAction", "RETURN")
        )
        try:
            yield host
        finally:
            host.stop()
            # It outlives a supervisor that was killed.
            BirdProcess(host.run_dir).end_leftover(signal.SIGKILL)


class Prober:
    """Sends numbered datagrams from one workload to another, and looks.

    A flow of datagrams that nobody answers stays new, so each one is judged.
    """

    def __init__(
        self, source: Workload, target: Workload, family: int = 4, port: int = PORT
    ) -> None:
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        address = target.ipv4 if family == 4 else target.ipv6
        self._target = (str(address), port)

        def receiving() -> socket.socket:
            made = socket.socket(kind, socket.SOCK_DGRAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            made.bind(("", port))
            return made

        self._receiver = target.space.open_socket(receiving)
        self._sender = source.space.open_socket(
            lambda: socket.socket(kind, socket.SOCK_DGRAM)
        )
        self._stopping = Event()
        self.n_sent = 0
        self.received: set[int] = set()
        self._threads = [Thread(target=self._send), Thread(target=self._receive)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._sender.close()
        self._receiver.close()

    def _send(self) -> None:
        while not self._stopping.wait(0.001):
            with contextlib.suppress(OSError):
                self._sender.sendto(str(self.n_sent).encode(), self._target)
            self.n_sent += 1

    def _receive(self) -> None:
        self._receiver.settimeout(0.1)
        while True:
            try:
                self.received.add(int(self._receiver.recv(64)))
            except TimeoutError:
                if self._stopping.is_set():
                    return

    def pass_more(self, number: int = 50) -> None:
        """Wait until so many more datagrams have arrived."""
        wanted = len(self.received) + number
        until(lambda: len(self.received) >= wanted, "datagrams arrive")

    def send_more(self, number: int = 50) -> None:
        """Wait until so many more datagrams have been sent."""
        wanted = self.n_sent + number
        until(lambda: self.n_sent >= wanted, "datagrams are sent")

    def missing(self) -> set[int]:
        """Say which datagrams between the first and the last did not arrive."""
        if not self.received:
            return set()
        return set(range(min(self.received), max(self.received))) - self.received


class Connection:
    """A TCP connection between two workloads."""

    def __init__(self, source: Workload, target: Workload) -> None:
        address = (str(target.ipv4), PORT)
        with target.space.open_socket(lambda: socket.create_server(address)) as server:
            self._client = source.space.open_socket(socket.socket)
            self._client.settimeout(5)
            self._client.connect(address)
            self._server, _ = server.accept()

    def __enter__(self) -> Self:
        assert self.speaks()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let both ends go."""
        self._client.close()
        self._server.close()

    def speaks(self) -> bool:
        """Say whether what the client sends arrives."""
        self._server.settimeout(0.5)
        self._client.send(b"x")
        try:
            return self._server.recv(16) != b""
        except TimeoutError:
            return False


def arrives(source: Workload, target: Workload, family: int = 4) -> bool:
    """Say whether a datagram gets from one workload to another."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    address = target.ipv4 if family == 4 else target.ipv6

    def receiving() -> socket.socket:
        made = socket.socket(kind, socket.SOCK_DGRAM)
        made.bind(("", PORT))
        return made

    receiver = target.space.open_socket(receiving)
    sender = source.space.open_socket(lambda: socket.socket(kind, socket.SOCK_DGRAM))
    with receiver, sender:
        receiver.settimeout(0.3)
        sender.sendto(b"hello", (str(address), PORT))
        try:
            return receiver.recv(64) == b"hello"
        except TimeoutError:
            return False


def await_arrival(source: Workload, target: Workload, family: int = 4) -> None:
    """Wait until a datagram gets through; on a busy machine not the first does."""
    until(
        lambda: arrives(source, target, family), f"{source.name} reaches {target.name}"
    )


def routes_of(host: Host) -> set[Address]:
    """List the addresses that the host has routes of ours for."""
    found: set[Address] = set()
    for family in ("-4", "-6"):
        for line in host.space.run(
            "ip", family, "route", "show", "proto", "80"
        ).splitlines():
            found.add(ip_address(line.split()[0]))
    return found
