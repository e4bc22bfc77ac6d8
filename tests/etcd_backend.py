"""An etcd as a store for the contract's tests.

All stores of one server are one: a fresh one is the same etcd, emptied and
forgotten. Time passes by waiting, so leases are short.
"""

import time

from etcd_servers import EtcdCluster, wait_for
from store_contract import Backend

from calico.store.api import Store
from calico.store.etcd import open_etcd
from calico.store.etcd_client import EtcdClient
from calico.store.etcd_place import read_place
from calico.store.etcd_wire import EVERYTHING, delete_operation, txn_request


class EtcdBackend(Backend):
    """A store in a running etcd, which is emptied first."""

    ttl_s = 1.0
    forgets_ends = True
    n_examples = 10

    def __init__(self, cluster: EtcdCluster) -> None:
        self.cluster = cluster
        self.place = read_place(cluster.settings())
        empty(cluster)

    def open(self) -> Store:
        return open_etcd(self.place, may_make=True)

    def pass_time(self, seconds: float) -> None:
        # A lease ends by the server's clock, which nobody can move.
        until = time.monotonic() + seconds
        wait_for(lambda: time.monotonic() >= until, "time to pass")
        if seconds > self.ttl_s:
            wait_for(self._has_ended_leases, "etcd to end leases")

    def fresh(self) -> "EtcdBackend":
        return EtcdBackend(self.cluster)

    def _has_ended_leases(self) -> bool:
        found = self.cluster.etcdctl("lease", "list").stdout.split()
        leases = [word for word in found if len(word) >= 12]
        left = [self.cluster.etcdctl("lease", "timetolive", each) for each in leases]
        longer = [each for each in left if "TTL(" in each.stdout]
        short = f"TTL({int(self.ttl_s)}s)"
        # One that is over, but has its keys still, is in the list without a time.
        return len(longer) == len(left) and not any(
            short in each.stdout for each in left
        )


def empty(cluster: EtcdCluster) -> None:
    """Delete everything in an etcd, and all that it remembers."""
    client = EtcdClient(read_place(cluster.settings()))
    request = txn_request((), (delete_operation(*EVERYTHING),))
    revision = client.transact(request, "delete everything").revision
    client.compact(revision)
    client.close()
