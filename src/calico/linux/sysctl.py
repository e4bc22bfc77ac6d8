"""Kernel settings below /proc/sys: of the host and of each workload's interface.

What the kernel refuses, as it does without real root, is reported by name and
stops nothing: policy is enforced without it.

Not here: when an interface is due (`workloads`).

Source:
    Linux, Documentation/networking/ip-sysctl.rst.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/proc/sys")

MEMORY_NAME = "sysctls"
"""What the file in the run directory is called that keeps settings before us.

A line for each that we have changed: its name, what it was, what we made it.
"""

CONNTRACK_MAX = "net/netfilter/nf_conntrack_max"
N_TRACKED_CONNECTIONS = 1_000_000

FORWARDING = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
}
"""What a host needs to carry its workloads' traffic."""

PICK_UP = {"net/netfilter/nf_conntrack_tcp_loose": "0"}
"""What makes the middle of an unknown TCP connection invalid, and not new.

Otherwise a connection that was cut goes on with the next packet of who answers:
connection tracking picks it up as a new one in the other direction.
"""

_WANTED = {**FORWARDING, **PICK_UP}
_OF_HOST = frozenset({*_WANTED, CONNTRACK_MAX})
_N_WORDS = 3

# Second line of the source check; the first is in the nftables table.
_REVERSE_PATH = "net/ipv4/conf/{}/rp_filter"
_LOOSE = "2"

_OF_INTERFACE = {
    _REVERSE_PATH: "1",
    "net/ipv4/conf/{}/proxy_arp": "1",
    "net/ipv4/neigh/{}/proxy_delay": "0",
    # A workload must neither configure the host nor move its routes.
    "net/ipv6/conf/{}/accept_ra": "0",
    "net/ipv6/conf/{}/accept_redirects": "0",
    # The host's link-local address follows from its MAC, so that a workload's
    # permanent neighbour entry for it is right, and it is usable at once.
    "net/ipv6/conf/{}/addr_gen_mode": "0",
    "net/ipv6/conf/{}/accept_dad": "0",
    "net/ipv6/conf/{}/proxy_ndp": "1",
}


_OF_TUNNEL = {
    # A host without an address in the tunnel's pool sends from its other one,
    # to which the way back is outside the tunnel.
    _REVERSE_PATH: "2",
    "net/ipv4/conf/{}/accept_redirects": "0",
    "net/ipv4/conf/{}/send_redirects": "0",
    "net/ipv6/conf/{}/accept_ra": "0",
    "net/ipv6/conf/{}/accept_redirects": "0",
    "net/ipv6/conf/{}/accept_dad": "0",
}


@dataclass(frozen=True, slots=True)
class _Changed:
    """A setting of the host that we have changed.

    Attributes:
        before: What it was.
        ours: What we made it.
    """

    before: str
    ours: str


def write_sysctl(name: str, value: str, root: Path = ROOT) -> str | None:
    """Set a kernel setting.

    Args:
        name: Its path below `root`.
        value: What to write.
        root: Where the kernel's settings are.

    Returns:
        Why the kernel refused it, or `None`.
    """
    try:
        # Unbuffered and in one write: a thousand interfaces have ten each.
        with (root / name).open("wb", buffering=0) as file:
            file.write(value.encode())
    except OSError as error:
        return error.strerror or str(error)
    return None


def read_sysctl(name: str, root: Path = ROOT) -> str | None:
    """Return a kernel setting, or `None` where it cannot be read."""
    try:
        return (root / name).read_text().strip()
    except OSError:
        return None


def configure_interface(interface: str) -> dict[str, str]:
    """Give a workload's interface the settings that it needs.

    Returns:
        Why the kernel refused a setting, by name. Without IPv6 in the kernel
        its settings are not there, and nothing is said of them.
    """
    return _configure(interface, _OF_INTERFACE)


def configure_tunnel(interface: str) -> dict[str, str]:
    """Give a tunnel's device the settings that it needs.

    Returns:
        Why the kernel refused a setting, by name; see `configure_interface`.
    """
    return _configure(interface, _OF_TUNNEL)


def _configure(interface: str, settings: Mapping[str, str]) -> dict[str, str]:
    refused: dict[str, str] = {}
    for pattern, value in settings.items():
        name = pattern.format(interface)
        reason = write_sysctl(name, value)
        if reason is not None and (ROOT / name).exists():
            refused[name] = reason
    return refused


def configure_host(memory: Path, root: Path = ROOT) -> dict[str, str]:
    """Give the host the settings that it needs to carry workloads' traffic.

    Args:
        memory: A file that keeps what the settings were before us.
        root: Where the kernel's settings are.

    Returns:
        What the kernel refused, or what weakens us, by name.
    """
    due = _due(root)
    known = _read_memory(memory)
    # Before the settings: whatever ends us in between, they can be taken back.
    # One that we have to set again was set by somebody since, and counts anew.
    if due:
        _write_memory(memory, {**known, **due})
    findings: dict[str, str] = {}
    for name, change in due.items():
        reason = write_sysctl(name, change.ours, root)
        if reason is not None:
            findings[name] = f"stays {change.before}, {change.ours} wanted: {reason}"
    if findings:
        done = {name: due[name] for name in due.keys() - findings.keys()}
        _write_memory(memory, {**known, **done})
    if read_sysctl(_REVERSE_PATH.format("all"), root) == _LOOSE:
        findings[_REVERSE_PATH.format("all")] = (
            "is 2, which loosens the kernel's own source check on every interface; "
            "ours in the nftables table is not affected"
        )
    return findings


def restore_host(memory: Path, root: Path = ROOT) -> None:
    """Take back what we have set, where nobody has set something else since.

    Args:
        memory: The file that `configure_host` has kept; it goes.
        root: Where the kernel's settings are.
    """
    for name, change in _read_memory(memory).items():
        if read_sysctl(name, root) == change.ours:
            write_sysctl(name, change.before, root)
    memory.unlink(missing_ok=True)


def _due(root: Path) -> dict[str, _Changed]:
    """Find the settings of the host that are not as we need them."""
    due: dict[str, _Changed] = {}
    for name, value in _WANTED.items():
        before = read_sysctl(name, root)
        if before is not None and before != value:
            due[name] = _Changed(before, value)
    most = read_sysctl(CONNTRACK_MAX, root)
    if most is not None and most.isdecimal() and int(most) < N_TRACKED_CONNECTIONS:
        due[CONNTRACK_MAX] = _Changed(most, str(N_TRACKED_CONNECTIONS))
    return due


def _read_memory(memory: Path) -> dict[str, _Changed]:
    """Read what we have changed; nothing that we cannot have changed is in it."""
    try:
        lines = memory.read_text().splitlines()
    except OSError:
        return {}
    found: dict[str, _Changed] = {}
    for words in map(str.split, lines):
        if len(words) == _N_WORDS and words[0] in _OF_HOST:
            found[words[0]] = _Changed(words[1], words[2])
    return found


def _write_memory(memory: Path, known: Mapping[str, _Changed]) -> None:
    lines = [f"{name} {each.before} {each.ours}\n" for name, each in known.items()]
    draft = memory.with_name(f"{memory.name}.new")
    draft.write_text("".join(lines))
    draft.replace(memory)
