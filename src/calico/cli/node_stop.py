"""`calicoctl node stop` and `calicoctl node remove`."""

import signal

from calico.attach.site import Site, endpoint_handle
from calico.attach.workload import detach_all
from calico.cli import output
from calico.cli.call import Call
from calico.cli.node_process import stop_supervisor
from calico.cli.refusal import Refused, paragraph, require_root
from calico.codec.keys import (
    bgp_host_prefix,
    decode_key,
    endpoints_prefix,
    host_prefix,
    host_status_key,
    last_reported_status_key,
)
from calico.ipam.release import release_handle, release_host
from calico.ipam.tunnel import release_tunnel_addresses
from calico.model.endpoint import WorkloadEndpoint
from calico.model.errors import InvalidResource, Unavailable
from calico.model.names import EndpointKey, HostName, parse_host_name
from calico.node.pidfile import running_pid
from calico.node.removal import remove_dataplane
from calico.node.signals import WITHDRAW
from calico.store.api import Delete, DeletePrefix, Transaction
from calico.store.following import forget_datastore
from calico.store.host_status import TTL_S
from calico.store.resources import decode_item

_WITH_RULES = "changes of policy no longer reach them; policy as it is stays in force"
_WITHOUT_RULES = (
    "they lose their interfaces, and with them every connection, before the rules go"
)


def stop(call: Call) -> int:
    """Stop this host's agent."""
    require_root()
    host = call.settings.hostname
    removes_rules = call.has_option("--remove-rules")
    try:
        endpoints = _endpoints(call, host)
    except Unavailable as error:
        # The rules cannot be taken out without knowing whose interfaces go first.
        if removes_rules or not call.has_option("--force"):
            raise
        output.complain(str(error))
        output.complain("Stopping without knowing whether workloads are connected.")
        endpoints = {}
    what_follows = _WITHOUT_RULES if removes_rules else _WITH_RULES
    if endpoints and not call.has_option("--force"):
        raise Refused(
            paragraph(
                "Current host has active endpoints so can't be stopped.  Force with"
                " --force"
            ),
            paragraph(
                "Note that stopping the node while there are active endpoints means"
                f" that {what_follows}."
            ),
        )
    if endpoints:
        output.complain_paragraph(
            f"Stopping the node while there are active endpoints: {what_follows}."
        )
    # With the workloads' interfaces go the routes to them, on other hosts, too.
    stop_supervisor(call.settings, WITHDRAW if removes_rules else signal.SIGTERM)
    forget_datastore(call.settings.run_dir)
    if removes_rules:
        _remove_dataplane(call, endpoints)
    output.line("Node stopped")
    return 0


def remove(call: Call) -> int:
    """Remove a host from the datastore, and this one's rules from the kernel."""
    require_root()
    host = _host(call)
    is_own = host == call.settings.hostname
    if is_own and running_pid(call.settings.run_dir) is not None:
        raise Refused(
            paragraph(
                "The node cannot be removed while it is running.  Please run 'calicoctl"
                " node stop' to stop the node before removing it."
            )
        )
    if not is_own and call.store.get(host_status_key(host)) is not None:
        raise Refused(
            paragraph(
                f"The node {host} cannot be removed while it is running.  Please run"
                " 'calicoctl node stop' there before removing it."
            ),
            "Of a machine that is gone, the status of its agent expires"
            f" {TTL_S:g} s after it ended; then it can be removed.",
        )
    endpoints = _endpoints(call, host)
    if endpoints and not call.has_option("--remove-endpoints"):
        raise Refused(
            paragraph(
                "The node has active Calico endpoints so can't be deleted. Force with"
                " --remove-endpoints"
            ),
            paragraph(
                "Note that forcible removal of the node may leave some workloads in an"
                " indeterminate networked state."
            ),
        )
    if is_own:
        detach_all(Site(call.store, host, call.settings.run_dir, call.note()))
        _remove_dataplane(call, endpoints)
    _remove_from_store(call, host, endpoints)
    output.line("Node configuration removed")
    return 0


def _host(call: Call) -> HostName:
    given = call.option("--hostname")
    return call.settings.hostname if given is None else parse_host_name(given)


def _endpoints(
    call: Call, host: HostName
) -> dict[EndpointKey, WorkloadEndpoint | None]:
    """Read a host's endpoints; `None` for one that cannot be read."""
    found: dict[EndpointKey, WorkloadEndpoint | None] = {}
    for item in call.store.list_prefix(endpoints_prefix(host)).items:
        key = decode_key(item.key)
        if isinstance(key, EndpointKey):
            _, value = decode_item(item) or (None, None)
            found[key] = value if isinstance(value, WorkloadEndpoint) else None
    return found


def _remove_dataplane(
    call: Call, endpoints: dict[EndpointKey, WorkloadEndpoint | None]
) -> None:
    names = {each.interface for each in endpoints.values() if each is not None}
    if stuck := remove_dataplane(call.settings.run_dir, names):
        raise Refused("The rules stay, because this cannot be removed:", *stuck)


def _remove_from_store(
    call: Call, host: HostName, endpoints: dict[EndpointKey, WorkloadEndpoint | None]
) -> None:
    note = call.note()
    for key in endpoints:
        release_handle(call.store, endpoint_handle(key), note)
    try:
        release_tunnel_addresses(call.store, host, note)
        release_host(call.store, host, note)
    except InvalidResource as error:
        output.complain(f"{error}; its blocks stay as they are")
    operations = (
        DeletePrefix(host_prefix(host)),
        DeletePrefix(bgp_host_prefix(host)),
        Delete(host_status_key(host)),
        Delete(last_reported_status_key(host)),
    )
    call.store.commit(Transaction((), operations, note))
