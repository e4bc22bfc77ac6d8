"""What etcd must let each host and each operator do, as etcdctl's commands.

A user is the common name of a client certificate; a host's is the host's name.
A host reads everything below `/calico/`. It writes its own endpoints, status and
addresses, what all hosts share of address management, and what its transactions
leave for others to see. It writes no policy and nothing of another host.

Not here: which servers do not keep to their own roles (`etcd_holes`).
"""

import shlex
from collections.abc import Iterator

from calico.codec.keys import (
    HOST_PREFIX,
    IPAM_HANDLE_PREFIX,
    IPAM_HOST_PREFIX,
    IPAM_PREFIX,
    STATUS_HOST_PREFIX,
    bgp_host_prefix,
    host_prefix,
)
from calico.model.names import HostName
from calico.store.etcd_keys import COMPACTOR_KEY, DELETIONS_PREFIX, NOTE_PREFIX

OPERATOR = "calico-operator"
_ALL = "/calico/"


def role_of(host: HostName) -> str:
    """Return the name of a host's role."""
    return f"calico-node-{host}"


def written_by(host: HostName) -> tuple[str, ...]:
    """Return the prefixes that a host writes below."""
    own = host_prefix(host)
    name = own.removeprefix(HOST_PREFIX)
    return (
        own,
        f"{STATUS_HOST_PREFIX}{name}",
        bgp_host_prefix(host),
        f"{IPAM_HOST_PREFIX}{name}",
        f"{IPAM_PREFIX}assignment/",
        IPAM_HANDLE_PREFIX,
        f"{NOTE_PREFIX}/",
        f"{DELETIONS_PREFIX}/",
        COMPACTOR_KEY,
    )


def commands_for_host(host: HostName) -> Iterator[str]:
    """Yield the commands that let one host in."""
    role = role_of(host)
    yield _line("role", "add", role)
    yield _grant(role, "read", _ALL)
    for prefix in written_by(host):
        yield _grant(role, "readwrite", prefix)
    yield _line("user", "add", host, "--no-password")
    yield _line("user", "grant-role", host, role)


def commands_for_operators() -> Iterator[str]:
    """Yield the commands that let people in who change policy."""
    yield _line("role", "add", OPERATOR)
    yield _grant(OPERATOR, "readwrite", _ALL)
    yield _line("user", "add", OPERATOR, "--no-password")
    yield _line("user", "grant-role", OPERATOR, OPERATOR)


def commands_for_root() -> Iterator[str]:
    """Yield the commands that etcd wants first, for its own administrator."""
    yield _line("user", "add", "root", "--no-password")
    yield _line("user", "grant-role", "root", "root")


def command_to_begin() -> str:
    """Return the command after which etcd asks everybody who they are."""
    return _line("auth", "enable")


def _grant(role: str, kind: str, prefix: str) -> str:
    return _line("role", "grant-permission", role, kind, "--prefix=true", prefix)


def _line(*words: str) -> str:
    return shlex.join(("etcdctl", *words))
