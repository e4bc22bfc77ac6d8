"""What every change of a workload needs to know, and the lock it holds.

One workload is changed by one process at a time. The lock is a byte of one
file per host; the kernel lets go of it when its holder dies, so what a killed
command left behind can be told from what another one is about to do.
"""

import fcntl
import os
import struct
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from calico.attach.errors import LockUnusable, NotRoot
from calico.ipam.handles import endpoint_handle, handle_prefix
from calico.model.names import (
    EndpointId,
    HostName,
    InterfaceName,
    OrchestratorId,
    WorkloadId,
)
from calico.store.api import Note, Store

__all__ = [
    "DEFAULT_INTERFACE",
    "NAMESPACE_ORCHESTRATOR",
    "Container",
    "Site",
    "endpoint_handle",
    "handle_prefix",
    "host_interface",
    "lock_workload",
    "require_root",
]

NAMESPACE_ORCHESTRATOR = OrchestratorId("namespace")
"""The orchestrator of a workload that is known by its namespace's path."""

DEFAULT_INTERFACE = InterfaceName("eth1")
"""The name of the interface inside the workload, unless another is given."""

_PREFIX = "cali"
_N_ID_DIGITS = 11
_LOCK_FILE = "attach.lock"
_FLOCK = struct.Struct("@hhqqi4x")


@dataclass(frozen=True, slots=True)
class Site:
    """Where a workload is connected.

    Attributes:
        store: The datastore.
        host: The host that the workload is on.
        run_dir: Where the lock and the agent's socket are.
        note: For the history of the datastore.
    """

    store: Store
    host: HostName
    run_dir: Path
    note: Note


@dataclass(frozen=True, slots=True)
class Container:
    """A workload as it is named.

    Attributes:
        text: As the user wrote it, for messages.
        orchestrator: Who started it.
        workload: Its one name.
    """

    text: str
    orchestrator: OrchestratorId
    workload: WorkloadId


def host_interface(endpoint: EndpointId) -> InterfaceName:
    """Return the name of the host's end of an endpoint's veth."""
    return InterfaceName(_PREFIX + endpoint[:_N_ID_DIGITS])


def require_root() -> None:
    """Make sure that this process may change the network.

    Raises:
        NotRoot: It may not; nothing has been changed.
    """
    if os.geteuid() != 0:
        raise NotRoot


@contextmanager
def lock_workload(site: Site, container: Container) -> Generator[None]:
    """Be the only one to change a workload for as long as the block lasts.

    Raises:
        LockUnusable: The lock's file cannot be used.
    """
    path = site.run_dir / _LOCK_FILE
    try:
        site.run_dir.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LockUnusable(str(path), error.strerror or str(error)) from None
    try:
        name = handle_prefix(site.host, container.orchestrator, container.workload)
        place = int.from_bytes(sha256(os.fsencode(name)).digest()[:7], "big")
        request = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
        # A lock of the open file, not of the process: threads keep apart too.
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, request)
        yield
    finally:
        os.close(fd)
