"""A packet as policy sees it, on one host."""

from dataclasses import dataclass
from enum import Enum

from calico.model.names import EndpointKey
from calico.netset import Address, Family, family_of


class ConnectionState(Enum):
    """What connection tracking says about a packet."""

    NEW = "new"
    ESTABLISHED = "established"
    RELATED = "related"
    INVALID = "invalid"


class Elsewhere(Enum):
    """Where a packet can come from or go to, beside the local endpoints."""

    OWN_HOST = "own host"
    OUTSIDE = "outside"


Place = EndpointKey | Elsewhere
"""A local endpoint, this host itself, or anything beyond it."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet; addresses and ports as in the forward hook.

    That is after destination translation and before masquerading.

    Attributes:
        enters: Where it comes from. A key that is no usable endpoint of this
            host stands for an unknown workload interface.
        leaves: Where routing takes it: likewise.
        source: Source address.
        destination: Destination address, of the same family.
        protocol: IP protocol number.
        source_mac: Six bytes; what the sender wrote into the frame.
        source_port: For TCP and UDP, else 0.
        destination_port: For TCP and UDP, else 0.
        icmp_type: For ICMP and ICMPv6, else 0.
        icmp_code: For ICMP and ICMPv6, else 0.
        state: What connection tracking says.
        vxlan_id: The network identifier, when it is UDP that carries VXLAN.
    """

    enters: Place
    leaves: Place
    source: Address
    destination: Address
    protocol: int
    source_mac: bytes = b""
    source_port: int = 0
    destination_port: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    state: ConnectionState = ConnectionState.NEW
    vxlan_id: int | None = None

    @property
    def family(self) -> Family:
        """The family of both addresses."""
        return family_of(self.source)
