"""Wait until what was written is what the kernel does."""

from calico.attach.errors import NotInForce
from calico.attach.site import Site
from calico.control.client import NoAgent, wait_for_revision
from calico.control.protocol import BadMessage
from calico.model.names import Revision


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
