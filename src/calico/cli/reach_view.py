"""What `calicoctl reach` looks at: one snapshot, compiled for every host."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from calico.analysis.parties import Outside, States
from calico.analysis.reach import Matrix, reach
from calico.cli.call import Call
from calico.cli.cluster import Cluster, read_cluster
from calico.codec.json_text import Json
from calico.compiler.problems import interface_problem
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import EndpointKey, HostName, Revision
from calico.model.snapshot import Snapshot, Undecodable
from calico.netset import Address, Family


@dataclass(frozen=True, slots=True)
class ReachView:
    """A cluster at one revision, and who can talk to whom in it.

    Attributes:
        snapshot: The resources.
        revision: The policy revision that they stand at.
        states: What each host with an endpoint must do.
        hosts: The addresses of each host.
        owners: The endpoints that have each address, usable or not.
        matrices: One for each family.
    """

    snapshot: Snapshot
    revision: Revision
    states: States
    hosts: Mapping[HostName, Sequence[Address]]
    owners: Mapping[Address, Sequence[EndpointKey]]
    matrices: Sequence[Matrix]

    def outsides(self) -> list[Outside]:
        """Return the sets of addresses that no endpoint has."""
        return [
            party.members
            for matrix in self.matrices
            for party in matrix.parties
            if isinstance(party.members, Outside)
        ]

    def closed(self) -> Iterator[tuple[EndpointKey, str]]:
        """Yield the endpoints without any traffic, and why they have none."""
        for key, endpoint in sorted(self.snapshot.endpoints.items(), key=_by_key):
            why = self._why_closed(key, endpoint)
            if why:
                yield key, why

    def _why_closed(
        self, key: EndpointKey, endpoint: WorkloadEndpoint | Undecodable
    ) -> str:
        if isinstance(endpoint, Undecodable):
            return f"it cannot be read: {endpoint.reason}"
        state = self.states[key.host]
        if key not in state.endpoints:
            return state.problems[interface_problem(key)]
        if endpoint.state is EndpointState.INACTIVE:
            return "it is inactive"
        return "" if endpoint.addresses else "it has no address"


def read_view(call: Call) -> ReachView:
    """Read a cluster and compute who can talk to whom.

    Raises:
        Refused: The file that `--snapshot` names cannot be used.
        Unavailable: The datastore cannot be read.
    """
    cluster = read_cluster(call)
    snapshot = cluster.snapshot
    states = compile_hosts(cluster)
    owners: dict[Address, list[EndpointKey]] = {}
    for key, endpoint in snapshot.endpoints.items():
        if isinstance(endpoint, WorkloadEndpoint):
            for address in endpoint.addresses:
                owners.setdefault(address, []).append(key)
    matrices = [reach(states, owners, family) for family in Family]
    return ReachView(
        snapshot, cluster.revision, states, cluster.hosts, owners, matrices
    )


def compile_hosts(cluster: Cluster) -> States:
    """Compile each host that has an endpoint, once."""
    hosts = sorted({key.host for key in cluster.snapshot.endpoints})
    return {host: cluster.state_of(host) for host in hosts}


def families_in_words(families: Sequence[Family]) -> str:
    """Name one family, or both."""
    return "both" if len(families) > 1 else f"IPv{families[0].value}"


def encode_family(family: Family) -> Json:
    """Name a family."""
    return f"IPv{family.value}"


def _by_key(item: tuple[EndpointKey, object]) -> EndpointKey:
    return item[0]
