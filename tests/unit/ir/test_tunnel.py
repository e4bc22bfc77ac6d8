"""Which packets are for a tunnel of ours."""

from ipaddress import ip_address

import pytest

from calico.ir.packet import Elsewhere, Packet
from calico.ir.routing import Carrier
from calico.ir.tunnel import VXLAN_ID, VXLAN_PORT, carrier_of


def packet(
    protocol: int, port: int = 0, vxlan_id: int | None = None, source: str = "10.0.0.1"
) -> Packet:
    return Packet(
        enters=Elsewhere.OUTSIDE,
        leaves=Elsewhere.OWN_HOST,
        source=ip_address(source),
        destination=ip_address("fd00::2" if ":" in source else "10.0.0.2"),
        protocol=protocol,
        destination_port=port,
        vxlan_id=vxlan_id,
    )


@pytest.mark.parametrize(
    ("given", "carrier"),
    [
        (packet(17, VXLAN_PORT, VXLAN_ID), Carrier.VXLAN),
        (packet(4), Carrier.IPIP),
        # Another program's network, another port, no VXLAN, another protocol.
        (packet(17, VXLAN_PORT, VXLAN_ID + 1), Carrier.NONE),
        (packet(17, VXLAN_PORT + 1, VXLAN_ID), Carrier.NONE),
        (packet(17, VXLAN_PORT), Carrier.NONE),
        (packet(6, VXLAN_PORT, VXLAN_ID), Carrier.NONE),
        (packet(17, VXLAN_PORT, VXLAN_ID, "fd00::1"), Carrier.NONE),
        (packet(4, source="fd00::1"), Carrier.NONE),
    ],
)
def test_carrier_is_that_of_our_own_tunnel_only(
    given: Packet, carrier: Carrier
) -> None:
    assert carrier_of(given) is carrier
