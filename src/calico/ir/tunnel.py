"""Who may send this host packets within packets.

What comes out of a tunnel has whatever source its sender wrote, and policy goes
by sources: so a packet that would be unwrapped is taken from hosts of the
cluster only. Others may use the same protocols on this host: of VXLAN only what
carries our network identifier is meant.

Not here: the devices and the routes (`ir.overlay`).

Source:
    RFC 7348 for VXLAN, RFC 2003 for IP in IP.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

from calico.ir.packet import Packet
from calico.ir.routing import Carrier
from calico.netset import Family

VXLAN_PORT = 4789
VXLAN_ID = 4096
"""The network identifier of the overlay."""

UDP = 17
IPIP = 4


@dataclass(frozen=True, slots=True)
class TunnelGuard:
    """What keeps strangers out of the tunnels of this host.

    Attributes:
        carriers: The tunnels that this host has; without any, nothing is
            guarded. `NONE` is not among them.
        senders: The addresses of all other hosts.
        logs_drops: What is dropped here is told to the kernel's packet log.
    """

    carriers: frozenset[Carrier] = frozenset()
    senders: frozenset[IPv4Address] = frozenset()
    logs_drops: bool = False


NO_GUARD = TunnelGuard()


def carrier_of(packet: Packet) -> Carrier:
    """Say which tunnel of ours a packet is for; `NONE` when it is for none."""
    if packet.family is not Family.V4:
        return Carrier.NONE
    if packet.protocol == IPIP:
        return Carrier.IPIP
    is_vxlan = (packet.protocol, packet.destination_port) == (UDP, VXLAN_PORT)
    if is_vxlan and packet.vxlan_id == VXLAN_ID:
        return Carrier.VXLAN
    return Carrier.NONE
