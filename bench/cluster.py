"""What the benchmarks of a cluster share: hosts, an etcd beside them, its figures.

Each host is a network namespace, and so is the wire between them, where the
members of etcd run with their data in a temporary directory. Nothing is in the
namespace of the machine, and all of it goes when the benchmark ends. It needs
root.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench_agent import commit, namespace, run
from bench_growth import cpu_time

from calico.codec.keys import READY_KEY
from calico.control.client import NoAgent, ask_status, wait_for_revision
from calico.linux.namespace import call_inside, open_namespace
from calico.linux.nft_events import Committed, NftEvents
from calico.settings import Settings
from calico.store.api import Operation, Put, Store
from calico.store.open import open_store

WIRE = "ctclusterwire"
WIRE_ADDRESS = "10.97.0.1"
PER_TRANSACTION = 100
PATIENCE_S = 60.0

_CLONE_NEWNET = 0x40000000
_GRPC = "etcd_network_client_grpc_"


@dataclass
class Member:
    """One member of etcd.

    Args:
        name: Its name.
        directory: Where its data and its log are.
        number: From 0; makes its ports.
        cluster: The peers, as etcd's own option has them.
        tls: The options for TLS; empty without.
    """

    name: str
    directory: Path
    number: int
    cluster: str
    tls: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{WIRE_ADDRESS}:{client_port(self.number)}"

    @property
    def pid(self) -> int:
        return 0 if self.process is None else self.process.pid

    def start(self) -> None:
        peer = f"{self.scheme}://{WIRE_ADDRESS}:{client_port(self.number) + 1}"
        options = {
            "name": self.name,
            "data-dir": str(self.directory / self.name),
            "listen-client-urls": self.url,
            "advertise-client-urls": self.url,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": self.cluster,
            "initial-cluster-state": "new",
            "listen-metrics-urls": self._metrics_url,
            "log-level": "error",
        }
        argv = ["ip", "netns", "exec", WIRE, "etcd", *self.tls]
        # Without, a member that comes back often ends the term of a live leader.
        argv.append("--pre-vote")
        argv += [f"--{name}={value}" for name, value in options.items()]
        with (self.directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                argv, stdout=log, stderr=log, env={"PATH": os.environ["PATH"]}
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def figures(self) -> dict[str, float]:
        """Read what etcd counts; empty while it does not answer."""
        with contextlib.suppress(OSError, ValueError):
            url = f"{self._metrics_url}/metrics"
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 -- http
                lines = answer.read().decode().splitlines()
            pairs = (each.rsplit(" ", 1) for each in lines if not each.startswith("#"))
            return {name: float(value) for name, value in pairs}
        return {}

    @property
    def _metrics_url(self) -> str:
        return f"http://{WIRE_ADDRESS}:{client_port(self.number) + 2}"

    def is_leader(self) -> bool:
        return self.figures().get("etcd_server_is_leader") == 1

    def has_leader(self) -> bool:
        return self.figures().get("etcd_server_has_leader") == 1

    def cost(self) -> "Cost":
        """Return what it has cost since it was started."""
        figures = self.figures()
        return Cost(
            cpu_s=cpu_time(self.pid),
            sent=figures.get(f"{_GRPC}sent_bytes_total", 0.0),
            received=figures.get(f"{_GRPC}received_bytes_total", 0.0),
            stored=figures.get("etcd_mvcc_db_total_size_in_bytes", 0.0),
        )


@dataclass(frozen=True)
class Cost:
    """What etcd spends: processor, bytes to and from clients, bytes on disk."""

    cpu_s: float
    sent: float
    received: float
    stored: float

    def since(self, before: "Cost") -> "Cost":
        return Cost(
            self.cpu_s - before.cpu_s,
            self.sent - before.sent,
            self.received - before.received,
            self.stored - before.stored,
        )


def client_port(number: int) -> int:
    return 2379 + 10 * number


@dataclass
class Etcd:
    """A cluster of etcd.

    Attributes:
        members: Its members.
        environment: How a client finds it.
    """

    members: list[Member]
    environment: dict[str, str]

    def leader(self) -> Member:
        found: list[Member] = []

        def finds() -> bool:
            found[:] = [each for each in self.members if each.is_leader()]
            return bool(found)

        until(finds, "etcd has a leader")
        return found[0]

    def await_ready(self) -> None:
        until(lambda: all(m.has_leader() for m in self.members), "etcd answers")

    def settings(self, directory: Path, name: str = "bench") -> Settings:
        return Settings.from_environment(environment(directory, name, self))


@dataclass
class Site:
    """The namespaces of a cluster and its etcd.

    Attributes:
        hosts: The namespace of each host.
        etcd: The datastore.
        directory: Goes when the site goes.
        stack: Ends what is started.
    """

    hosts: tuple[str, ...]
    etcd: Etcd
    directory: Path
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def open_store(self) -> Store:
        store = open_store(self.etcd.settings(self.directory))
        self.stack.callback(store.close)
        return store


@contextlib.contextmanager
def site(n_hosts: int, n_members: int = 1, *, tls: bool = False) -> Iterator[Site]:
    """Make hosts and an etcd, and enter the first host.

    The whole process is on the first host then, as a command there would be.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="ctclusterbench"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        hosts = tuple(f"ctcluster{number}" for number in range(1, n_hosts + 1))
        for name in (WIRE, *hosts):
            stack.enter_context(namespace(name))
        connect(hosts)
        etcd = make_etcd(directory, n_members, tls=tls)
        for member in etcd.members:
            stack.callback(member.kill)
            member.start()
        enter(hosts[0])
        etcd.await_ready()
        made = Site(hosts, etcd, directory)
        with made.stack:
            commit(made.open_store(), [Put(READY_KEY, b"true")])
            yield made


