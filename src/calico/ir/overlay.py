"""How packets of overlay pools get from this host to the others, and back.

Not here: who may send into a tunnel (`ir.tunnel`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from calico.ir.routing import Carrier
from calico.netset import Address, Network

TUNNEL_DEVICES = {Carrier.IPIP: "tunl0", Carrier.VXLAN: "vxlan.calico"}
"""What the device of each tunnel is called."""

OVERHEAD_BYTES = {Carrier.IPIP: 20, Carrier.VXLAN: 50}
"""What a tunnel puts around each packet, over IPv4.

IP in IP adds a header of IPv4; VXLAN adds that, and those of UDP, VXLAN and the
frame within.
"""

_OURS = bytes.fromhex("0eca")


def tunnel_mac(host: IPv4Address) -> bytes:
    """Return the MAC of a host's VXLAN device.

    It follows from the address, so hosts need not tell each other. Its first
    byte says: one station, chosen by ourselves.
    """
    return _OURS + host.packed


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One end of a tunnel to all other hosts.

    Attributes:
        local: The address of this host that others send to.
        addresses: What this host's own packets into the tunnel come from, so
            that replies take the tunnel too; at most one of each family. While
            that is not known, it is absent, and what there is stays.
        routes: The blocks of other hosts, and who has each.
    """

    local: IPv4Address
    addresses: frozenset[Address] | None = None
    routes: Mapping[Network, IPv4Address] = field(
        default_factory=dict[Network, IPv4Address]
    )


@dataclass(frozen=True, slots=True)
class Overlay:
    """The tunnels of a host.

    Attributes:
        tunnels: One for each kind that a pool asks for.
        own_blocks: This host's blocks in pools of an overlay. A packet to an
            address of them that no workload has goes nowhere: by the default
            route it could come back.
    """

    tunnels: Mapping[Carrier, Tunnel] = field(default_factory=dict[Carrier, Tunnel])
    own_blocks: frozenset[Network] = frozenset()


NO_OVERLAY = Overlay()
