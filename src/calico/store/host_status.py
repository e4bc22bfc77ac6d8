"""The status that each host's agent keeps in the datastore while it lives.

The key dies with a lease, so a host is live while its status is there. No
agent compiles from it, so writing it starts nothing.
"""

from collections.abc import Mapping

from calico.codec.host_status import (
    HostStatus,
    decode_host_status,
    encode_host_status,
)
from calico.codec.keys import (
    STATUS_HOST_PREFIX,
    decode_host_status_key,
    host_status_key,
    last_reported_status_key,
)
from calico.model.errors import InvalidResource, LeaseExpired
from calico.model.names import HostName
from calico.store.api import LeaseId, Note, Put, Store, Transaction

TTL_S = 90.0

__all__ = ["TTL_S", "HostStatus", "HostStatusWriter", "read_live_hosts"]


def read_live_hosts(store: Store) -> Mapping[HostName, HostStatus | None]:
    """Read the status of every live host; `None` for one that cannot be read.

    Raises:
        Unavailable: The store cannot be read.
    """
    found: dict[HostName, HostStatus | None] = {}
    for item in store.list_prefix(STATUS_HOST_PREFIX).items:
        host = decode_host_status_key(item.key)
        if host is None:
            continue
        try:
            found[host] = decode_host_status(item.value)
        except InvalidResource:
            found[host] = None
    return found


class HostStatusWriter:
    """Write one host's status, each time for another `TTL_S` seconds.

    Args:
        store: Used by this thread only.
        host: Whose status it is.
    """

    def __init__(self, store: Store, host: HostName) -> None:
        self._store = store
        self._host = host
        self._lease: LeaseId | None = None
        self._note = Note("agent", host, "calico agent", "host status")

    def write(self, status: HostStatus) -> None:
        """Write a status.

        Raises:
            OutcomeUnknown: It may or may not be written.
            Unavailable: It is not written.
        """
        if self._lease is not None:
            try:
                self._store.keep_alive(self._lease)
                self._put(status, self._lease)
            except LeaseExpired:
                self._lease = None
        if self._lease is None:
            self._lease = self._store.grant(TTL_S)
            self._put(status, self._lease)

    def withdraw(self) -> None:
        """Let the status go at once: this host is no longer live.

        Raises:
            OutcomeUnknown: It goes at the latest when its time is over.
            Unavailable: Likewise.
        """
        if self._lease is not None:
            self._store.revoke(self._lease)
            self._lease = None

    def _put(self, status: HostStatus, lease: LeaseId) -> None:
        value = encode_host_status(status)
        self._store.commit(
            Transaction(
                compares=(),
                operations=(
                    Put(host_status_key(self._host), value, lease),
                    Put(last_reported_status_key(self._host), value),
                ),
                note=self._note,
            )
        )
