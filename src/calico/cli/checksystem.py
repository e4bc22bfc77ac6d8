"""`calicoctl checksystem`: what is missing on this machine, and what to do."""

import http.client
import json
import os
import socket
from collections.abc import Iterator

from calico.cli import output
from calico.cli.call import Call
from calico.cli.exit_codes import DONE, FAILED
from calico.cli.other_chains import iptables_legacy_tables, read_passages
from calico.cli.refusal import Refused, require_root
from calico.codec.keys import READY_KEY
from calico.linux.bird_process import find_usable_bird
from calico.linux.kernel_probe import probe_kernel
from calico.linux.sysctl import (
    CONNTRACK_MAX,
    FORWARDING,
    N_TRACKED_CONNECTIONS,
    ROOT,
    read_sysctl,
)
from calico.model.errors import CalicoError, Unavailable
from calico.node.pidfile import running_pid
from calico.store.open import open_existing_store

_SEARCHED = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_RUNTIMES = frozenset({None, "docker", "none"})
_DOCKER_SOCKET = "/var/run/docker.sock"
_OLDEST_API = (1, 16)
_OLDEST_API_OF_NETWORKS = (1, 21)
_WITHIN_S = 10.0
_FULL = 0.9
_COUNT = "net/netfilter/nf_conntrack_count"
_OK = 200


def check_system(call: Call) -> int:
    """Say what is missing; nothing when all is well."""
    runtime = call.option("--runtime")
    if runtime not in _RUNTIMES:
        raise Refused(
            f"Invalid runtime specified: '{runtime}'",
            "There are docker and none.",
        )
    require_root()
    if call.has_option("--fix"):
        output.complain(
            "--fix is deprecated and of no effect: `calicoctl node` sets what has to"
            " be set."
        )
    problems = list(_problems(call))
    for problem in problems:
        output.complain(problem)
    return FAILED if problems else DONE


def _problems(call: Call) -> Iterator[str]:
    yield from _kernel()
    yield from _settings(is_running=running_pid(call.settings.run_dir) is not None)
    yield from _bird()
    yield from _datastore(call)
    yield from _firewalls()
    needs_networks = call.has_option("--libnetwork")
    if needs_networks or call.option("--runtime") == "docker":
        yield from _docker(
            call, _OLDEST_API_OF_NETWORKS if needs_networks else _OLDEST_API
        )


def _kernel() -> Iterator[str]:
    for each in probe_kernel():
        yield (
            f"ERROR: the kernel ({os.uname().release}) does not offer {each.what}:"
            f" {each.reason}; load the module, or use a kernel with {each.options}."
        )


def _settings(*, is_running: bool) -> Iterator[str]:
    for name, wanted in FORWARDING.items():
        found = read_sysctl(name)
        if found is None or found == wanted:
            continue
        shown = name.replace("/", ".")
        if is_running:
            yield (
                f"ERROR: {shown} is {found}, so workloads reach nothing: somebody has"
                f" set it since the node started; `sysctl -w {shown}={wanted}`."
            )
        elif not os.access(ROOT / name, os.W_OK):
            yield (
                f"ERROR: {shown} is {found} and cannot be set from here: set it to"
                f" {wanted} on the machine itself."
            )
    yield from describe_table(read_sysctl(CONNTRACK_MAX), read_sysctl(_COUNT))


def describe_table(most: str | None, used: str | None) -> Iterator[str]:
    """Say that the table of tracked connections is full, or nearly.

    Args:
        most: How many it takes, as the kernel says; absent without the module,
            which is loaded with the first rule that asks for a connection.
        used: How many it holds.
    """
    numbers = [int(each) for each in (most, used) if each and each.isdecimal()]
    match numbers:
        case [room, taken] if taken > _FULL * room:
            name = CONNTRACK_MAX.replace("/", ".")
            yield (
                f"ERROR: {used} of {most} tracked connections are in use; new ones are"
                f" dropped when it is full. `sysctl -w {name}={N_TRACKED_CONNECTIONS}`"
                " makes room."
            )
        case _:
            pass


def _bird() -> Iterator[str]:
    try:
        find_usable_bird()
    except Unavailable as error:
        yield f"ERROR: {error}"


def _datastore(call: Call) -> Iterator[str]:
    settings = call.settings
    try:
        if settings.etcd is None:
            # Nothing is made here, and without one `node` makes it.
            if (settings.data_dir / "STORE-ID").exists():
                call.existing_store.get(READY_KEY)
            return
        store = open_existing_store(settings)
        try:
            store.get(READY_KEY)
            for text in store.warnings():
                yield f"WARNING: {text}"
        finally:
            store.close()
    except Unavailable as error:
        if settings.etcd is None:
            yield f"ERROR: the datastore cannot be used: {error}"
        else:
            where = ", ".join(settings.etcd.endpoints)
            yield f"ERROR: Could not connect to etcd at {where}: {error}"
    except CalicoError as error:
        yield f"ERROR: the datastore cannot be used: {error}"


def _firewalls() -> Iterator[str]:
    for each in read_passages() or ():
        chain = each.chain
        where = f"{chain.family} {chain.table} {chain.name} ({chain.point})"
        commands = " and ".join(f"`{command}`" for command in each.commands)
        yield (
            f"WARNING: another program's chain can drop what policy allows: {where}:"
            f" {', '.join(chain.reasons)}; let it pass with {commands}."
        )
    if legacy := iptables_legacy_tables():
        yield (
            f"WARNING: iptables-legacy has tables ({', '.join(legacy)}) that are not"
            " looked into: `iptables-legacy -S FORWARD` shows whether they drop."
        )


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=_WITHIN_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_WITHIN_S)
        self.sock.connect(self._path)


def _docker(call: Call, oldest: tuple[int, int]) -> Iterator[str]:
    given = call.environ.get("DOCKER_HOST") or ""
    path = given.removeprefix("unix://") if given.startswith("unix://") else ""
    place = path or _DOCKER_SOCKET
    advice = "start it (`systemctl start docker`), or leave `--runtime=docker` out."
    connection = _UnixConnection(place)
    try:
        connection.request("GET", "/version")
        answer = connection.getresponse()
        text = answer.read(1 << 20)
        version = json.loads(text).get("ApiVersion") if answer.status == _OK else None
        found = tuple(int(part) for part in str(version).split("."))
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        yield f"ERROR: Docker daemon not running. ({place}: {error}) {advice}"
        return
    finally:
        connection.close()
    if found < oldest:
        wanted = ".".join(map(str, oldest))
        yield (
            f"ERROR: Docker server must support Docker Remote API v{wanted} or greater."
            f" It has v{version}; install a newer one."
        )
