"""Workload endpoints: an interface, its addresses and its list of profiles."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from calico.model.names import EndpointKey, InterfaceName, ProfileId
from calico.netset import Address, Family, family_of

MAX_PROFILES = 100
"""The most profiles one endpoint may list."""


class EndpointState(Enum):
    """Whether an endpoint takes part in the network; the value is the word."""

    ACTIVE = "active"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class WorkloadEndpoint:
    """A workload's interface and the policy that applies to it.

    Attributes:
        key: Its identity.
        state: Inactive means closed in both directions, and no route.
        interface: The host's end of the veth.
        mac: Six bytes, or `None` when the source MAC is not policed.
        profile_ids: In evaluation order, as stored; a repeated one counts at
            its first place.
        addresses: The addresses of both families, each as its own /32 or /128.
        labels: Kept for whoever wrote them; no policy reads them.
    """

    key: EndpointKey
    state: EndpointState
    interface: InterfaceName
    mac: bytes | None
    profile_ids: tuple[ProfileId, ...]
    addresses: tuple[Address, ...]
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    def addresses_of(self, family: Family) -> tuple[Address, ...]:
        """Return the addresses of one family."""
        return tuple(a for a in self.addresses if family_of(a) is family)
