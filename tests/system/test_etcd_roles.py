"""With the roles that are printed a host works, and does nothing else."""

import shlex
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from threading import Thread

import pytest
from etcd_servers import Authority, Certificate, EtcdCluster, etcd_cluster, wait_for
from store_contract import DEADLINE_S, change

from calico.codec.keys import (
    ipam_affinity_key,
    ipam_block_key,
    ipam_handle_key,
    last_reported_status_key,
)
from calico.model.errors import StoreNotPermitted, Unavailable
from calico.model.names import HostName, Revision
from calico.store.api import Delete, Put, Scope
from calico.store.etcd import EtcdStore, open_etcd
from calico.store.etcd_client import EtcdClient
from calico.store.etcd_holes import parse_version, warnings_about
from calico.store.etcd_place import read_place
from calico.store.etcd_roles import (
    OPERATOR,
    command_to_begin,
    commands_for_host,
    commands_for_operators,
    commands_for_root,
)
from calico.store.etcd_wire import put_operation, txn_request
from calico.store.feed import Everything, PolicyFeed
from calico.store.host_status import HostStatus, HostStatusWriter, read_live_hosts
from calico.store.protobuf import message

pytestmark = pytest.mark.system

H1, H2 = HostName("h1"), HostName("h2")
BLOCK = ip_network("10.0.0.0/26")
FOREIGN_ENDPOINT = "/calico/v1/host/h2/workload/o/w/endpoint/e"
OWN_ENDPOINT = "/calico/v1/host/h1/workload/o/w/endpoint/e"
TAGS = "/calico/v1/policy/profile/A/tags"

Opening = Callable[[str], EtcdStore]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    with etcd_cluster(authority=authority) as cluster:
        for host in (H1, H2):
            _carry_out(cluster, commands_for_host(host))
        _carry_out(cluster, commands_for_operators())
        _carry_out(cluster, commands_for_root())
        _carry_out(cluster, iter([command_to_begin()]))
        cluster.certificates = {
            name: authority.sign(name) for name in (H1, H2, OPERATOR, "watcher")
        }
        operator = _open(cluster, cluster.certificates[OPERATOR])
        operator.commit(change(Put("/calico/v1/Ready", b"true"), Put(TAGS, b'["A"]')))
        operator.close()
        yield cluster


def _carry_out(cluster: EtcdCluster, commands: Iterator[str]) -> None:
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "etcdctl"
        cluster.etcdctl(*words)


def _open(cluster: EtcdCluster, client: Certificate) -> EtcdStore:
    return open_etcd(read_place(cluster.settings(client=client)), may_make=True)


@pytest.fixture
def opening(guarded: EtcdCluster) -> Iterator[Opening]:
    opened: list[EtcdStore] = []

    def begin(name: str) -> EtcdStore:
        opened.append(_open(guarded, guarded.certificates[name]))
        return opened[-1]

    yield begin
    for store in opened:
        store.close()


def test_host_does_all_that_it_has_to(opening: Opening) -> None:
    store = opening(H1)
    feed = PolicyFeed(lambda: opening(H1)).events()
    everything = next(feed)
    assert isinstance(everything, Everything)
    assert len(everything.items) >= 2
    feed.close()  # type: ignore[attr-defined]  # a generator behind its type
    watch = store.watch("/calico/v1/", store.list_prefix("/calico/v1/").revision)
    revision = store.commit(change(Put(OWN_ENDPOINT, b"{}")))
    assert [batch.revision for batch in watch.read(DEADLINE_S)] == [revision]
    watch.close()
    writer = HostStatusWriter(store, H1)
    writer.write(
        HostStatus("now", 1, is_first_update=True, revision=Revision(1), problems={})
    )
    assert set(read_live_hosts(store)) == {H1}
    writer.withdraw()
    puts = [
        Put(ipam_block_key(BLOCK), b"{}"),
        Put(ipam_affinity_key(H1, BLOCK), b""),
        Put(ipam_handle_key("h1.o.w.e"), b"{}"),
    ]
    scope = Scope(prefixes=("/calico/ipam/v2/",))
    store.update(scope, lambda _: (change(*puts), None))
    store.commit(change(Delete(OWN_ENDPOINT), *(Delete(put.key) for put in puts)))
    assert store.get(OWN_ENDPOINT) is None
    assert store.last_change(("/calico/v1/",)) > revision


