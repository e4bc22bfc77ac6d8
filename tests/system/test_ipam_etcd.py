"""Large changes of ipam go in transactions that a real etcd takes."""

from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from etcd_servers import etcd_cluster

from calico.codec.keys import (
    IPAM_HOST_PREFIX,
    IPAM_PREFIX,
    ipam_block_key,
    ipam_blocks_prefix,
)
from calico.ipam.assign import Claim, assign, assign_next
from calico.ipam.blocks import take_next
from calico.ipam.check import Kind, check
from calico.ipam.ledger import Ledger
from calico.ipam.mend import Mender
from calico.ipam.release import release_handle, release_host, release_pool
from calico.ipam.survey import read_survey
from calico.model.block import Attributes, Block, make_block
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.snapshot import PoolKey
from calico.netset import Family
from calico.store.api import NO_REVISION, DeletePrefix, Note, Store, Transaction, View
from calico.store.etcd import open_etcd
from calico.store.etcd_place import read_place
from calico.store.resources import put_resource

pytestmark = pytest.mark.system

NOTE = Note("tester", "h", "test")
POOL = ip_network("10.4.0.0/16")
N_BLOCKS = 400


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with etcd_cluster(tmp_path_factory.mktemp("etcd")) as cluster:
        opened = open_etcd(read_place(cluster.settings()), may_make=True)
        yield opened
        opened.close()


@pytest.fixture(autouse=True)
def filled(store: Store) -> Iterator[None]:
    """Let two hosts have hundreds of blocks, half of them in use."""
    pool = put_resource(PoolKey(POOL), Pool(POOL))
    store.commit(Transaction((), (pool,), NOTE))
    for number in range(N_BLOCKS):
        host = HostName("ab"[number % 2])
        block: Block = make_block(
            ip_network((int(POOL[64 * number]), 26)), host, is_strict=False
        )
        ledger = Ledger(View({}, NO_REVISION), frozenset({"bulk"}))
        ledger.claim(block)
        made = ledger.transaction(NOTE)
        assert made is not None
        store.commit(made)
        if number % 4 < 2:
            assign(store, block.cidr[3], Claim(host, Attributes("bulk"), NOTE))
    yield
    store.commit(Transaction((), (DeletePrefix(IPAM_PREFIX),), NOTE))


def blocks(store: Store) -> int:
    return len(store.list_prefix(ipam_blocks_prefix(Family.V4)).items)


def test_pool_of_hundreds_of_blocks_is_given_up(store: Store) -> None:
    assert blocks(store) == N_BLOCKS
    assert release_pool(store, POOL, NOTE) == (N_BLOCKS // 2, N_BLOCKS // 2)
    assert store.list_prefix(IPAM_HOST_PREFIX).items == ()
    assert blocks(store) == N_BLOCKS // 2
    released = release_handle(store, "bulk", NOTE)
    assert len(released) == N_BLOCKS // 2
    assert blocks(store) == 0


def test_host_with_hundreds_of_blocks_is_removed(store: Store) -> None:
    release_host(store, HostName("a"), NOTE)
    assert blocks(store) == N_BLOCKS - N_BLOCKS // 4
    found = assign_next(store, Family.V4, Claim(HostName("b"), Attributes(), NOTE))
    assert found in POOL


def test_hundreds_of_things_that_do_not_fit_are_mended(store: Store) -> None:
    kinds = {each.kind for each in check(read_survey(store))}
    assert kinds == {Kind.LEAK, Kind.GONE_HOST}
    outcomes = Mender(store, NOTE, "now", lambda _: None).mend()
    assert {each.left for each in outcomes} == {None}
    assert len(outcomes) == N_BLOCKS + N_BLOCKS // 2
    assert check(read_survey(store)) == ()
    assert blocks(store) == 0


def test_address_is_found_for_a_host_whose_many_blocks_are_full(store: Store) -> None:
    claim = Claim(HostName("c"), Attributes(), NOTE)
    for number in range(N_BLOCKS, N_BLOCKS + 150):
        network = ip_network((int(POOL[64 * number]), 26))
        block = make_block(network, claim.host, is_strict=False)
        n_taken = 64 if number != N_BLOCKS + 70 else 63
        for _ in range(n_taken):
            block, _ = take_next(block, claim.attributes)
        ledger = Ledger(View({}, NO_REVISION), frozenset())
        ledger.claim(block)
        made = ledger.transaction(NOTE)
        assert made is not None
        store.commit(made)
    only = ip_network((int(POOL[64 * (N_BLOCKS + 70)]), 26))
    assert assign_next(store, Family.V4, claim) == only[63]
    assert store.get(ipam_block_key(only)) is not None
    assert assign_next(store, Family.V4, claim) not in only
