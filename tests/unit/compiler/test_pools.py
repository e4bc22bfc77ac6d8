from ipaddress import ip_network

from calico.compiler.pools import compile_translation
from calico.ir.state import NO_TRANSLATION, Translation
from calico.model.network import Pool
from calico.model.snapshot import Undecodable
from calico.netset import AddressSet, Family, Network


def v4(*networks: str) -> AddressSet:
    return AddressSet.of(Family.V4, [ip_network(each) for each in networks])


def pools(*masqueraded: str, plain: tuple[str, ...] = ()) -> dict[Network, Pool]:
    made = [Pool(ip_network(each), masquerade=True) for each in masqueraded]
    made += [Pool(ip_network(each)) for each in plain]
    return {each.cidr: each for each in made}


def test_no_pool_translates_nothing() -> None:
    assert compile_translation({}) == NO_TRANSLATION


def test_masqueraded_pools_are_sources_and_all_are_exempt_destinations() -> None:
    given = pools("10.0.0.0/16", plain=("10.1.0.0/16", "10.9.0.0/16"))
    assert compile_translation(given) == Translation(
        sources=v4("10.0.0.0/16"), pools=v4("10.0.0.0/15", "10.9.0.0/16")
    )


def test_ipv6_is_never_masqueraded() -> None:
    assert compile_translation(pools("fd00::/64")) == NO_TRANSLATION


def test_undecodable_pool_still_counts_as_a_pool() -> None:
    broken = Undecodable("/pool", "why")
    assert compile_translation({ip_network("10.0.0.0/16"): broken}) == Translation(
        pools=v4("10.0.0.0/16")
    )
