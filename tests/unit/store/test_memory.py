"""The store in memory keeps the contract."""

import threading

import pytest
from store_backends import MemoryBackend
from store_contract import DEADLINE_S, Backend, StoreContract, put

from calico.store.api import NO_REVISION
from calico.store.memory import MemoryStore


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()


def test_watch_is_woken_by_a_write_of_another_thread() -> None:
    store = MemoryStore()
    watch = store.watch("/", NO_REVISION)
    writer = threading.Thread(target=put, args=(store, "/a"))
    writer.start()
    assert [batch.revision for batch in watch.read(DEADLINE_S)] == [1]
    writer.join()
    watch.close()
    watch.close()
    put(store, "/b")