def test_watch_that_may_not_know_which_store_it_follows_says_so(
    guarded: EtcdCluster, opening: Opening
) -> None:
    name = "watcher"
    store_prefix = ("--prefix=true", "/calico/store/v1/")
    guarded.etcdctl("role", "add", name)
    for words in (("--prefix=true", "/calico/v1/"), store_prefix):
        guarded.etcdctl("role", "grant-permission", name, "read", *words)
    guarded.etcdctl("user", "add", name, "--no-password")
    guarded.etcdctl("user", "grant-role", name, name)
    store = _open(guarded, guarded.certificates[name])
    watch = store.watch("/calico/v1/", store.list_prefix("/calico/v1/").revision)
    said: list[str] = []

    def is_said() -> bool:
        try:
            watch.read(None)
        except StoreNotPermitted as error:
            said.append(str(error))
        except Unavailable:
            pass
        return bool(said)

    # For ever is how long it waits otherwise.
    reader = Thread(target=lambda: wait_for(is_said, "it is said"), daemon=True)
    try:
        revision = opening(OPERATOR).commit(change(Put(TAGS, b'["B"]')))
        assert [batch.revision for batch in watch.read(DEADLINE_S)] == [revision]
        guarded.etcdctl("role", "revoke-permission", name, *store_prefix)
        (member,) = guarded.members
        member.kill()
        member.start()
        guarded.wait_until_healthy()
        reader.start()
        reader.join(3 * DEADLINE_S)
        assert len(said) == 1
        assert "user watcher may not read /calico/store/v1/id" in said[0]
    finally:
        watch.close()
        store.close()


@pytest.mark.parametrize(
    "key",
    [
        FOREIGN_ENDPOINT,
        TAGS,
        "/calico/v1/Ready",
        "/calico/store/v1/id",
        ipam_affinity_key(H2, BLOCK),
        last_reported_status_key(H2),
    ],
)
def test_host_writes_nothing_else(opening: Opening, key: str) -> None:
    store = opening(H1)
    with pytest.raises(StoreNotPermitted) as caught:
        store.commit(change(Put(key, b"{}")))
    assert f"user h1 may not write {key}" in str(caught.value)
    with pytest.raises(StoreNotPermitted):
        store.commit(change(Put(OWN_ENDPOINT, b"{}"), Put(key, b"{}")))
    assert store.get(OWN_ENDPOINT) is None


def test_operator_changes_policy(opening: Opening) -> None:
    store = opening(OPERATOR)
    revision = store.commit(change(Put(TAGS, b'["A", "B"]')))
    assert store.history("/calico/", limit=1)[0].revision == revision


def test_server_that_does_not_keep_to_roles_is_warned_of(
    opening: Opening, guarded: EtcdCluster
) -> None:
    store = opening(H1)
    client = EtcdClient(read_place(guarded.settings(client=guarded.certificates[H1])))
    version = client.status().version
    inner = txn_request((), (put_operation(FOREIGN_ENDPOINT, b"stolen"),))
    nested = txn_request((), (message(4, inner),))
    try:
        client.transact(nested, "write past the role")
        has_hole = True
    except StoreNotPermitted:
        has_hole = False
    client.close()
    found = store.get(FOREIGN_ENDPOINT)
    assert (found is not None) == has_hole
    warned = any("whatever its role" in warning for warning in store.warnings())
    assert warned == has_hole
    assert version == "3.4.23" or not has_hole


@pytest.mark.parametrize(
    ("version", "n_holes"),
    [
        *(("3.4.23", 2), ("3.4.41", 2), ("3.4.42", 1), ("3.4.44", 0)),
        *(("3.5.27", 2), ("3.5.28", 1), ("3.5.30", 0), ("3.6.8", 2), ("3.6.11", 0)),
        *(("3.7.0-rc.1", 0), ("3.3.27", 2), ("unknown", 0)),
    ],
)
def test_holes_are_known_by_version(version: str, n_holes: int) -> None:
    assert len(warnings_about(version)) == n_holes
    assert (parse_version(version) is None) == (version == "unknown")
