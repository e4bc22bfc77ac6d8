"""What goes into the archive of `calicoctl diags`, part by part."""

import json
import os
import platform
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path

from calico import __version__
from calico.cli.call import Call
from calico.cli.datastore import make_export
from calico.codec.export_json import encode_export
from calico.control.client import ask_counters, ask_drops, ask_status
from calico.linux.sysctl import CONNTRACK_MAX, FORWARDING, MEMORY_NAME, PICK_UP
from calico.model.errors import CalicoError

_SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_WITHIN_S = 30.0
_MAX_LOG_BYTES = 8 << 20
_MAX_LOGS = 50
_N_HISTORY = 500
_SAFE = re.compile(r"[^A-Za-z0-9._-]")
_OF_INTERFACES = (
    *("rp_filter", "proxy_arp", "forwarding", "accept_ra", "accept_redirects"),
    *("addr_gen_mode", "proxy_ndp", "disable_ipv6"),
)
_SETTINGS = ("CALICO_", "ETCD_", "FELIX_", "HOSTNAME", "NO_DEFAULT_POOLS")
_NET = Path("/proc/sys/net")

_COMMANDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("netstat", "netstat", ("ss", "-tuanp")),
    ("links", "links", ("ip", "-d", "-s", "link")),
    ("routes4", "routes (IPv4)", ("ip", "-4", "route", "show", "table", "all")),
    ("routes6", "routes (IPv6)", ("ip", "-6", "route", "show", "table", "all")),
    ("rules4", "routing rules (IPv4)", ("ip", "-4", "rule")),
    ("rules6", "routing rules (IPv6)", ("ip", "-6", "rule")),
    ("addresses4", "interfaces (IPv4)", ("ip", "-4", "addr")),
    ("addresses6", "interfaces (IPv6)", ("ip", "-6", "addr")),
    ("neighbours", "neighbours", ("ip", "neigh")),
    ("forwarding-entries", "forwarding entries", ("bridge", "fdb")),
    ("nft", "nftables (ours and others)", ("nft", "-a", "list", "ruleset")),
    ("iptables4", "iptables (IPv4)", ("iptables-save", "-c")),
    ("iptables6", "iptables (IPv6)", ("ip6tables-save", "-c")),
    ("conntrack", "connection tracking", ("conntrack", "-S")),
    ("modules", "modules", ("lsmod",)),
    ("kernel-log", "kernel log", ("dmesg",)),
    (
        "journal",
        "journal",
        ("journalctl", "--no-pager", "-n", "5000", "-t", "calico", "-t", "calicoctl",
         "-t", "bird", "-t", "etcd"),
    ),
)  # fmt: skip


