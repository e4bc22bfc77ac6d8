"""What `explain` says of a live cluster; the words are in the transcripts."""

import json
from pathlib import Path

import pytest
from command_lines import environment, run_here

from calico.cli.grammar import Example
from calico.cli.groups.explain import GROUP
from calico.codec.host_status import HostStatus
from calico.model.names import HostName, Revision
from calico.settings import Settings
from calico.store.api import Note, Put, Transaction
from calico.store.host_status import HostStatusWriter
from calico.store.open import open_store

HOST = "node-1"
WEB, DB = ("10.0.0.1", "e1"), ("10.0.0.2", "e2")


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """Two workloads on one host, at policy revision 2."""
    run_here(["profile", "add", "WEB"], tmp_path)
    store = open_store(Settings.from_environment(environment(tmp_path)))
    puts = tuple(
        Put(
            f"/calico/v1/host/{HOST}/workload/namespace/{name}/endpoint/{endpoint}",
            json.dumps(
                {
                    "state": "active",
                    "name": f"cali{endpoint}",
                    "profile_ids": ["WEB"],
                    "ipv4_nets": [f"{address}/32"],
                    "ipv6_nets": [],
                }
            ).encode(),
        )
        for name, (address, endpoint) in (("web", WEB), ("db", DB))
    )
    store.commit(Transaction((), puts, Note("test", "h", "test")))
    store.close()
    return tmp_path


@pytest.mark.parametrize("example", GROUP.examples, ids=lambda each: each.command)
def test_example_is_answered(example: Example, cluster: Path) -> None:
    store = open_store(Settings.from_environment(environment(cluster)))
    puts = (
        Put("/calico/v1/host/host1/config/marker", b"created"),
        Put("/calico/bgp/v1/host/host1/ip_addr_v4", b"172.20.0.1"),
    )
    store.commit(Transaction((), puts, Note("test", "h", "test")))
    store.close()
    outcome = run_here(example.command.split(), cluster)
    assert outcome.err == ""
    assert ("denied" in outcome.out) == (outcome.code == 1)


def last_line(cluster: Path) -> str:
    return run_here(["explain", "web", "db", "tcp", "80"], cluster).out.splitlines()[-1]


@pytest.mark.parametrize(
    ("revision", "words"),
    [
        (1, "Policy revision 2 is not in force on node-1: it has 1."),
        (2, "Policy revision 2 is in force on node-1."),
        (3, "Policy revision 2 is in force on node-1."),
    ],
)
def test_host_is_said_to_enforce_what_its_status_shows(
    revision: int, words: str, cluster: Path
) -> None:
    assert last_line(cluster) == "Policy revision 2; node-1 has no live agent."
    store = open_store(Settings.from_environment(environment(cluster)))
    status = HostStatus(
        "2026-01-01T00:00:00Z", 1, is_first_update=True, revision=Revision(revision)
    )
    HostStatusWriter(store, HostName(HOST)).write(status)
    store.close()
    assert last_line(cluster) == words
    words_json = ["explain", "web", "db", "tcp", "80", "-o", "json"]
    shown = json.loads(run_here(words_json, cluster).out)
    assert shown["hosts"] == [
        {"host": HOST, "revision": revision, "in_force": revision >= 2}
    ]


@pytest.mark.parametrize(("revision", "code"), [(1, 0), (2, 1)])
def test_profile_that_the_kernel_refuses_is_known_from_the_host(
    revision: int, code: int, cluster: Path
) -> None:
    store = open_store(Settings.from_environment(environment(cluster)))
    status = HostStatus(
        "2026-01-01T00:00:00Z",
        1,
        is_first_update=True,
        revision=Revision(revision),
        problems={"profile WEB": "the kernel refused its rules: too long"},
    )
    HostStatusWriter(store, HostName(HOST)).write(status)
    store.close()
    outcome = run_here(["explain", "web", "db", "tcp", "80"], cluster)
    assert outcome.code == code
    assert ("profile WEB was refused by the kernel" in outcome.out) == bool(code)


def test_document_is_explained_as_the_datastore_it_came_from(
    cluster: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.json"
    backup.write_text(run_here(["datastore", "export"], cluster).out)
    for words in (
        ["explain", "web", "db", "tcp", "80"],
        ["explain", "198.51.100.7", "db", "udp", "53"],
    ):
        live = run_here(words, cluster)
        exported = run_here([*words, f"--snapshot={backup}"], tmp_path / "elsewhere")
        assert exported.code == live.code
        assert exported.out.splitlines()[:-1] == live.out.splitlines()[:-1]
        assert exported.out.splitlines()[-1] == "Policy revision 2, as exported."
    assert not (tmp_path / "elsewhere").exists()


def test_exit_code_is_the_answer(cluster: Path) -> None:
    assert run_here(["explain", "web", "db", "tcp", "80"], cluster).code == 0
    assert run_here(["explain", "198.51.100.7", "db", "tcp", "80"], cluster).code == 1
    shown = run_here(
        ["explain", "web", "198.51.100.7", "tcp", "80", "-o", "name"], cluster
    )
    assert (shown.code, shown.out) == (0, "allowed\n")


def test_address_of_several_endpoints_must_be_named_otherwise(cluster: Path) -> None:
    store = open_store(Settings.from_environment(environment(cluster)))
    key = "/calico/v1/host/node-2/workload/namespace/twin/endpoint/e1"
    value = b'{"state": "active", "name": "cali1", "ipv4_nets": ["10.0.0.1/32"]}'
    store.commit(Transaction((), (Put(key, value),), Note("test", "h", "test")))
    store.close()
    outcome = run_here(["explain", "10.0.0.1", "db", "tcp", "80"], cluster)
    assert outcome.code == 1
    assert "node-1/namespace/web/e1" in outcome.err
    assert "node-2/namespace/twin/e1" in outcome.err
