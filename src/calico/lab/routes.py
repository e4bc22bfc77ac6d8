"""Lead packets to the workloads on the hosts of a lab.

BIRD does it, on the hosts and in `outside`, and what is here only waits until
it has: what is asked with a packet just after a workload was added shall not be
answered by a route that is still on its way.

Where BIRD is not installed the hosts send what they do not know to `outside`,
and `outside` gets one route for each address of a workload, to the host that
the datastore says. They are compared as a whole, whenever a command of the lab
looks at workloads, so it does not matter who added or removed them.
"""

import json
import time
from collections.abc import Iterator, Mapping
from ipaddress import ip_network

from calico.lab.network import run_ip
from calico.lab.plan import OUTSIDE, LabHost
from calico.lab.register import Lab
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.network import Pool
from calico.model.snapshot import Snapshot
from calico.netset import Address, Network

_PROTOCOL = 98
"""Marks our routes; free in include/uapi/linux/rtnetlink.h."""

_WAIT_S = 5.0
_PAUSE_S = 0.01


def lead_packets(lab: Lab, snapshot: Snapshot) -> None:
    """Make packets from everywhere find the workloads of a snapshot.

    Runs inside the lab. Where BIRD leads them this waits for it, but not for
    long: a user may have stopped it, and asks on purpose.

    Raises:
        LabError: The kernel refused a route.
    """
    wanted = dict(_wanted_routes(lab, snapshot))
    if not lab.has_bird:
        _commit_routes(wanted)
        return
    wanted = {each: host for each, host in wanted.items() if _is_led(each, snapshot)}
    deadline = time.monotonic() + _WAIT_S
    while not _are_led(wanted) and time.monotonic() < deadline:
        time.sleep(_PAUSE_S)


def _is_led(address: Address, snapshot: Snapshot) -> bool:
    """Tell whether BIRD announces the way to an address."""
    pools = [
        each
        for each in snapshot.pools.values()
        if isinstance(each, Pool) and address in each.cidr
    ]
    if not pools:
        return False
    pool = max(pools, key=lambda each: each.cidr.prefixlen)
    return not (pool.ipip or pool.vxlan)


def _are_led(wanted: Mapping[Address, str]) -> bool:
    """Tell whether `outside` sends each address to the host that has it."""
    routes = _read_routes("")
    return all(_gateway(address, routes) == host for address, host in wanted.items())


def _gateway(address: Address, routes: Mapping[Network, str]) -> str | None:
    holding = [network for network in routes if address in network]
    if not holding:
        return None
    return routes[max(holding, key=lambda each: each.prefixlen)]


def _commit_routes(wanted: Mapping[Address, str]) -> None:
    present = _read_routes(f" proto {_PROTOCOL}")
    networks = {ip_network(address): host for address, host in wanted.items()}
    run_ip(
        OUTSIDE,
        [
            *(
                f"route del {network} proto {_PROTOCOL}"
                for network in present.keys() - networks.keys()
            ),
            *(
                f"route replace {network} via {gateway} proto {_PROTOCOL}"
                for network, gateway in networks.items()
                if present.get(network) != gateway
            ),
        ],
    )


def _wanted_routes(lab: Lab, snapshot: Snapshot) -> Iterator[tuple[Address, str]]:
    hosts: dict[str, LabHost] = {host.name: host for host in lab.hosts}
    # The first of several endpoints with one address has it.
    for key in sorted(snapshot.endpoints, reverse=True):
        endpoint = snapshot.endpoints[key]
        host = hosts.get(key.host)
        if host is None or not isinstance(endpoint, WorkloadEndpoint):
            continue
        if endpoint.state is EndpointState.ACTIVE:
            for address in endpoint.addresses:
                is_ipv4 = address.version == host.ipv4.version
                yield address, str(host.ipv4 if is_ipv4 else host.ipv6)


def _read_routes(of: str) -> Mapping[Network, str]:
    return {
        ip_network(route["dst"]): route["gateway"]
        for family in ("-4", "-6")
        for route in json.loads(
            run_ip(OUTSIDE, [f"route show{of}"], family, "-json") or "[]"
        )
        if "gateway" in route and route["dst"] != "default"
    }