def connect(hosts: Sequence[str]) -> None:
    """Connect the hosts by a bridge that has the address of etcd."""
    lines = ["link add wire type bridge", "link set wire up"]
    lines.append(f"addr add {WIRE_ADDRESS}/24 dev wire")
    for number, host in enumerate(hosts, 1):
        lines.append(f"link add port{number} type veth peer name eth0 netns {host}")
        lines.append(f"link set port{number} master wire up")
    run("ip", "-n", WIRE, "-batch", "-", text="\n".join(lines))
    for number, host in enumerate(hosts, 1):
        up = f"addr add {host_address(number)}/24 dev eth0\nlink set eth0 up\n"
        run("ip", "-n", host, "-batch", "-", text=up)


def host_address(number: int) -> str:
    """Return the address of a host on the wire; the first is number 1."""
    return f"10.97.0.{10 + number}"


def enter(name: str) -> None:
    """Let this thread, and what it starts, be in a network namespace."""
    with Path("/run/netns", name).open("rb") as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {name}")


def make_etcd(directory: Path, n_members: int, *, tls: bool) -> Etcd:
    scheme = "https" if tls else "http"
    cluster = ",".join(
        f"m{number}={scheme}://{WIRE_ADDRESS}:{client_port(number) + 1}"
        for number in range(n_members)
    )
    options: tuple[str, ...] = ()
    given: dict[str, str] = {}
    if tls:
        certify(directory)
        ca, own, key = (directory / each for each in ("ca.crt", "own.crt", "own.key"))
        files = {"trusted-ca-file": ca, "cert-file": own, "key-file": key}
        options = tuple(
            f"--{side}{name}={file}"
            for side in ("", "peer-")
            for name, file in files.items()
        )
        options += ("--client-cert-auth", "--peer-client-cert-auth")
        given = {
            "ETCD_CA_CERT_FILE": str(ca),
            "ETCD_CERT_FILE": str(own),
            "ETCD_KEY_FILE": str(key),
        }
    members = [
        Member(f"m{number}", directory, number, cluster, options)
        for number in range(n_members)
    ]
    given["ETCD_ENDPOINTS"] = ",".join(each.url for each in members)
    return Etcd(members, given)


