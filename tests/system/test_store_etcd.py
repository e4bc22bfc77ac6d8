"""The store in etcd keeps the contract: on one member, and on three with TLS."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from etcd_backend import EtcdBackend
from etcd_servers import Authority, EtcdCluster, etcd_cluster
from store_contract import Backend, StoreContract

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def one_member() -> Iterator[EtcdCluster]:
    with etcd_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def three_with_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    directory: Path = tmp_path_factory.mktemp("etcd")
    authority = Authority(directory / "tls")
    with etcd_cluster(directory, size=3, authority=authority) as cluster:
        yield cluster


class TestOneMember(StoreContract):
    @pytest.fixture
    def backend(self, one_member: EtcdCluster) -> Backend:
        return EtcdBackend(one_member)


class TestThreeMembersWithTls(StoreContract):
    @pytest.fixture
    def backend(self, three_with_tls: EtcdCluster) -> Backend:
        return EtcdBackend(three_with_tls)
