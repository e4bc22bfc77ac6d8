"""The ends that many policy tests name, found with one look at each endpoint.

`calico.cli.places` says what a name means, looking at every endpoint. Here it
is given only those that a word can stand for, where an index knows them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from calico.cli.cluster import Cluster
from calico.cli.endpoint_names import endpoint_name
from calico.cli.places import Located, locate
from calico.cli.refusal import Refused
from calico.codec.rule_parts import parse_address
from calico.model.endpoint import WorkloadEndpoint
from calico.model.errors import InvalidResource
from calico.model.names import EndpointKey, HostName
from calico.netset import Address


@dataclass(slots=True)
class Ends:
    """Finds ends by what tests call them.

    Attributes:
        cluster: Where to look.
        here: Of workloads with one name on several hosts, that of this one is
            meant.
        hypothetical: The endpoints whose names stand before all others.
    """

    cluster: Cluster
    here: HostName
    hypothetical: Mapping[str, EndpointKey]
    _found: dict[str, Located | Refused] = field(
        default_factory=dict[str, Located | Refused]
    )
    _index: dict[str | Address, list[EndpointKey]] | None = None

    def find(self, text: str) -> Located:
        """Find what a test means.

        Raises:
            Refused: There is no such thing, or there are several.
        """
        found = self._found.get(text)
        if found is None:
            try:
                found = self._locate(text)
            except Refused as error:
                found = error
            self._found[text] = found
        if isinstance(found, Refused):
            raise found
        return found

    def _locate(self, text: str) -> Located:
        key = self.hypothetical.get(text)
        if key is not None:
            endpoint = self.cluster.snapshot.endpoints[key]
            if isinstance(endpoint, WorkloadEndpoint):
                return Located(text, key, endpoint.addresses)
        return locate(self._narrowed(text), text, self.here)

    def _narrowed(self, text: str) -> Cluster:
        """Leave out of the cluster the endpoints that a word cannot stand for."""
        if self._index is None:
            self._index = _index(self.cluster)
        try:
            # An address is whose it is, or nobody's: no other endpoint matters.
            keys = self._index.get(parse_address(text), [])
        except InvalidResource:
            if text not in self._index:
                # A path, the beginning of an id, a host, or nothing at all.
                return self.cluster
            keys = self._index[text]
        endpoints = {key: self.cluster.snapshot.endpoints[key] for key in keys}
        snapshot = replace(self.cluster.snapshot, endpoints=endpoints)
        return replace(self.cluster, snapshot=snapshot)


def _index(cluster: Cluster) -> dict[str | Address, list[EndpointKey]]:
    """List the endpoints by each word and address that can stand for them.

    A path may be written in several ways, and is left to `locate`.
    """
    index: dict[str | Address, list[EndpointKey]] = {}
    for key, endpoint in cluster.snapshot.endpoints.items():
        words: set[str | Address] = {
            endpoint_name(key),
            key.endpoint,
            key.workload.rpartition("/")[2]
            if key.workload.startswith("/")
            else key.workload,
        }
        if isinstance(endpoint, WorkloadEndpoint):
            words.update(endpoint.addresses)
        for word in words:
            index.setdefault(word, []).append(key)
    return index
