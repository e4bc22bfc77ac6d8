"""A lab of several hosts for tests: its namespaces, its processes, its packets."""

import contextlib
import json
import os
import shlex
import signal
import socket
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from subprocess import CompletedProcess
from threading import Event, Thread
from typing import Self

from agent_host import Namespace, Workload
from lab_user import CALICOCTL, LabUser, cmdline, lab_user, processes, until

_PACE_S = 0.004


@dataclass
class LabSpace(Namespace):
    """A namespace of a lab, by its name.

    Attributes:
        name: Of a host, a workload, `outside` or `etcd`.
    """

    name: str

    @property
    def path(self) -> str:
        # Its name is on a file system that only the lab's processes see.
        return f"/proc/{self.pid}/root/run/netns/{self.name}"


@dataclass
class Cluster:
    """A lab that runs.

    Attributes:
        user: Whose it is.
        holder: The process that holds it.
    """

    user: LabUser
    holder: int

    def space(self, name: str) -> LabSpace:
        return LabSpace(self.holder, name)

    # What a user types.

    def type(self, host: str, *words: str, **environ: str) -> CompletedProcess[str]:
        """Run calicoctl on a host, with more environment variables."""
        given = [f"{name}={value}" for name, value in environ.items()]
        argv = ["env", *given, CALICOCTL, *words]
        return self.user.lab("run", f"--host={host}", "--", *argv)

    def done(self, host: str, *words: str, **environ: str) -> str:
        """Run calicoctl on a host, which must work; return what it prints."""
        ended = self.type(host, *words, **environ)
        assert ended.returncode == 0, f"{words}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def add_profiles(self, *names: str) -> None:
        for name in names:
            self.done("host1", "profile", "add", name)

    def add(self, name: str, host: str, profile: str, *address: str) -> Workload:
        """Add a workload with one address of each family."""
        words = (name, f"--host={host}", f"--profile={profile}", *address)
        said = self.user.done("add", *words)
        given = said.strip().removeprefix(f"{name} on {host}: ").split(", ")
        addresses = [ip_address(each) for each in given]
        (ipv4,) = (each for each in addresses if isinstance(each, IPv4Address))
        (ipv6,) = (each for each in addresses if isinstance(each, IPv6Address))
        return Workload(name, self.space(name), ipv4, ipv6, "")

    def probe(self, source: str, destination: str, *what: str) -> list[str]:
        """Ask with real packets; return the answer in each family."""
        words = ("probe", source, destination, *what, "-o", "json")
        ended = self.user.lab(*words)
        assert ended.stdout, ended.stderr
        return [each["verdict"] for each in json.loads(ended.stdout)]

    def routes(self, place: str, *words: str) -> dict[str, str]:
        """Read the gateways of a place's routes, by destination."""
        argv = ("ip", "-json", *words, "route", "show")
        listed = json.loads(self.space(place).run(*argv) or "[]")
        return {each["dst"]: each.get("gateway", "") for each in listed}

    def await_route(self, place: str, destination: str, gateway: str) -> None:
        """Wait until a place sends a destination to a gateway."""
        assert until(lambda: self.routes(place).get(destination) == gateway), (
            f"{destination} of {place}: {self.routes(place)}"
        )

    # What it consists of.

    def pids(self, place: str, word: str) -> set[int]:
        """List the processes in the network of a place that say a word."""
        network = Path(self.space(place).path).stat().st_ino
        return {
            pid
            for pid in processes()
            if word in cmdline(pid) and _network(pid) == network
        }

    def kill(self, place: str, word: str) -> int:
        """Kill the one process in the network of a place that says a word."""
        (pid,) = self.pids(place, word)
        os.kill(pid, signal.SIGKILL)
        assert until(lambda: pid not in self.pids(place, word))
        return pid

    def await_another(self, place: str, word: str, killed: int) -> None:
        """Wait until something runs in place of a process that was killed."""
        assert until(lambda: len(self.pids(place, word)) == 1)
        assert killed not in self.pids(place, word)

    def start_etcd(self, argv: Sequence[str]) -> None:
        """Start the etcd of the lab again, as it was started before."""
        line = f"setsid {shlex.join(argv)} </dev/null >/dev/null 2>&1 &"
        self.user.done("exec", "etcd", "--", "sh", "-c", line)


