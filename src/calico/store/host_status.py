"""The status that each host's agent keeps in the datastore while it lives.

The key dies with a lease, so a host is live while its status is there. No
agent compiles from it, so writing it starts nothing.
"""

import time
from collections.abc import Mapping

from calico.codec.host_status import (
    HostStatus,
    decode_host_status,
    encode_host_status,
)
from calico.codec.keys import (
    STATUS_HOST_PREFIX,
    bird_ip_key,
    decode_host_status_key,
    host_status_key,
    last_reported_status_key,
)
from calico.model.errors import Conflict, InvalidResource, LeaseExpired
from calico.model.names import HostName, Revision
from calico.store.api import Batch, Compare, LeaseId, Note, Put, Store, Transaction

TTL_S = 90.0
RENEW_AFTER_S = 15.0
"""A lease is prolonged at most so often: it costs as much as a status."""

__all__ = [
    "TTL_S",
    "HostStatus",
    "HostStatusWriter",
    "list_live_hosts",
    "note_host_changes",
    "read_live_hosts",
]


def read_live_hosts(store: Store) -> Mapping[HostName, HostStatus | None]:
    """Read the status of every live host; `None` for one that cannot be read.

    Raises:
        Unavailable: The store cannot be read.
    """
    return list_live_hosts(store)[0]


def list_live_hosts(
    store: Store,
) -> tuple[dict[HostName, HostStatus | None], Revision]:
    """Read the status of every live host, and at which revision of the store.

    Raises:
        Unavailable: The store cannot be read.
    """
    listing = store.list_prefix(STATUS_HOST_PREFIX)
    found: dict[HostName, HostStatus | None] = {}
    for item in listing.items:
        _note_status(found, item.key, item.value)
    return found, listing.revision


def note_host_changes(hosts: dict[HostName, HostStatus | None], batch: Batch) -> None:
    """Make what is known of the live hosts agree with one revision more."""
    for change in batch.changes:
        _note_status(hosts, change.key, change.value)


def _note_status(
    hosts: dict[HostName, HostStatus | None], key: str, value: bytes | None
) -> None:
    host = decode_host_status_key(key)
    if host is None:
        return
    if value is None:
        hosts.pop(host, None)
        return
    try:
        hosts[host] = decode_host_status(value)
    except InvalidResource:
        hosts[host] = None


class HostStatusWriter:
    """Write one host's status, each time for `TTL_S` seconds, nearly.

    It lasts at least `TTL_S` less `RENEW_AFTER_S` from a writing on.

    Args:
        store: Used by this thread only.
        host: Whose status it is.

    What we wrote last stays there until we write again, unless somebody else
    writes it: then two agents run under one name. The first write of a writer
    tells nothing, for an agent before us may have ended a moment ago.
    """

    def __init__(self, store: Store, host: HostName) -> None:
        self._store = store
        self._host = host
        self._lease: LeaseId | None = None
        self._renewed_at = 0.0
        self._note = Note("agent", host, "calico agent", "host status")
        self._written: tuple[Revision, bytes] | None = None

    def write(self, status: HostStatus) -> bool:
        """Write a status.

        Returns:
            Whether nobody else has written one since we did last.

        Raises:
            OutcomeUnknown: It may or may not be written.
            Unavailable: It is not written.
        """
        if self._lease is not None:
            try:
                self._renew(self._lease)
                return self._put(status, self._lease)
            except LeaseExpired:
                self._lease = None
                self._written = None
        self._renewed_at = time.monotonic()
        self._lease = self._store.grant(TTL_S)
        return self._put(status, self._lease)

    def describe_rival(self) -> str:
        """Say that there is another agent of this name, and where it may be.

        Raises:
            Unavailable: The store cannot be read.
        """
        item = self._store.get(bird_ip_key(self._host))
        address = "" if item is None else item.value.decode("ascii", "replace")
        where = f"; {address} started last" if address else ""
        return (
            f"another agent runs as host {self._host}, too{where}: stop one of them"
            " (`calicoctl node stop`) and start it under a name of its own"
            " (`HOSTNAME=NAME calicoctl node`)"
        )

    def withdraw(self) -> None:
        """Let the status go at once: this host is no longer live.

        Raises:
            OutcomeUnknown: It goes at the latest when its time is over.
            Unavailable: Likewise.
        """
        if self._lease is not None:
            self._store.revoke(self._lease)
            self._lease = None

    def _renew(self, lease: LeaseId) -> None:
        now = time.monotonic()
        if now - self._renewed_at >= RENEW_AFTER_S:
            self._store.keep_alive(lease)
            self._renewed_at = now

    def _put(self, status: HostStatus, lease: LeaseId) -> bool:
        value = encode_host_status(status)
        key = host_status_key(self._host)
        operations = (
            Put(key, value, lease),
            Put(last_reported_status_key(self._host), value),
        )
        is_alone = True
        compares: tuple[Compare, ...] = ()
        if self._written is not None:
            compares = (Compare(key, self._written[0]),)
        try:
            revision = self._store.commit(Transaction(compares, operations, self._note))
        except Conflict:
            is_alone = self._is_ours_or_gone(key)
            revision = self._store.commit(Transaction((), operations, self._note))
        self._written = revision, value
        return is_alone

    def _is_ours_or_gone(self, key: str) -> bool:
        item = self._store.get(key)
        return item is None or (
            self._written is not None and item.value == self._written[1]
        )
