"""The addresses that a host has of its own in tunnels."""

from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from calico.codec.keys import encode_key, ipam_handle_key
from calico.ipam.assign import Claim, assign, assign_next
from calico.ipam.check import check
from calico.ipam.errors import BlockOfAnotherHost, Exhausted
from calico.ipam.handles import tunnel_handle
from calico.ipam.release import read_attributes, release_handle
from calico.ipam.survey import read_survey
from calico.ipam.tunnel import keep_tunnel_addresses, release_tunnel_addresses
from calico.model.block import Attributes, block_of
from calico.model.errors import Conflict
from calico.model.names import HostName, Revision
from calico.model.network import Pool
from calico.model.snapshot import TUNNEL_SETTINGS, PoolKey, SettingKey
from calico.netset import Address, Family, Network, family_of
from calico.store.api import Note, Store, Transaction
from calico.store.memory import MemoryStore
from calico.store.resources import put_resource

NOTE = Note("tester", "h", "test")
HOST, OTHER = HostName("h"), HostName("other")
POOL, POOL6 = ip_network("10.1.0.0/24"), ip_network("fd80::/64")
SECOND = ip_network("10.2.0.0/24")


def put_pools(store: Store, *cidrs: Network, **fields: bool) -> None:
    pools = (Pool(cidr, vxlan=True, **fields) for cidr in cidrs)
    puts = tuple(put_resource(PoolKey(pool.cidr), pool) for pool in pools)
    store.commit(Transaction((), puts, NOTE))


@pytest.fixture
def store() -> Store:
    made = MemoryStore()
    put_pools(made, POOL, POOL6, SECOND)
    return made


def keep(store: Store, *pools: Network, host: HostName = HOST) -> frozenset[Address]:
    return keep_tunnel_addresses(store, host, pools, NOTE)


def told(store: Store, host: HostName = HOST) -> set[str]:
    keys = (encode_key(SettingKey(name, host)) for name in TUNNEL_SETTINGS.values())
    items = (store.get(key) for key in keys)
    return {item.value.decode() for item in items if item is not None}


def test_one_address_of_each_family_is_taken_and_told(store: Store) -> None:
    found = keep(store, POOL, POOL6)
    assert {family_of(each) for each in found} == set(Family)
    assert told(store) == {str(each) for each in found}
    for address in found:
        known = read_attributes(store, address)
        assert known is not None
        assert known.handle == tunnel_handle(HOST)
        assert "time" in known.secondary


def test_asked_again_it_keeps_what_it_has_and_writes_nothing(store: Store) -> None:
    found = keep(store, POOL, POOL6)
    before = store.list_prefix("/").revision
    assert keep(store, POOL, POOL6) == found
    assert store.list_prefix("/").revision == before


def test_hosts_have_addresses_and_blocks_of_their_own(store: Store) -> None:
    own, others = keep(store, POOL), keep(store, POOL, host=OTHER)
    assert not own & others
    assert {block_of(each) for each in own}.isdisjoint(block_of(a) for a in others)


def test_address_of_a_pool_that_has_gone_is_given_back_for_another(
    store: Store,
) -> None:
    (before,) = keep(store, POOL)
    (after,) = keep(store, SECOND)
    assert after in SECOND
    assert read_attributes(store, before) is None
    assert told(store) == {str(after)}


def test_address_is_left_where_no_pool_has_one(store: Store) -> None:
    put_pools(store, POOL, is_disabled=True)
    assert keep(store, POOL) == frozenset()
    assert told(store) == set()
    # The next pool has.
    (found,) = keep(store, POOL, SECOND)
    assert found in SECOND
    # What the host has already stays, though nothing new is given out there.
    put_pools(store, SECOND, is_disabled=True)
    assert keep(store, SECOND) == {found}


def test_without_an_overlay_everything_is_given_back(store: Store) -> None:
    found = keep(store, POOL, POOL6)
    release_tunnel_addresses(store, HOST, NOTE)
    assert told(store) == set()
    assert all(read_attributes(store, each) is None for each in found)
    assert store.get(ipam_handle_key(tunnel_handle(HOST))) is None


def test_more_than_one_of_a_family_is_too_many(store: Store) -> None:
    claim = Claim(HOST, Attributes(tunnel_handle(HOST)), NOTE)
    several = {assign_next(store, Family.V4, claim, POOL) for _ in range(3)}
    (kept,) = keep(store, POOL)
    left = {each for each in several if read_attributes(store, each) is not None}
    assert left == {kept}


def test_address_is_no_leak(store: Store) -> None:
    keep(store, POOL, POOL6)
    findings = [each.subject for each in check(read_survey(store))]
    assert findings == []


class GivenBackMeanwhile(MemoryStore):
    """A store in which somebody takes the address for a leak at the worst time."""

    is_armed = False

    def commit(self, transaction: Transaction) -> Revision:
        names = TUNNEL_SETTINGS.values()
        if self.is_armed and any(n in str(transaction.operations) for n in names):
            self.is_armed = False
            release_handle(self, tunnel_handle(HOST), NOTE)
        return super().commit(transaction)


def test_address_that_is_given_back_meanwhile_is_not_told() -> None:
    store = GivenBackMeanwhile()
    put_pools(store, POOL)
    store.is_armed = True
    with pytest.raises(Conflict):
        keep(store, POOL)
    assert (store.is_armed, told(store)) == (False, set())
    (found,) = keep(store, POOL)
    assert told(store) == {str(found)}


# What else an overlay asks of addresses.


def test_no_address_of_anothers_block_is_taken_in_a_pool_of_an_overlay() -> None:
    store = MemoryStore()
    small = ip_network("10.3.0.0/26")
    for vxlan, of_other in ((False, "10.3.0.0"), (True, "10.3.0.1")):
        put = put_resource(PoolKey(small), Pool(small, vxlan=vxlan))
        store.commit(Transaction((), (put,), NOTE))
        claim = Claim(OTHER, Attributes(), NOTE)
        assert assign_next(store, Family.V4, claim) == ip_address(of_other)
        own = Claim(HOST, Attributes(), NOTE)
        if not vxlan:
            # Without, it is borrowed, and its route is told.
            assign(store, IPv4Address("10.3.0.9"), own)
            continue
        with pytest.raises(Exhausted):
            assign_next(store, Family.V4, own)
        with pytest.raises(BlockOfAnotherHost, match="belongs to host other"):
            assign(store, IPv4Address("10.3.0.10"), own)
