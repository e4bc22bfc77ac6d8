"""Wait until what was written is what the kernel does."""

import time
from contextlib import closing, suppress

from calico.attach.errors import NotInForce
from calico.attach.site import Site
from calico.attach.workload import Attached, Connection
from calico.control.client import NoAgent, wait_for_revision
from calico.control.protocol import BadMessage
from calico.linux.namespace import NamespaceMissing, open_namespace
from calico.linux.veth import InterfaceMissing, Workload
from calico.model.names import Revision

_PAUSE_S = 0.002


def wait_connected(
    site: Site, connection: Connection, attached: Attached, timeout_s: float
) -> None:
    """Wait until a workload that was connected is in force, and can send.

    Raises:
        NotInForce: It is not within that time, or there is no agent.
        NetlinkRefused: The kernel does not say whether it can send.
    """
    deadline = time.monotonic() + timeout_s
    wait_in_force(site, attached.revision, timeout_s)
    wait_able_to_send(connection, deadline - time.monotonic())


def wait_able_to_send(connection: Connection, timeout_s: float) -> None:
    """Wait until a workload whose host's end is up can send, or the time is over.

    Raises:
        NetlinkRefused: The kernel does not say whether it can.
    """
    deadline = time.monotonic() + timeout_s
    # Where the workload has gone meanwhile, nothing wants to send.
    with suppress(NamespaceMissing, InterfaceMissing):
        _wait_while_coming_up(connection, deadline)


def _wait_while_coming_up(connection: Connection, deadline: float) -> None:
    with (
        open_namespace(connection.namespace) as namespace,
        closing(Workload(namespace, connection.interface)) as workload,
    ):
        # It takes milliseconds: not worth hearing of the workload's own events.
        while workload.is_coming_up() and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)


def wait_in_force(site: Site, revision: Revision, timeout_s: float) -> None:
    """Wait until the agent of this host has a revision in force.

    Raises:
        NotInForce: It has not within that time, or there is no agent.
    """
    try:
        reached = wait_for_revision(site.run_dir, revision, timeout_s)
    except (NoAgent, BadMessage) as error:
        raise NotInForce(revision, str(error)) from None
    if reached < revision:
        reason = f"the agent is at revision {reached} after {timeout_s:g} s"
        raise NotInForce(revision, reason)