def certify(directory: Path) -> None:
    """Make an authority and one certificate for servers and clients."""
    ca = f"-x509 -days 2 -subj /CN=bench-ca -keyout {directory}/ca.key"
    openssl(f"req {NEW_KEY} {ca} -out {directory}/ca.crt")
    request = f"-subj /CN=bench -keyout {directory}/own.key -out {directory}/own.csr"
    openssl(f"req {NEW_KEY} {request}")
    names = directory / "names"
    names.write_text(
        f"subjectAltName=IP:{WIRE_ADDRESS}\nextendedKeyUsage=serverAuth,clientAuth\n"
    )
    signed = f"-CA {directory}/ca.crt -CAkey {directory}/ca.key -CAcreateserial"
    openssl(
        f"x509 -req -days 2 -in {directory}/own.csr {signed} -extfile {names}"
        f" -out {directory}/own.crt"
    )


NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


def openssl(words: str) -> None:
    run("openssl", *words.split())


# Agents.


def environment(directory: Path, name: str, etcd: Etcd) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOSTNAME": name,
        "CALICO_DATA_DIR": str(directory / "data"),
        "CALICO_RUN_DIR": str(directory / name / "run"),
        "CALICO_LOG_DIR": str(directory / name / "log"),
        **etcd.environment,
    }


@contextlib.contextmanager
def agent(made: Site, name: str) -> Iterator[Settings]:
    """Run the supervisor and the agent of a host until its end."""
    values = environment(made.directory, name, made.etcd)
    directory = made.directory / name
    directory.mkdir(exist_ok=True)
    argv = ["ip", "netns", "exec", name, sys.executable, "-I", "-m"]
    with (directory / "out").open("ab") as out:
        supervisor = subprocess.Popen(
            [*argv, "calico.node.supervisor"], env=values, stdout=out, stderr=out
        )
    try:
        yield Settings.from_environment(values)
    finally:
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait()


def await_revision(settings: Settings, revision: int) -> None:
    """Wait until an agent has a revision in force."""

    def is_there() -> bool:
        try:
            wanted = type(ask_status(settings.run_dir).revision)(revision)
            return wait_for_revision(settings.run_dir, wanted, 1.0) >= wanted
        except NoAgent:
            return False

    until(is_there, f"{settings.hostname} has revision {revision} in force")


def events_in(name: str) -> NftEvents:
    with open_namespace(f"/run/netns/{name}") as fd:
        return call_inside(fd, NftEvents)


def await_commit(events: NftEvents, patience_s: float = PATIENCE_S) -> float:
    """Return when the kernel says that our table was changed."""
    deadline = time.perf_counter() + patience_s
    while time.perf_counter() < deadline:
        seen = events.read(1.0)
        if any(isinstance(each, Committed) and each.is_ours for each in seen):
            return time.perf_counter()
    raise SystemExit("nothing arrived in the kernel")


def count_commits(events: NftEvents) -> int:
    """Count the commits to our table that nobody has read yet."""
    n_commits = 0
    while seen := events.read(0):
        n_commits += sum(isinstance(each, Committed) and each.is_ours for each in seen)
    return n_commits


# Everything else.


def fill(store: Store, operations: Sequence[Operation]) -> None:
    """Write much, in transactions as small as etcd wants them."""
    for start in range(0, len(operations), PER_TRANSACTION):
        commit(store, operations[start : start + PER_TRANSACTION])


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {PATIENCE_S:.0f} s: {what}")
        time.sleep(0.02)


def lacks() -> str:
    """Say what this machine has not that is needed; empty when it has all."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [each for each in ("etcd", "openssl", "ip") if shutil.which(each) is None]
    return f"needs {', '.join(missing)}" if missing else ""


def datagrams(name: str, port: int) -> socket.socket:
    """Open a socket for datagrams in a namespace."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("", port))
        return made

    with open_namespace(f"/run/netns/{name}") as fd:
        return call_inside(fd, make)
