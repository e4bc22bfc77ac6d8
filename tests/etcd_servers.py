"""Real etcd members for tests: one, or a cluster, plain or with TLS.

`etcd_cluster` starts members on free loopback ports with their data below a
directory of the test's, and ends them whatever happens. Certificates are made
by `Authority` with openssl. Settings of the kind that a user sets come out of
`EtcdCluster.environ`.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from calico.settings import EtcdSettings

DEADLINE_S = 20.0
_FAST = ("--heartbeat-interval=20", "--election-timeout=200")


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds, at most `DEADLINE_S`."""
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.01)


def free_ports(number: int) -> list[int]:
    """Return ports of the loopback that nobody listens on just now."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key, as files."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates; its own is in `ca`.

    Args:
        directory: Where all of its files go.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.ca = directory / "ca.pem"
        self._key = directory / "ca.key"
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=test authority", "-days", "30"),
            *("-keyout", self._key, "-out", self.ca),
        )

    def sign(
        self,
        name: str,
        *,
        alt_names: str = "DNS:localhost,IP:127.0.0.1",
        expired: bool = False,
    ) -> Certificate:
        """Make a certificate with a common name."""
        base = self._directory / f"{name}-{len(list(self._directory.iterdir()))}"
        made = Certificate(base.with_suffix(".pem"), base.with_suffix(".key"))
        request, extensions = base.with_suffix(".csr"), base.with_suffix(".ext")
        extensions.write_text(f"subjectAltName={alt_names}\n")
        _openssl(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", f"/CN={name}", "-keyout", made.key, "-out", request),
        )
        # A number of days below zero is how openssl makes one that has expired.
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key),
            *("-CAcreateserial", "-days", "-1" if expired else "30"),
            *("-extfile", extensions, "-out", made.cert),
        )
        return made


def _openssl(*words: object) -> None:
    subprocess.run(
        ["openssl", *(str(word) for word in words)], check=True, capture_output=True
    )


@dataclass(slots=True)
class Member:
    """One etcd process, which can be stopped, frozen and started again."""

    name: str
    url: str
    peer_url: str
    command: list[str]
    log: Path
    data: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        """Start it, with the data that it has."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def kill(self) -> None:
        """End it at once, frozen or not, and wait until it is gone."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait()
            self.process = None

    def end(self) -> None:
        """Ask it to end, which takes leave of clients first, and wait for that."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait()
        self.process = None

    def freeze(self) -> None:
        """Stop it from running, without a word to those it is connected to."""
        self._signal(signal.SIGSTOP)

        def is_stopped() -> bool:
            assert self.process is not None
            stat = Path(f"/proc/{self.process.pid}/stat").read_text()
            return stat.rpartition(")")[2].split()[0] == "T"

        wait_for(is_stopped, f"{self.name} to stop")

    def thaw(self) -> None:
        """Let it run on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)


@dataclass(slots=True)
class EtcdCluster:
    """The members of a cluster, and how they are reached."""

    members: list[Member]
    directory: Path
    server_ca: Path | None = None
    client: Certificate | None = None
    certificates: dict[str, Certificate] = field(default_factory=dict[str, Certificate])

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(member.url for member in self.members)

    def settings(self, *urls: str, client: Certificate | None = None) -> EtcdSettings:
        """Return the settings that lead here, or to some of the members."""
        shown = client or self.client
        return EtcdSettings(
            endpoints=urls or self.urls,
            variable="ETCD_ENDPOINTS",
            ca_cert_file=self.server_ca,
            cert_file=shown.cert if shown else None,
            key_file=shown.key if shown else None,
        )

    def environ(self, client: Certificate | None = None) -> dict[str, str]:
        """Return the environment variables that lead here."""
        found = self.settings(client=client)
        files = {
            "ETCD_CA_CERT_FILE": found.ca_cert_file,
            "ETCD_CERT_FILE": found.cert_file,
            "ETCD_KEY_FILE": found.key_file,
        }
        named = {name: str(path) for name, path in files.items() if path is not None}
        return {"ETCD_ENDPOINTS": ",".join(found.endpoints), **named}

    def etcdctl(
        self,
        *words: str,
        urls: Sequence[str] = (),
        client: Certificate | None = None,
        given: str | None = None,
        must_work: bool = True,
    ) -> "subprocess.CompletedProcess[str]":
        """Run etcdctl against the cluster, or some of its members."""
        found = self.settings(*urls, client=client)
        flags = [f"--endpoints={','.join(found.endpoints)}"]
        for flag, path in (
            ("--cacert", found.ca_cert_file),
            ("--cert", found.cert_file),
            ("--key", found.key_file),
        ):
            if path is not None:
                flags.append(f"{flag}={path}")
        return subprocess.run(
            ["etcdctl", *flags, *words],
            check=must_work,
            capture_output=True,
            text=True,
            input=given,
            env={**os.environ, "ETCDCTL_API": "3"},
        )

    def leader(self) -> Member:
        """Return the member that leads, once there is one."""
        found: list[Member] = []

        def look() -> bool:
            for member in self.members:
                if member.process is None:
                    continue
                status = self.etcdctl(
                    *("endpoint", "status", "--command-timeout=1s"),
                    urls=(member.url,),
                    must_work=False,
                ).stdout
                if re.search(r", true, (true|false), ", status):
                    found.append(member)
                    return True
            return False

        wait_for(look, "a leader")
        return found[0]

    def wait_until_healthy(self) -> None:
        """Wait until every member that runs answers a linearizable read."""
        running = [each.url for each in self.members if each.process is not None]
        wait_for(
            lambda: (
                self.etcdctl(
                    *("endpoint", "health", "--command-timeout=2s"),
                    urls=running,
                    must_work=False,
                ).returncode
                == 0
            ),
            "etcd to be healthy",
        )

    def wait_until_listening(self) -> None:
        """Wait until every member takes connections, of whatever kind."""

        def is_listening(member: Member) -> bool:
            host, _, port = member.url.partition("://")[2].rpartition(":")
            with suppress(OSError), socket.create_connection((host, int(port)), 1):
                return True
            return False

        wait_for(lambda: all(map(is_listening, self.members)), "etcd to listen")

    def stop(self) -> None:
        """End all members."""
        for member in self.members:
            member.kill()


@contextmanager
def etcd_cluster(
    directory: Path | None = None,
    *,
    size: int = 1,
    authority: Authority | None = None,
    server: Certificate | None = None,
    client: Certificate | None = None,
    extra: Sequence[str] = (),
    address: str = "127.0.0.1",
    before: Sequence[str] = (),
    wait: bool = True,
) -> Generator[EtcdCluster]:
    """Run a cluster of etcd members.

    Args:
        directory: Where their data and logs go; a temporary one otherwise.
        size: How many.
        authority: With it they speak TLS and want certificates that it signed.
        server: What they show; signed by `authority` unless given.
        client: What `environ` and `etcdctl` show; likewise, for the user `root`.
        extra: More flags for each member.
        address: What they listen on.
        before: The command to run them under, such as `ip netns exec NAME`.
        wait: Begin only when they answer; not possible in another namespace.
    """
    own = Path(tempfile.mkdtemp(prefix="calico-etcd-"))
    base = own if directory is None else directory
    base.mkdir(parents=True, exist_ok=True)
    if authority is not None:
        server = server or authority.sign("etcd")
        client = client or authority.sign("root")
    members = _plan(base, size, authority, server, (*_FAST, *extra), address, before)
    ca = None if authority is None else authority.ca
    cluster = EtcdCluster(members, base, ca, client)
    try:
        for member in members:
            member.start()
        if wait and not before:
            cluster.wait_until_healthy()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(own, ignore_errors=True)


def _plan(  # noqa: PLR0917 -- of one caller
    base: Path,
    size: int,
    authority: Authority | None,
    server: Certificate | None,
    extra: Sequence[str],
    address: str,
    before: Sequence[str],
) -> list[Member]:
    scheme = "http" if authority is None else "https"
    ports = iter(free_ports(2 * size))
    places = [
        (
            f"m{n}",
            f"{scheme}://{address}:{next(ports)}",
            f"http://{address}:{next(ports)}",
        )
        for n in range(1, size + 1)
    ]
    initial = ",".join(f"{name}={peer}" for name, _, peer in places)
    tls: list[str] = []
    if authority is not None and server is not None:
        tls = [
            f"--cert-file={server.cert}",
            f"--key-file={server.key}",
            f"--trusted-ca-file={authority.ca}",
            "--client-cert-auth",
        ]
    return [
        Member(
            name,
            url,
            peer,
            [
                *before,
                "etcd",
                f"--name={name}",
                f"--data-dir={base / name}",
                f"--listen-client-urls={url}",
                f"--advertise-client-urls={url}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster={initial}",
                "--initial-cluster-token=test",
                "--log-level=error",
                *tls,
                *extra,
            ],
            base / f"{name}.log",
            base / name,
        )
        for name, url, peer in places
    ]


def merged(environ: Mapping[str, str], **more: str) -> dict[str, str]:
    """Return the environment of this process with some more in it."""
    return {**os.environ, **environ, **more}
