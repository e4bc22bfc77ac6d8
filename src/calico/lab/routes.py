"""Lead packets between the hosts of a lab to the workloads on them.

Every host sends what it does not know to `outside`, and `outside` has one
route for each address of a workload, to the host that the datastore says. This
stands in for routing between hosts. It is compared as a whole, whenever a
command of the lab looks at workloads, so it does not matter who added or
removed them.
"""

import json
from collections.abc import Mapping

from calico.lab.network import run_ip
from calico.lab.plan import OUTSIDE, LabHost
from calico.lab.register import Lab
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.snapshot import Snapshot

_PROTOCOL = 98
"""Marks our routes; free in include/uapi/linux/rtnetlink.h."""


def commit_routes(lab: Lab, snapshot: Snapshot) -> None:
    """Make the routes of `outside` agree with the datastore.

    Runs inside the lab.

    Raises:
        LabError: The kernel refused one.
    """
    wanted = _wanted_routes(lab, snapshot)
    present = _read_routes()
    run_ip(
        OUTSIDE,
        [
            *(
                f"route del {network} proto {_PROTOCOL}"
                for network in present.keys() - wanted.keys()
            ),
            *(
                f"route replace {network} via {gateway} proto {_PROTOCOL}"
                for network, gateway in wanted.items()
                if present.get(network) != gateway
            ),
        ],
    )


def _wanted_routes(lab: Lab, snapshot: Snapshot) -> Mapping[str, str]:
    hosts: dict[str, LabHost] = {host.name: host for host in lab.hosts}
    wanted: dict[str, str] = {}
    for key in sorted(snapshot.endpoints):
        endpoint = snapshot.endpoints[key]
        host = hosts.get(key.host)
        if host is None or not isinstance(endpoint, WorkloadEndpoint):
            continue
        if endpoint.state is EndpointState.ACTIVE:
            for address in endpoint.addresses:
                gateway = (
                    host.ipv4 if address.version == host.ipv4.version else host.ipv6
                )
                wanted.setdefault(str(address), str(gateway))
    return wanted


def _read_routes() -> Mapping[str, str]:
    return {
        route["dst"]: route["gateway"]
        for family in ("-4", "-6")
        for route in json.loads(
            run_ip(OUTSIDE, [f"route show proto {_PROTOCOL}"], family, "-json") or "[]"
        )
    }
