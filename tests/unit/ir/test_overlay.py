"""The MAC of a host's VXLAN device."""

from ipaddress import IPv4Address

from calico.ir.overlay import OVERHEAD_BYTES, TUNNEL_DEVICES, tunnel_mac
from calico.ir.routing import Carrier


def test_mac_follows_from_the_address_alone() -> None:
    hosts = [IPv4Address(f"172.31.{a}.{b}") for a in range(4) for b in range(256)]
    macs = {tunnel_mac(host) for host in hosts}
    assert len(macs) == len(hosts)
    assert tunnel_mac(hosts[0]) == bytes.fromhex("0ecaac1f0000")


def test_mac_is_of_one_station_and_chosen_by_ourselves() -> None:
    first = tunnel_mac(IPv4Address("255.255.255.255"))[0]
    assert (first & 1, first & 2) == (0, 2)


def test_every_carrier_but_none_has_a_device_and_an_overhead() -> None:
    every = set(Carrier) - {Carrier.NONE}
    assert set(TUNNEL_DEVICES) == set(OVERHEAD_BYTES) == every
