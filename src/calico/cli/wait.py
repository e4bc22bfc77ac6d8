"""`calicoctl wait`."""

import time
from collections.abc import Iterator, Mapping

from calico.cli.call import Call
from calico.cli.exit_codes import NOT_IN_FORCE, USAGE
from calico.cli.refusal import Refused
from calico.codec.keys import POLICY_PREFIXES, STATUS_HOST_PREFIX, encode_key
from calico.model.errors import Compacted
from calico.model.names import HostName, Revision
from calico.model.snapshot import ReadyKey
from calico.store.api import Store
from calico.store.host_status import (
    HostStatus,
    list_live_hosts,
    note_host_changes,
)

DEFAULT_TIMEOUT_S = 10.0

_LONGEST_S = 86_400.0


def wait(call: Call) -> int:
    """Wait until the policy revision of now is in force on every live host."""
    timeout_s = _timeout(call.option("--timeout"))
    deadline = time.monotonic() + timeout_s
    store = call.existing_store
    revision = store.last_change(POLICY_PREFIXES)
    lagging: dict[HostName, HostStatus | None] = {}
    for hosts in _follow_hosts(store, deadline):
        lagging = {
            host: status
            for host, status in hosts.items()
            if status is None or status.revision < revision
        }
        if hosts and not lagging:
            return 0
    raise _not_in_force(store, revision, lagging)


def _follow_hosts(
    store: Store, deadline: float
) -> Iterator[Mapping[HostName, HostStatus | None]]:
    """Yield what the live hosts say now, and after each change, until a moment.

    They are listed once: each of a thousand hosts reports a revision, and a
    listing for each report would be a million statuses.
    """
    hosts, revision = list_live_hosts(store)
    watch = store.watch(STATUS_HOST_PREFIX, revision)
    try:
        while True:
            yield hosts
            left = deadline - time.monotonic()
            if left <= 0:
                return
            try:
                for batch in watch.read(left):
                    note_host_changes(hosts, batch)
            except Compacted:
                watch.close()
                hosts, revision = list_live_hosts(store)
                watch = store.watch(STATUS_HOST_PREFIX, revision)
    finally:
        watch.close()


def _timeout(given: str | None) -> float:
    if given is None:
        return DEFAULT_TIMEOUT_S
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_S:
        raise Refused(
            f"--timeout: found {given}, expected seconds from 0 to {_LONGEST_S:.0f}",
            exit_code=USAGE,
        )
    return seconds


def _not_in_force(
    store: Store, revision: Revision, lagging: dict[HostName, HostStatus | None]
) -> Refused:
    if not lagging:
        return Refused(
            "No host enforces policy.",
            "`calicoctl node` starts this host's agent.",
            exit_code=NOT_IN_FORCE,
        )
    lines = [f"Policy revision {revision} is not in force everywhere."]
    for host, status in sorted(lagging.items()):
        if status is None:
            lines.append(f"{host}: its status cannot be read")
        else:
            lines.append(f"{host}: has revision {status.revision}")
    if store.get(encode_key(ReadyKey())) is None:
        lines.append("`Ready` is not set: `calicoctl node` sets it.")
    return Refused(*lines, exit_code=NOT_IN_FORCE)
