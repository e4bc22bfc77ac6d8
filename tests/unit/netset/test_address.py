from ipaddress import ip_address, ip_network

import pytest

from calico.netset.address import AddressSet, Family, Network, family_of


def test_family_knows_its_addresses() -> None:
    assert (Family.V4.n_bits, Family.V6.n_bits) == (32, 128)
    assert Family.V4.last_address == int(ip_address("255.255.255.255"))


@pytest.mark.parametrize(
    ("text", "family"), [("10.0.0.0", Family.V4), ("fd00::", Family.V6)]
)
def test_family_of_address_and_network(text: str, family: Family) -> None:
    assert family_of(ip_address(text)) is family
    assert family_of(ip_network(text)) is family


def v4(*networks: str) -> AddressSet:
    return AddressSet.of(Family.V4, [ip_network(each) for each in networks])


def test_adjacent_networks_become_one() -> None:
    assert v4("10.0.0.0/25", "10.0.0.128/25") == v4("10.0.0.0/24")


def test_membership_by_address_and_number() -> None:
    of = v4("10.0.0.0/30")
    assert ip_address("10.0.0.3") in of
    assert int(ip_address("10.0.0.3")) in of
    assert ip_address("10.0.0.4") not in of


def test_algebra() -> None:
    left, right = v4("10.0.0.0/24"), v4("10.0.0.128/25", "10.0.1.0/24")
    assert left & right == v4("10.0.0.128/25")
    assert left | right == v4("10.0.0.0/23")
    assert ip_address("10.0.0.1") not in ~left
    assert ~~left == left
    assert left
    assert not left & ~left


def test_everything() -> None:
    for family in Family:
        assert AddressSet.everything(family).is_everything()
    assert not v4("0.0.0.0/1").is_everything()
    assert v4("0.0.0.0/0").is_everything()


@pytest.mark.parametrize("pair", [(0, 2**32), (-1, 0), (2, 1)])
def test_range_outside_the_family_is_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="outside"):
        AddressSet(Family.V4, (pair,))


@pytest.mark.parametrize(
    ("family", "networks"),
    [
        (Family.V4, ("10.0.0.0/24", "10.0.2.0/32")),
        (Family.V6, ("fd00::/64", "fd01::1/128")),
        (Family.V4, ()),
    ],
)
def test_networks_cover_the_set_exactly(
    family: Family, networks: tuple[str, ...]
) -> None:
    made: tuple[Network, ...] = tuple(ip_network(each) for each in networks)
    assert AddressSet.of(family, made).networks() == made