class PartFailed(CalicoError):  # noqa: N818 -- says what happened
    """A part of the archive cannot be had.

    Attributes:
        what: Which one.
        reason: Why.
    """

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the archive.

    Attributes:
        name: Its file there.
        title: What it is, to people.
        read: Returns it, or raises `PartFailed`.
    """

    name: str
    title: str
    read: Callable[[], bytes]


def parts(call: Call) -> Iterator[Part]:
    """Yield every part, in the order in which they are read."""
    settings = call.settings
    yield Part("versions.txt", "versions", _versions)
    yield Part("settings.txt", "settings", lambda: _settings(call))
    for name, title, words in _COMMANDS:
        yield Part(f"{name}.txt", title, partial(_run, words))
    yield Part("sysctls.txt", "kernel settings", lambda: _sysctls(settings.run_dir))
    yield Part(
        "agent.json", "felix stats", lambda: _agent(ask_status, settings.run_dir)
    )
    yield Part(
        "counters.json",
        "counters of rules",
        lambda: _agent(ask_counters, settings.run_dir),
    )
    yield Part(
        "drops.json",
        "dropped packets",
        lambda: _agent(lambda place: ask_drops(place, 0, 0.0), settings.run_dir),
    )
    yield Part(
        "bird.conf",
        "BIRD configuration",
        lambda: _file(settings.run_dir / "bird.conf"),
    )
    yield Part("bird.txt", "BIRD state", lambda: _bird(settings.run_dir / "bird.ctl"))
    yield Part("run-dir.txt", "run directory", lambda: _listing(settings.run_dir))
    yield Part("datastore.json", "datastore", lambda: _datastore(call))
    yield Part("history.txt", "history of the datastore", lambda: _history(call))


def _run(words: tuple[str, ...]) -> bytes:
    shown = " ".join(words)
    program = shutil.which(words[0], path=_SEARCHED)
    if program is None:
        raise PartFailed(shown, "is not installed")
    try:
        done = subprocess.run(
            [program, *words[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_WITHIN_S,
            env={"PATH": _SEARCHED, "LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired:
        raise PartFailed(shown, f"did not end within {_WITHIN_S:g} s") from None
    except OSError as error:
        raise PartFailed(shown, error.strerror or str(error)) from None
    if done.returncode != 0 and not done.stdout:
        words_of_it = done.stderr.decode(errors="replace").strip().splitlines()
        raise PartFailed(shown, words_of_it[0] if words_of_it else "failed")
    return done.stdout + done.stderr


def _versions() -> bytes:
    lines = [
        f"calicoctl {__version__}",
        f"python {sys.version}",
        " ".join(platform.uname()),
    ]
    for words in (("nft", "-v"), ("ip", "-V"), ("bird", "--version"),
                  ("etcd", "--version"), ("docker", "--version")):  # fmt: skip
        try:
            lines.append(_run(words).decode(errors="replace").strip())
        except PartFailed as error:
            lines.append(str(error))
    with suppress(OSError):
        lines.append(Path("/etc/os-release").read_text())
    return "\n".join(lines).encode()


def _settings(call: Call) -> bytes:
    """Say where things are, and which files of the settings can be used."""
    lines = [f"{name} = {value}" for name, value in _given(call)]
    settings = asdict(call.settings)
    lines += [f"{name}: {value}" for name, value in settings.items() if name != "etcd"]
    etcd = call.settings.etcd
    for path in () if etcd is None else (
        etcd.ca_cert_file, etcd.cert_file, etcd.key_file
    ):  # fmt: skip
        if path is not None:
            lines.append(_describe(path))
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _given(call: Call) -> Iterator[tuple[str, str]]:
    for name, value in sorted(call.environ.items()):
        if name.startswith(_SETTINGS):
            yield name, value


def _describe(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:
        return f"{path}: {error.strerror}"
    mode = stat.filemode(found.st_mode)
    return f"{path}: {mode} of {found.st_uid}:{found.st_gid}, {found.st_size} bytes"


def _sysctls(run_dir: Path) -> bytes:
    names = [*FORWARDING, *PICK_UP, CONNTRACK_MAX]
    names += ["net/netfilter/nf_conntrack_count", "net/core/wmem_max"]
    lines = [f"{name} = {_value(_NET.parent / name)}" for name in names]
    for family in ("ipv4", "ipv6"):
        with suppress(OSError):
            for interface in sorted((_NET / family / "conf").iterdir()):
                for name in _OF_INTERFACES:
                    path = interface / name
                    if path.exists():
                        lines.append(
                            f"{path.relative_to(_NET.parent)} = {_value(path)}"
                        )
    memory = run_dir / MEMORY_NAME
    if memory.exists():
        lines += ["", "before us, and ours:", _value(memory)]
    return "\n".join(lines).encode()


def _value(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        return f"({error.strerror})"


def _agent(ask: Callable[[Path], object], run_dir: Path) -> bytes:
    try:
        return json.dumps(ask(run_dir), default=_plain, indent=2).encode()
    except CalicoError as error:
        raise PartFailed("the agent", str(error)) from None


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    return str(value)


def _file(path: Path) -> bytes:
    """Read a regular file, its end if it is large; links are not followed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise PartFailed(str(path), "is no regular file")
            file.seek(max(0, found.st_size - _MAX_LOG_BYTES))
            return file.read(_MAX_LOG_BYTES)
    except OSError as error:
        raise PartFailed(str(path), error.strerror or str(error)) from None


def _bird(path: Path) -> bytes:
    """Ask BIRD over its control socket what it knows."""
    answers: list[bytes] = []
    commands = ("show status", "show protocols all", "show route all", "show memory")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_WITHIN_S)
            connection.connect(str(path))
            answers.append(_until_end(connection))
            for command in commands:
                connection.sendall(f"{command}\n".encode())
                answers.append(f"\n{command}\n".encode() + _until_end(connection))
    except OSError as error:
        raise PartFailed(str(path), error.strerror or str(error)) from None
    return b"".join(answers)


_LAST_LINE = re.compile(rb"(?:^|\n)\d{4} [^\n]*\n\Z")


def _until_end(connection: socket.socket) -> bytes:
    """Read one answer: its last line has a number and a blank, not a dash."""
    answer = bytearray()
    while not _LAST_LINE.search(answer[-4096:]):
        piece = connection.recv(65536)
        if not piece:
            break
        answer += piece
    return bytes(answer)


def _listing(directory: Path) -> bytes:
    try:
        return "\n".join(
            _describe(each) for each in sorted(directory.iterdir())
        ).encode("utf-8", "surrogateescape")
    except OSError as error:
        raise PartFailed(str(directory), error.strerror or str(error)) from None


def _datastore(call: Call) -> bytes:
    try:
        return "\n".join(encode_export(make_export(call.existing_store))).encode()
    except CalicoError as error:
        raise PartFailed("the datastore", str(error)) from None


def _history(call: Call) -> bytes:
    try:
        entries = call.existing_store.history(limit=_N_HISTORY)
    except CalicoError as error:
        raise PartFailed("the datastore", str(error)) from None
    return "\n".join(
        f"{each.revision} {each.time_s:.0f} {' '.join(each.note)} {' '.join(each.keys)}"
        for each in entries
    ).encode("utf-8", "surrogateescape")


def log_files(directory: Path) -> list[tuple[str, bytes]]:
    """Read the logs in a directory, each under a name that is safe to unpack."""
    found: dict[str, bytes] = {}
    try:
        entries = sorted(directory.iterdir())
    except OSError:
        return []
    for number, path in enumerate(entries[:_MAX_LOGS]):
        with suppress(PartFailed):
            name = _SAFE.sub("_", path.name)
            safe = f"{number}-{name}" if name in found or name != path.name else name
            found[safe] = _file(path)
    return list(found.items())
