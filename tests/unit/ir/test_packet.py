from ipaddress import ip_address

import pytest

from calico.ir.packet import ConnectionState, Elsewhere, Packet
from calico.netset import Family


@pytest.mark.parametrize(
    ("text", "family"), [("10.0.0.1", Family.V4), ("fd00::1", Family.V6)]
)
def test_packet_is_of_its_addresses_family_and_new(text: str, family: Family) -> None:
    address = ip_address(text)
    packet = Packet(Elsewhere.OUTSIDE, Elsewhere.OUTSIDE, address, address, 6)
    assert packet.family is family
    assert packet.state is ConnectionState.NEW
