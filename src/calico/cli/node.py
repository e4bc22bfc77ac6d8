"""`calicoctl node`: start."""

import re
import signal
import sys
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path

from calico.cli import output
from calico.cli.bgp_words import read_as_number
from calico.cli.call import Call
from calico.cli.exit_codes import INTERRUPTED
from calico.cli.node_backend import choose_backend, require_backend
from calico.cli.node_config import NodeConfig, decide_node
from calico.cli.node_name import require_own_name, require_same_host
from calico.cli.node_process import (
    Supervisor,
    start_attached,
    start_detached,
    stop_supervisor,
    wait_enforcing,
    wait_routing,
)
from calico.cli.refusal import Refused, require_root
from calico.codec.keys import POLICY_PREFIXES
from calico.compiler.routing import compile_routing, is_speakable
from calico.linux.host_links import RouteSocket
from calico.netset import Address
from calico.node.pidfile import running_pid
from calico.node.state import Backend
from calico.settings import Settings
from calico.store.api import Transaction, View
from calico.store.following import forget_datastore
from calico.store.routing import read_routing

_NOT_OURS = re.compile(r"(docker|br-|cbr|virbr|lxcbr|veth|cali|tunl|flannel)")
_GONE_OPTIONS = {
    "--node-image": "there is no image: the agent is part of calicoctl",
    "--no-pull": "there is no image to pull: the agent is part of calicoctl",
    "--libnetwork-image": "there is no image: the agent is part of calicoctl",
    "--libnetwork": "the plugin for Docker networks is not built yet",
}


def start(call: Call) -> int:
    """Write what this host is, start its agent, and wait until it enforces."""
    is_detached = _check_options(call)
    ipv4 = _ipv4(call.option("--ip"))
    ipv6 = _ipv6(call.option("--ip6"))
    number = call.option("--as")
    as_number = None if number is None else str(read_as_number(number))
    wanted = choose_backend(call)
    require_root()
    settings = _settings(call)
    running = running_pid(settings.run_dir)
    if running is not None and not is_detached:
        raise Refused(
            f"The Calico node is running already, process {running}.",
            "`calicoctl node stop` stops it.",
        )
    if running is not None:
        require_same_host(settings.run_dir, settings.hostname)
    backend = require_backend(call, wanted, running)
    ipv4, ipv6 = _confirmed(ipv4, ipv6)
    config = NodeConfig(
        host=settings.hostname,
        ipv4=ipv4,
        ipv6=ipv6,
        as_number=as_number,
        with_default_pools=call.environ.get("NO_DEFAULT_POOLS") != "true",
    )
    if running is None:
        require_own_name(call, config)
    _write(call, config)
    for warning in call.store.warnings():
        output.complain(f"Warning: {warning}")
    if running is not None:
        return _finish_detached(call, settings, None, running)
    # Whoever starts a node means the datastore that there is.
    forget_datastore(settings.run_dir)
    if is_detached:
        started = start_detached(settings, backend)
        return _finish_detached(call, settings, started, started.pid)
    return _stay(call, settings, backend)


def _check_options(call: Call) -> bool:
    """Refuse what cannot be done.

    Returns:
        Whether to return while the agent runs on.
    """
    is_detached = _is_detached(call)
    for option, reason in _GONE_OPTIONS.items():
        if call.has_option(option):
            raise Refused(f"{option}: {reason}.")
    runtime = call.option("--runtime")
    if runtime is not None and runtime != "none":
        if runtime not in {"docker", "rkt"}:
            raise Refused("Runtime must be 'docker', 'rkt' or 'none'.")
        raise Refused("--runtime: the agent runs in no container; leave it out.")
    return is_detached


def _is_detached(call: Call) -> bool:
    detach = call.option("--detach")
    if detach not in {None, "true", "false"}:
        raise Refused("Valid values for --detach are 'true' and 'false'")
    if detach == "false" and call.has_option("--libnetwork"):
        raise Refused(
            "The only valid value for --detach is 'true' when using libnetwork"
        )
    return detach != "false"