@contextlib.contextmanager
def cluster(*words: str) -> Generator[Cluster]:
    """Have a lab for a while; afterwards nothing of it may be left."""
    with lab_user(0) as user:
        user.done("up", *words)
        (holder,) = user.holders()
        yield Cluster(user, holder)
        user.done("down")


def argv_of(pid: int) -> list[str]:
    """Read how a process was started."""
    return Path(f"/proc/{pid}/cmdline").read_text("utf-8").split("\0")[:-1]


def _network(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return 0


@dataclass
class _Sender:
    """One who sends numbered datagrams of one family to the target."""

    mark: str
    socket: socket.socket
    n_sent: int = 0
    arrived: set[int] = field(default_factory=set[int])

    def is_done(self) -> bool:
        return self.n_sent in self.arrived

    def send(self) -> None:
        self.n_sent += 1
        # One that is refused here counts as sent, and so as lost.
        with contextlib.suppress(OSError):
            self.socket.send(f"{self.mark} {self.n_sent}".encode())


class Prober:
    """Numbered datagrams, sent steadily from several workloads to one.

    Nothing is sent again, so whatever a fault loses is missed at the end, and
    whatever it lets pass is seen.
    """

    def __init__(
        self, target: Workload, port: int, sources: Iterable[Workload]
    ) -> None:
        self._receivers = [
            target.space.open_socket(partial(_bound, str(each), port))
            for each in (target.ipv4, target.ipv6)
        ]
        self.senders: dict[str, _Sender] = {}
        for source in sources:
            for to in (target.ipv4, target.ipv6):
                mark = f"{source.name}-IPv{to.version}"
                made = source.space.open_socket(partial(_connected, str(to), port))
                self.senders[mark] = _Sender(mark, made)
        self._stopping, self._done = Event(), Event()
        self._talking = Thread(target=self._talk)
        self._listening = [
            Thread(target=self._listen, args=(each,)) for each in self._receivers
        ]

    def __enter__(self) -> Self:
        for thread in (*self._listening, self._talking):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._talking.join()
        self._done.set()
        for thread in self._listening:
            thread.join()
        for each in (*self._receivers, *(one.socket for one in self.senders.values())):
            each.close()

    def of(self, name: str) -> list[_Sender]:
        """List the senders of one workload, by family."""
        return [self.senders[f"{name}-IPv{version}"] for version in (4, 6)]

    def pass_more(self, name: str, number: int = 50) -> None:
        """Wait until so many more of a workload's datagrams have arrived."""
        wanted = {each.mark: len(each.arrived) + number for each in self.of(name)}
        assert until(
            lambda: all(
                len(each.arrived) >= wanted[each.mark] for each in self.of(name)
            )
        ), f"nothing of {name} arrives"

    def try_more(self, name: str, number: int = 50) -> None:
        """Wait until a workload has sent so many more datagrams."""
        wanted = {each.mark: each.n_sent + number for each in self.of(name)}
        assert until(
            lambda: all(each.n_sent >= wanted[each.mark] for each in self.of(name))
        )

    def n_arrived(self, name: str) -> int:
        return sum(len(each.arrived) for each in self.of(name))

    def lost(self, name: str) -> list[str]:
        """Say which of a workload's datagrams never arrived. Ends the sending."""
        self._stopping.set()
        self._talking.join()
        for each in self.of(name):
            # Loss is seen by what came later; the last ones get their time.
            until(each.is_done)
        return [
            f"{each.mark} {number}"
            for each in self.of(name)
            for number in range(1, each.n_sent + 1)
            if number not in each.arrived
        ]

    def _talk(self) -> None:
        while not self._stopping.wait(_PACE_S):
            for each in self.senders.values():
                each.send()

    def _listen(self, receiver: socket.socket) -> None:
        receiver.settimeout(0.1)
        while not self._done.is_set():
            with contextlib.suppress(TimeoutError):
                mark, number = receiver.recv(64).decode().split()
                self.senders[mark].arrived.add(int(number))


def _kind(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _bound(address: str, port: int) -> socket.socket:
    made = socket.socket(_kind(address), socket.SOCK_DGRAM)
    made.bind((address, port))
    return made


def _connected(address: str, port: int) -> socket.socket:
    made = socket.socket(_kind(address), socket.SOCK_DGRAM)
    made.connect((address, port))
    return made
