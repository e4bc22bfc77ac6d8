"""An agent whose etcd is emptied, swapped, or has forgotten what it missed."""

import os
import shutil
import signal
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from agent_host import Host, Namespace, Workload, a_host, arrives, profile, rules, until
from etcd_servers import EtcdCluster, etcd_cluster
from store_contract import change, put

from calico.codec.keys import READY_KEY
from calico.store.api import Put
from calico.store.etcd import open_etcd
from calico.store.etcd_place import read_place
from calico.store.following import forget_datastore

pytestmark = pytest.mark.system

N_REVISIONS = 30
"""More than a host makes here."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path / "etcd") as started:
        open_etcd(read_place(started.settings()), may_make=True).close()
        yield started


class Relay:
    """Takes connections inside a namespace and passes them on to ours."""

    def __init__(self, space: Namespace, port: int) -> None:
        space.run("ip", "link", "set", "lo", "up")
        place = ("127.0.0.1", port)
        self._place = place
        self._listening = space.open_socket(lambda: socket.create_server(place))
        self._open: list[socket.socket] = [self._listening]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                inner, _ = self._listening.accept()
                try:
                    outer = socket.create_connection(self._place)
                except OSError:
                    inner.close()
                    continue
                self._open += (inner, outer)
                for ends in ((inner, outer), (outer, inner)):
                    threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while more := source.recv(65536):
            target.sendall(more)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def _host_on(
    cluster: EtcdCluster, directory: Path
) -> Generator[tuple[Host, list[Relay]]]:
    """Run a host in its namespace; the relays are what leads it to etcd."""
    port = int(cluster.urls[0].rpartition(":")[2])
    with a_host(directory, **cluster.environ()) as host, ExitStack() as stack:
        relays = [Relay(host.space, port)]
        stack.callback(lambda: _close(relays))
        # The agent ends first: it says goodbye to etcd.
        stack.callback(host.stop)
        host.start()
        yield host, relays


def _close(relays: list[Relay]) -> None:
    for relay in relays:
        relay.close()


def _connect(host: Host) -> tuple[Workload, Workload, Workload]:
    """Make two workloads that reach each other, and one that is shut."""
    host.put(*profile("A", rules(["allow"])), *profile("SHUT", rules([])))
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    shut = host.add_workload("shut", "SHUT")
    assert arrives(one, other)
    assert not arrives(one, shut)
    return one, other, shut


def test_emptied_etcd_takes_no_policy_away(
    cluster: EtcdCluster, tmp_path: Path
) -> None:
    with _host_on(cluster, tmp_path / "h1") as (host, _):
        one, other, shut = _connect(host)
        cluster.etcdctl("del", "--prefix", "/calico/")
        until(lambda: "holds no Calico data" in host.degraded(), "it is said")
        assert arrives(one, other)
        assert not arrives(one, shut)


def test_swapped_etcd_is_taken_up_only_when_the_node_starts_again(
    cluster: EtcdCluster, tmp_path: Path
) -> None:
    (member,) = cluster.members
    with _host_on(cluster, tmp_path / "h1") as (host, _):
        one, other, shut = _connect(host)
        assert host.status().revision < N_REVISIONS
        member.kill()
        shutil.rmtree(member.data)
        member.start()
        cluster.wait_until_healthy()
        made = open_etcd(read_place(cluster.settings()), may_make=True)
        # It has come further than the one before, so only its identity tells.
        for _ in range(3 * N_REVISIONS):
            made.commit(change(Put(READY_KEY, b"true")))
        made.close()
        until(lambda: "replaced by another one" in host.degraded(), "it is said")
        assert arrives(one, other)
        assert not arrives(one, shut)
        # An agent that is only started again by its supervisor knows it, too.
        killed = host.status().pid
        os.kill(killed, signal.SIGKILL)
        until(
            lambda: (
                "replaced by another one" in host.degraded()
                and host.status().pid != killed
            ),
            "the next one to say it",
        )
        assert arrives(one, other)
        assert not arrives(one, shut)
        host.stop()
        forget_datastore(host.run_dir)
        host.launch()
        until(lambda: not arrives(one, other), "the new one to be in force")
        assert host.degraded() == ""


def test_agent_that_was_away_over_a_compaction_reads_all_once(
    cluster: EtcdCluster, tmp_path: Path
) -> None:
    port = int(cluster.urls[0].rpartition(":")[2])
    with _host_on(cluster, tmp_path / "h1") as (host, relays):
        one, other, shut = _connect(host)
        relays.pop().close()
        until(lambda: "datastore" in host.degraded(), "it is cut off")
        outside = open_etcd(read_place(cluster.settings()), may_make=False)
        outside.commit(change(*profile("SHUT", rules(["allow"]))))
        newest = put(outside, "/calico/felix/v1/elsewhere")
        outside.compact(newest)
        outside.close()
        assert arrives(one, other)
        assert not arrives(one, shut), "it cannot know yet"
        relays.append(Relay(host.space, port))
        until(lambda: arrives(one, shut), "the change to be in force")
        assert arrives(one, other)
        assert host.degraded() == ""
