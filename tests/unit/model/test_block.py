from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from calico.model.block import Attributes, block_of, make_block
from calico.model.names import HostName

CIDR = ip_network("192.168.1.64/26")


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("192.168.0.0", "192.168.0.0/26"),
        ("192.168.0.63", "192.168.0.0/26"),
        ("192.168.0.64", "192.168.0.64/26"),
        ("255.255.255.255", "255.255.255.192/26"),
        ("fd80::1", "fd80::/122"),
        ("fd80::40", "fd80::40/122"),
        ("::ffff:c0a8:1", "::ffff:c0a8:0/122"),
    ],
)
def test_block_of_an_address_is_its_64(address: str, block: str) -> None:
    assert block_of(ip_address(address)) == ip_network(block)


def test_new_block_is_free_in_order() -> None:
    block = make_block(CIDR, HostName("h"), is_strict=True)
    assert block.allocations == (None,) * 64
    assert block.unallocated == tuple(range(64))
    assert (block.affinity, block.is_strict) == ("h", True)


def test_ordinals_and_addresses_are_inverse() -> None:
    block = make_block(CIDR, HostName("h"), is_strict=False)
    assert [block.ordinal(block.address(n)) for n in range(64)] == list(range(64))
    assert block.address(63) == ip_address("192.168.1.127")


def test_attributes_are_found_by_address() -> None:
    known = Attributes("handle", {"time": "now"})
    block = replace(
        make_block(CIDR, HostName("h"), is_strict=False),
        allocations=(None, 0, *[None] * 62),
        attributes=(known,),
    )
    assert block.attributes_of(block.address(1)) == known
    assert block.attributes_of(block.address(0)) is None
