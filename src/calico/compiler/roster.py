"""Which endpoints there are in the whole cluster, as little as tags need.

Of an endpoint there are kept its list of profiles, one object for all that
share it, and its addresses in network order; its key is kept as one string.
"""

from collections.abc import Iterator

from calico.compiler.membership import Membership
from calico.compiler.profiles import ProfileList
from calico.ir.state import PackedAddress
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    OrchestratorId,
    WorkloadId,
)

# No part of a key can hold this: no name may, and no file name can.
_SEPARATOR = "\0"


class Roster:
    """The endpoints of every host, counted into a membership.

    Args:
        membership: What is kept in step.
    """

    __slots__ = ("_known", "_lists", "_membership")

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._known: dict[str, tuple[ProfileList, tuple[PackedAddress, ...]]] = {}
        # Each list, and how many endpoints have it.
        self._lists: dict[ProfileList, tuple[ProfileList, int]] = {}

    def put(self, key: EndpointKey, endpoint: WorkloadEndpoint | None) -> None:
        """Take what is now under a key; the same again does no harm."""
        name = _join(key)
        old = self._known.pop(name, None)
        if endpoint is not None:
            addresses = tuple(dict.fromkeys(a.packed for a in endpoint.addresses))
            profiles = self._share(tuple(dict.fromkeys(endpoint.profile_ids)))
            self._known[name] = profiles, addresses
            self._membership.add(profiles, addresses)
        if old is not None:
            self._membership.remove(*old)
            self._release(old[0])

    def keys(self) -> Iterator[EndpointKey]:
        """List the endpoints that are known."""
        for name in self._known:
            host, orchestrator, workload, endpoint = name.split(_SEPARATOR)
            yield EndpointKey(
                HostName(host),
                OrchestratorId(orchestrator),
                WorkloadId(workload),
                EndpointId(endpoint),
            )

    def _share(self, profiles: ProfileList) -> ProfileList:
        shared, n_users = self._lists.get(profiles, (profiles, 0))
        self._lists[shared] = shared, n_users + 1
        return shared

    def _release(self, profiles: ProfileList) -> None:
        shared, n_users = self._lists[profiles]
        if n_users == 1:
            del self._lists[profiles]
        else:
            self._lists[shared] = shared, n_users - 1


def _join(key: EndpointKey) -> str:
    parts = key.host, key.orchestrator, key.workload, key.endpoint
    return _SEPARATOR.join(parts)
