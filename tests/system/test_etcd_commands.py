"""Commands on an etcd: the same as on the embedded datastore, and what differs."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from agent_host import Namespace, a_host, arrives, profile, rules, until
from etcd_backend import empty
from etcd_servers import EtcdCluster, etcd_cluster, merged
from store_contract import change, put

from calico.cli.datastore import make_export
from calico.codec.export_json import encode_export
from calico.store.api import Put
from calico.store.etcd import open_etcd
from calico.store.etcd_place import read_place
from calico.store.memory import MemoryStore

pytestmark = pytest.mark.system

Ran = subprocess.CompletedProcess[str]
Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def cluster() -> Iterator[EtcdCluster]:
    with etcd_cluster() as started:
        yield started


@pytest.fixture
def run(cluster: EtcdCluster) -> Run:
    empty(cluster)

    def calicoctl(*words: str) -> Ran:
        program = "import sys; from calico.cli.main import run; run()"
        return subprocess.run(
            [sys.executable, "-P", "-c", program, *words],
            env=merged(cluster.environ(), HOSTNAME="h1"),
            capture_output=True,
            text=True,
            check=False,
        )

    return calicoctl


def test_policy_is_changed_and_shown(run: Run) -> None:
    absent = run("profile", "show")
    assert absent.returncode == 5
    assert "holds no Calico data" in absent.stderr
    assert run("profile", "add", "WEB").returncode == 0
    shown = run("profile", "WEB", "rule", "show")
    assert shown.stdout.splitlines()[1] == "   1 allow from tag WEB"
    assert run("profile", "remove", "WEB").returncode == 0
    assert "WEB" not in run("profile", "show").stdout


def test_error_is_one_line_and_exit_code_5(run: Run, cluster: EtcdCluster) -> None:
    (member,) = cluster.members
    member.kill()
    try:
        failed = run("profile", "show")
    finally:
        member.start()
        cluster.wait_until_healthy()
    assert failed.returncode == 5
    assert failed.stderr.count("\n") == 1
    assert "Connection refused" in failed.stderr


def test_large_import_goes_in_steps_that_agents_do_not_see(
    run: Run, cluster: EtcdCluster, tmp_path: Path
) -> None:
    source = MemoryStore()
    source.commit(change(Put("/calico/v1/Ready", b"true")))
    n_profiles = 400
    for number in range(n_profiles):
        put(source, f"/calico/v1/policy/profile/P{number}/tags", b"[]")
    document = tmp_path / "backup.json"
    document.write_text("\n".join(encode_export(make_export(source))))
    done = run("datastore", "import", "-f", str(document))
    assert done.returncode == 0, done.stderr
    assert "it goes in steps" in done.stderr
    assert f"Imported {n_profiles + 1} keys" in done.stdout
    store = open_etcd(read_place(cluster.settings()), may_make=False)
    history = store.history("/calico/v1/", limit=1000)
    assert len(history) > n_profiles // 128
    ready: list[list[bytes]] = []
    for entry in reversed(history):
        listing = store.list_prefix("/calico/v1/Ready", at=entry.revision)
        ready.append([item.value for item in listing.items])
    assert ready == [[b"false"]] * (len(history) - 1) + [[b"true"]]
    assert len(store.list_prefix("/calico/v1/policy/").items) == n_profiles
    store.close()
    again = run("datastore", "import", "-f", str(document))
    assert again.returncode == 1
    assert "holds 401 keys already" in again.stderr


def test_roles_are_printed_without_asking_etcd(run: Run, cluster: EtcdCluster) -> None:
    (member,) = cluster.members
    member.kill()
    try:
        printed = run("datastore", "roles", "--host=web-1")
        refused = run("datastore", "roles", "--host=a/b")
    finally:
        member.start()
        cluster.wait_until_healthy()
    assert printed.returncode == 0
    grant = "etcdctl role grant-permission calico-node-web-1 readwrite --prefix=true"
    assert f"{grant} /calico/v1/host/web-1/\n" in printed.stdout
    assert "/policy/" not in printed.stdout
    assert refused.returncode == 1


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
                outer = socket.create_connection(self._place)
                self._open += (inner, outer)
                for ends in ((inner, outer), (outer, inner)):
                    threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while more := source.recv(65536):
            target.sendall(more)
        target.shutdown(socket.SHUT_WR)


def test_agent_keeps_policy_when_etcd_is_emptied(
    cluster: EtcdCluster, tmp_path: Path
) -> None:
    empty(cluster)
    environ = cluster.environ()
    port = int(cluster.urls[0].rpartition(":")[2])
    with a_host(tmp_path / "h1", **environ) as host, ExitStack() as stack:
        stack.callback(Relay(host.space, port).close)
        # The agent ends first: it says goodbye to etcd.
        stack.callback(host.stop)
        host.start()
        host.put(*profile("A", rules(["allow"])), *profile("SHUT", rules([])))
        one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
        shut = host.add_workload("shut", "SHUT")
        assert arrives(one, other)
        assert not arrives(one, shut)
        cluster.etcdctl("del", "--prefix", "/calico/")
        until(lambda: "holds no Calico data" in host.degraded(), "it is said")
        assert arrives(one, other)
        assert not arrives(one, shut)
