"""A listing of an etcd that takes several calls shows one revision."""

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from etcd_backend import EtcdBackend
from etcd_servers import etcd_cluster
from store_contract import change

from calico.store.api import Listing, Put, Store

pytestmark = pytest.mark.system

N_KEYS = 20_100
"""More than one call returns."""

PER_TRANSACTION = 100
N_LISTINGS = 5


def key(number: int) -> str:
    return f"/calico/v1/config/k{number:05}"


FIRST, LAST = key(0), key(N_KEYS - 1)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[EtcdBackend]:
    with etcd_cluster(tmp_path) as cluster:
        yield EtcdBackend(cluster)


def change_both_ends(
    store: Store, has_begun: threading.Event, end: threading.Event
) -> None:
    for number in count(1):
        value = b"%d" % number
        store.commit(change(Put(FIRST, value), Put(LAST, value)))
        has_begun.set()
        if end.is_set():
            return


def test_a_long_listing_shows_one_revision_while_both_its_ends_change(
    backend: EtcdBackend,
) -> None:
    store, other = backend.open(), backend.open()
    for first in range(0, N_KEYS, PER_TRANSACTION):
        numbers = range(first, first + PER_TRANSACTION)
        store.commit(change(*(Put(key(number), b"0") for number in numbers)))
    has_begun, end = threading.Event(), threading.Event()
    writer = threading.Thread(target=change_both_ends, args=(other, has_begun, end))
    writer.start()
    has_begun.wait()
    listings: list[Listing] = []
    try:
        while len({listing.revision for listing in listings}) < N_LISTINGS:
            listings.append(store.list_prefix("/calico/v1/"))
    finally:
        end.set()
        writer.join()
    for listing in listings:
        assert [item.key for item in listing.items] == [*map(key, range(N_KEYS))]
        ends = listing.items[0], listing.items[-1]
        assert len({(item.value, item.modified) for item in ends}) == 1
        assert ends[0].modified <= listing.revision
    store.close()
    other.close()
