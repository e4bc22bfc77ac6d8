"""Commands on what others have put into the datastore, and at the same time."""

import json
import subprocess
from pathlib import Path

import pytest
from command_lines import ROOT, environment, run_here

from calico.cli.pool import has_device
from calico.settings import Settings
from calico.store.api import Note, Put, Transaction
from calico.store.open import open_store

WEB = "/calico/v1/policy/profile/WEB/"
N_AT_ONCE = 12


def put(data_dir: Path, key: str, value: bytes) -> None:
    store = open_store(Settings.from_environment(environment(data_dir)))
    store.commit(Transaction((), (Put(key, value),), Note("test", "h", "test")))
    store.close()


def test_changes_made_at_once_all_arrive(tmp_path: Path) -> None:
    run_here(["profile", "add", "WEB"], tmp_path)
    line = ["profile", "WEB", "rule", "add", "inbound", "allow", "tcp", "to", "ports"]
    processes = [
        subprocess.Popen(
            [str(ROOT / "calicoctl"), *line, str(port)], env=environment(tmp_path)
        )
        for port in range(1, N_AT_ONCE + 1)
    ]
    assert [process.wait() for process in processes] == [0] * N_AT_ONCE
    shown = run_here(["profile", "WEB", "rule", "json"], tmp_path)
    rules = json.loads(shown.out)["inbound_rules"]
    ports = sorted(port for rule in rules for port in rule.get("dst_ports", []))
    assert ports == list(range(1, N_AT_ONCE + 1))


BROKEN = [b"", b"{", b"\xff", b'{"inbound_rules": [{"action": "log"}]}', b"[]"]


@pytest.mark.parametrize("value", BROKEN, ids=range(len(BROKEN)))
@pytest.mark.parametrize(
    "line",
    [
        "rule show",
        "rule json",
        "rule add inbound allow",
        "rule remove inbound --at=1",
        "rule remove inbound allow",
    ],
)
def test_rules_that_cannot_be_read_are_said_so_and_kept(
    line: str, value: bytes, tmp_path: Path
) -> None:
    run_here(["profile", "add", "WEB"], tmp_path)
    put(tmp_path, WEB + "rules", value)
    outcome = run_here(["profile", "WEB", *line.split()], tmp_path)
    assert outcome.code == 1
    assert outcome.err.startswith("The rules of profile WEB cannot be read: ")
    assert f"They are in {WEB}rules; `calicoctl profile WEB rule update`" in outcome.err


def test_rules_that_cannot_be_read_can_be_replaced(tmp_path: Path) -> None:
    run_here(["profile", "add", "WEB"], tmp_path)
    put(tmp_path, WEB + "rules", b"{")
    assert run_here(["profile", "WEB", "rule", "update"], tmp_path, b"{}").code == 0
    assert run_here(["profile", "WEB", "rule", "show"], tmp_path).code == 0


@pytest.mark.parametrize("line", ["tag show", "tag add X", "tag remove X"])
def test_tags_that_cannot_be_read_are_said_so(line: str, tmp_path: Path) -> None:
    run_here(["profile", "add", "WEB"], tmp_path)
    put(tmp_path, WEB + "tags", b'["a b"]')
    outcome = run_here(["profile", "WEB", *line.split()], tmp_path)
    assert outcome.code == 1
    assert "The tags of profile WEB cannot be read: $[0]: found" in outcome.err
    assert "`calicoctl profile add WEB` make it anew.\n" in outcome.err


def test_one_key_makes_a_profile(tmp_path: Path) -> None:
    put(tmp_path, WEB + "labels", b"{}")
    assert run_here(["profile", "show", "-o", "name"], tmp_path).out == "WEB\n"
    assert run_here(["profile", "WEB", "tag", "show"], tmp_path).out == ""
    shown = run_here(["profile", "WEB", "rule", "show"], tmp_path).out
    assert shown == "Inbound rules:\nOutbound rules:\n"
    line = ["profile", "WEB", "rule", "add", "inbound", "deny"]
    assert run_here(line, tmp_path).code == 0


def test_profile_in_an_endpoint_that_cannot_be_read_counts_as_used(
    tmp_path: Path,
) -> None:
    run_here(["profile", "add", "WEB"], tmp_path)
    key = "/calico/v1/host/h/workload/o/w/endpoint/e"
    put(tmp_path, key, b'{"profile_ids": ["WEB"]}')
    outcome = run_here(["profile", "remove", "WEB"], tmp_path)
    assert outcome.code == 1
    assert "In use by e on h (which cannot be read)." in outcome.err
    assert run_here(["profile", "remove", "WEB", "--no-check"], tmp_path).code == 0


def test_pool_that_cannot_be_read_is_shown_and_can_be_removed(tmp_path: Path) -> None:
    put(tmp_path, "/calico/v1/ipam/v4/pool/10.0.0.0-16", b"{}")
    assert "cannot be read" in run_here(["pool", "show"], tmp_path).out
    assert run_here(["pool", "add", "10.0.0.0/8"], tmp_path).code == 1
    assert run_here(["pool", "remove", "10.0.0.0/16"], tmp_path).code == 0


def test_the_thousandth_rule_is_the_last(tmp_path: Path) -> None:
    run_here(["profile", "add", "WEB"], tmp_path)
    rules = [{"protocol": "tcp", "dst_ports": [port]} for port in range(1000)]
    text = json.dumps({"inbound_rules": rules}).encode()
    assert run_here(["profile", "WEB", "rule", "update"], tmp_path, text).code == 0
    line = ["profile", "WEB", "rule", "add", "outbound", "allow"]
    outcome = run_here(line, tmp_path)
    assert outcome.code == 1
    assert "has 1000 rules, the most it can" in outcome.err


def test_endpoint_lists_a_hundred_profiles_at_most(tmp_path: Path) -> None:
    for profile in ("A", "B"):
        run_here(["profile", "add", profile], tmp_path)
    value = {"state": "active", "name": "cali0", "profile_ids": ["X"] * 99}
    key = "/calico/v1/host/h/workload/o/w/endpoint/e"
    put(tmp_path, key, json.dumps(value).encode())
    outcome = run_here(["endpoint", "e", "profile", "append", "A", "B"], tmp_path)
    assert outcome.code == 1
    assert "would list 101 profiles; 100 are the most" in outcome.err
    assert run_here(["endpoint", "e", "profile", "append", "A"], tmp_path).code == 0


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("sys/module/ipip", ""),
        ("sys/class/net/tunl0", ""),
        ("lib/modules/6.1/modules.builtin", "kernel/net/ipv4/ipip.ko\n"),
        ("lib/modules/6.1/modules.dep", "kernel/net/ipv4/ipip.ko.xz: a\n"),
    ],
)
def test_kernel_with_ipip_is_recognised(path: str, text: str, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(text)
    assert has_device("ipip", tmp_path, "6.1")


def test_kernel_without_ipip_is_recognised(tmp_path: Path) -> None:
    assert not has_device("ipip", tmp_path, "6.1")
    for release, module in (("6.1", "ip_gre"), ("6.2", "ipip")):
        directory = tmp_path / "lib/modules" / release
        directory.mkdir(parents=True)
        (directory / "modules.dep").write_text(f"kernel/net/ipv4/{module}.ko:\n")
    assert not has_device("ipip", tmp_path, "6.1")
