"""The ends of a flow as people name them, found in a cluster.

An end is a workload, as `endpoint_names` has it; a host, by its name; or an
address, which may belong to either of them or to nobody that the datastore
knows.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from calico.cli.cluster import Cluster
from calico.cli.endpoint_names import endpoint_name, find_endpoints, names_of
from calico.cli.refusal import Refused
from calico.cli.usage import nearest
from calico.codec.rule_parts import parse_address
from calico.ir.packet import Elsewhere
from calico.model.endpoint import WorkloadEndpoint
from calico.model.errors import InvalidResource
from calico.model.names import EndpointKey, HostName
from calico.model.snapshot import Undecodable
from calico.netset import Address
from calico.verdict.journey import End, HostItself

_EVERYBODY = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Located:
    """An end of a flow.

    Attributes:
        text: As the user named it.
        end: What it is.
        addresses: The addresses that it may be meant by; not empty.
        remark: What the user should know about how it was found; may be empty.
    """

    text: str
    end: End
    addresses: tuple[Address, ...]
    remark: str = ""


def locate(cluster: Cluster, text: str, here: HostName) -> Located:
    """Find what the user means.

    Args:
        cluster: Where to look.
        text: The user's word.
        here: Of workloads with one name on several hosts, that of this one is
            meant.

    Raises:
        Refused: There is no such thing, or there are several.
    """
    try:
        address = parse_address(text)
    except InvalidResource:
        return _locate_name(cluster, text, here)
    return _locate_address(cluster, text, address, here)


def _locate_address(
    cluster: Cluster, text: str, address: Address, here: HostName
) -> Located:
    if _is_of_no_machine(address):
        raise Refused(
            f"{text} is not the address of one machine that others can reach.",
            "A packet to it stays on its link, or inside its sender.",
        )
    owners = [
        key
        for key, endpoint in cluster.snapshot.endpoints.items()
        if isinstance(endpoint, WorkloadEndpoint) and address in endpoint.addresses
    ]
    if len(owners) > 1:
        raise _ambiguous(text, sorted(owners))
    if owners:
        return Located(text, owners[0], (address,))
    for host, addresses in cluster.hosts.items():
        if address in addresses or address in cluster.tunnel_addresses(host):
            return Located(text, HostItself(host), (address,))
    if cluster.statuses is not None and here in cluster.hosts and _is_own(address):
        return Located(text, HostItself(here), (address,))
    return Located(text, Elsewhere.OUTSIDE, (address,), _stranger(cluster, address))


def _is_of_no_machine(address: Address) -> bool:
    return (
        address.is_loopback
        or address.is_multicast
        or address.is_unspecified
        or address.is_link_local
        or address.packed == _EVERYBODY
    )


def _is_own(address: Address) -> bool:
    """Ask the kernel whether an address is this host's.

    The datastore knows one of each family, and a host may have many.
    """
    # Imported late: it takes 10 ms, and most addresses are known.
    from calico.linux.host_links import RouteSocket  # noqa: PLC0415 -- see above

    with closing(RouteSocket()) as routes:
        return any(address in network for network in routes.list_own_networks())


def _stranger(cluster: Cluster, address: Address) -> str:
    """Say that an address looks like a workload's but is nobody's."""
    for network in cluster.snapshot.pools:
        if address in network:
            return (
                f"{address} is in the pool {network}, but no endpoint has it: it is"
                " judged as an address outside"
            )
    return ""


def _locate_name(cluster: Cluster, text: str, here: HostName) -> Located:
    endpoints = cluster.snapshot.endpoints
    found = sorted(find_endpoints(endpoints, text))
    local = [key for key in found if key.host == here]
    if len(found) > 1 and len(local) != 1:
        raise _ambiguous(text, found)
    if found:
        return _workload(cluster, text, (local or found)[0], _others(text, found))
    if text in cluster.hosts:
        host = HostName(text)
        addresses = cluster.hosts[host]
        if not addresses:
            raise Refused(
                f"The datastore has no address of host {text}.",
                f"Give an address of it, or start its agent: `calicoctl node` on {text}"
                " writes it down.",
            )
        return Located(text, HostItself(host), addresses)
    raise _unknown(cluster, text)


def _others(text: str, found: Sequence[EndpointKey]) -> str:
    """Say that a name has been taken for that of this host's workload."""
    if len(found) == 1:
        return ""
    hosts = ", ".join(key.host for key in found)
    return f"{text} is a workload of {hosts}: this host's is meant"


def _workload(cluster: Cluster, text: str, key: EndpointKey, remark: str) -> Located:
    endpoint = cluster.snapshot.endpoints[key]
    if isinstance(endpoint, Undecodable):
        raise Refused(
            f"The endpoint of {text} cannot be read: {endpoint.reason}.",
            f"It is in {endpoint.store_key}; its traffic is denied.",
        )
    if not endpoint.addresses:
        raise Refused(
            f"{text} has no address, so no packet comes from it or goes to it.",
            "Name an address of the packet with --source, or give it one with"
            " `calicoctl container <CONTAINER> ip add <IP>`.",
        )
    return Located(text, key, endpoint.addresses, remark)


def _ambiguous(text: str, keys: Sequence[EndpointKey]) -> Refused:
    return Refused(
        f"{text} can be any of these endpoints:",
        *(f"  {endpoint_name(key)}" for key in keys),
        "Name one of them as it is printed here.",
    )


def _unknown(cluster: Cluster, text: str) -> Refused:
    names = {name for key in cluster.snapshot.endpoints for name in names_of(key)}
    near = nearest(text, names | set(cluster.hosts))
    hint = f" Did you mean {near}?" if near else ""
    return Refused(
        f"{text} is no workload, endpoint, host or address.{hint}",
        "`calicoctl endpoint show --detailed` lists the workloads.",
    )
