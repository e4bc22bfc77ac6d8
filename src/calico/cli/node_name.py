"""Whether this machine may be the host that it says it is."""

from pathlib import Path

from calico.cli.call import Call
from calico.cli.node_config import NodeConfig
from calico.cli.refusal import Refused
from calico.codec.keys import bird_ip_key, host_status_key
from calico.control.client import NoAgent, ask_status
from calico.control.protocol import BadMessage
from calico.linux.host_links import RouteSocket
from calico.model.names import HostName
from calico.store.host_status import TTL_S


def require_own_name(call: Call, config: NodeConfig) -> None:
    """Make sure that no other machine is live under this host's name.

    An agent of this machine that was killed a moment ago is live, too, by its
    status. It is told by the host's address, which is this machine's.

    Raises:
        Refused: Another one is live.
    """
    host = config.host
    if call.store.get(host_status_key(host)) is None:
        return
    item = call.store.get(bird_ip_key(host))
    address = "" if item is None else item.value.decode("ascii", "replace")
    if not address or address == str(config.ipv4) or address in _own_addresses():
        return
    raise Refused(
        f"ERROR: Host '{host}' is running already, with IP address {address}, which is"
        " no address of this machine. Calico requires each compute host to have a"
        " unique hostname.",
        "Give this one a name of its own: `HOSTNAME=NAME calicoctl node`.",
        f"If {address} was this machine's address until now, try again when the status"
        f" of its last agent has expired, {TTL_S:g} s after that ended.",
    )


def require_same_host(run_dir: Path, host: HostName) -> None:
    """Make sure that the agent that runs here is the one of this host.

    Raises:
        Refused: It runs under another name.
    """
    try:
        name = ask_status(run_dir).host
    except (NoAgent, BadMessage):
        # It is about to start or to end; whoever waits for it will see.
        return
    if name != host:
        raise Refused(
            f"The Calico node is running as host {name}, not {host}.",
            "`calicoctl node stop` stops it; start it again under the other name then.",
        )


def _own_addresses() -> frozenset[str]:
    routes = RouteSocket()
    try:
        return frozenset(str(address) for address, _ in routes.list_addresses())
    finally:
        routes.close()
