"""Who may do what in an etcd: roles for hosts and for operators.

A host reads what policy and routes are computed from, and writes what is its
own: its endpoints, its address, its status, its blocks. Blocks and handles of
addresses are shared, because a host may borrow an address out of another
host's block. Whoever holds a host's certificate can therefore disturb the
allocation of addresses and the history, but change neither policy nor another
host's endpoints.

etcd takes a client for the user that the common name of its certificate names.

Not here: what old servers let through all the same (`etcd_holes`).
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from calico.codec.keys import (
    BGP_PREFIX,
    IPAM_HANDLE_PREFIX,
    IPAM_PREFIX,
    LIBNETWORK_PREFIX,
    POLICY_PREFIX,
    STATUS_HOST_PREFIX,
    bgp_host_prefix,
    host_prefix,
    ipam_blocks_prefix,
    ipam_host_prefix,
    status_prefix,
)
from calico.model.names import HostName
from calico.netset import Family
from calico.store.etcd_keys import (
    COMPACTOR_KEY,
    DELETIONS_PREFIX,
    NOTE_PREFIX,
    STORE_PREFIX,
)

OPERATOR = "calico-operator"

_ROOT = "/calico/"
_NODE = "calico-node-"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a role may do with a part of the datastore.

    Attributes:
        access: `read`, or `readwrite`.
        prefix: Every key that starts so.
    """

    access: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Role:
    """A user of etcd with the role of the same name.

    Attributes:
        name: Also the common name of the user's certificate.
        grants: What it may do; nothing else.
    """

    name: str
    grants: tuple[Grant, ...]


def node_role(host: HostName) -> Role:
    """Return the role that one host needs."""
    read = (
        POLICY_PREFIX,
        BGP_PREFIX,
        IPAM_PREFIX,
        LIBNETWORK_PREFIX,
        STATUS_HOST_PREFIX,
        STORE_PREFIX,
    )
    write = (
        host_prefix(host),
        bgp_host_prefix(host),
        status_prefix(host),
        ipam_host_prefix(host),
        *(ipam_blocks_prefix(family) for family in Family),
        # Every handle of a host begins with its name and a dot.
        f"{IPAM_HANDLE_PREFIX}{host}.",
        NOTE_PREFIX,
        DELETIONS_PREFIX,
        COMPACTOR_KEY,
    )
    return Role(
        f"{_NODE}{host}",
        (
            *(Grant("read", prefix) for prefix in read),
            *(Grant("readwrite", prefix) for prefix in write),
        ),
    )


def operator_role() -> Role:
    """Return the role of whoever writes policy and starts the first node."""
    return Role(OPERATOR, (Grant("readwrite", _ROOT),))


def role_commands(role: Role) -> Iterator[str]:
    """Spell a role as the commands that make it, for a shell."""
    name = shlex.quote(role.name)
    yield f"etcdctl role add {name}"
    for grant in role.grants:
        prefix = shlex.quote(grant.prefix)
        yield f"etcdctl role grant-permission {name} --prefix {grant.access} {prefix}"
    yield f"etcdctl user add {name} --no-password"
    yield f"etcdctl user grant-role {name} {name}"