def _ipv4(text: str | None) -> IPv4Address | None:
    try:
        address = None if text is None else IPv4Address(text)
    except AddressValueError:
        address = None
    if text is not None and (address is None or not is_speakable(address)):
        raise Refused("Invalid IPv4 address specified with --ip argument.")
    return address


def _ipv6(text: str | None) -> IPv6Address | None:
    try:
        address = None if text is None else IPv6Address(text)
    except AddressValueError:
        address = None
    if text is not None and (
        address is None or address.scope_id is not None or not is_speakable(address)
    ):
        raise Refused("Invalid IPv6 address specified with --ip6 argument.")
    return address


def _settings(call: Call) -> Settings:
    log_dir = call.option("--log-dir")
    settings = call.settings
    if log_dir is not None:
        settings = replace(settings, log_dir=Path(log_dir).absolute())
    for directory in (settings.log_dir, settings.run_dir):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"{directory}: cannot be made: {error.strerror}") from None
    return settings


def _confirmed(
    ipv4: IPv4Address | None, ipv6: IPv6Address | None
) -> tuple[IPv4Address, IPv6Address | None]:
    """Find this host's address, or look whether it has those given."""
    routes = RouteSocket()
    try:
        names = {link.index: link.name for link in routes.list_links()}
        own = [
            (address, names.get(index, ""))
            for address, index in routes.list_addresses()
            if not address.is_loopback
        ]
    finally:
        routes.close()
    for given in (ipv4, ipv6):
        if given is not None and given not in {address for address, _ in own}:
            output.complain(
                f"WARNING: Could not confirm that the provided IPv{given.version}"
                " address is assigned to this host."
            )
    if ipv4 is None:
        ipv4 = _detected(own)
    return ipv4, ipv6


def _detected(own: list[tuple[Address, str]]) -> IPv4Address:
    usable = [
        address
        for address, name in own
        if isinstance(address, IPv4Address) and not _NOT_OURS.match(name)
    ]
    if not usable:
        raise Refused(
            "Couldn't autodetect a management IP address. Please provide an IP by"
            " rerunning the command with the --ip=<IP_ADDRESS> flag."
        )
    output.complain(f"No IP provided. Using detected IP: {usable[-1]}")
    return usable[-1]


def _write(call: Call, config: NodeConfig) -> None:
    note = call.note()

    def decide(view: View) -> tuple[Transaction | None, tuple[str, ...]]:
        transaction, warnings = decide_node(view, config, note)
        return (transaction if transaction.operations else None), warnings

    _, warnings = call.store.update(config.scope(), decide)
    for warning in warnings:
        output.complain(warning)


def _finish_detached(
    call: Call, settings: Settings, started: Supervisor | None, pid: int
) -> int:
    output.line(f"Calico node is running with id: {pid}")
    output.complain("Waiting for successful startup")
    revision = call.store.last_change(POLICY_PREFIXES)
    speaks_bgp = _speaks_bgp(call, settings)
    wait_enforcing(settings, revision, started)
    if speaks_bgp:
        wait_routing(settings)
    output.line("Calico node started successfully")
    if started is not None:
        # It goes on without us, which is what was asked for.
        started.returncode = 0
    return 0


def _speaks_bgp(call: Call, settings: Settings) -> bool:
    """Tell whether there will be a configuration for BIRD."""
    routing = compile_routing(read_routing(call.store), settings.hostname)
    return routing.router_id is not None and routing.as_number is not None


def _stay(call: Call, settings: Settings, backend: Backend) -> int:
    # Whoever ends us ends the agent, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    started = start_attached(settings, backend)
    try:
        output.line(f"Calico node is running with id: {started.pid}")
        revision = call.store.last_change(POLICY_PREFIXES)
        speaks_bgp = _speaks_bgp(call, settings)
        call.close()
        wait_enforcing(settings, revision, started)
        if speaks_bgp:
            wait_routing(settings)
        output.line("Calico node started successfully")
        # Whoever waits for it at the other end of a pipe waits for this line.
        sys.stdout.flush()
        started.wait()
    except KeyboardInterrupt:
        stop_supervisor(settings)
        started.wait()
        output.complain("Calico node stopped.")
        return INTERRUPTED
    output.complain(f"The Calico node ended with exit code {started.returncode}.")
    return 1
