"""What `calicoctl` prints, command by command, as recorded and read by people.

`GOLDEN=record` in the environment writes the transcripts anew; read the
difference before committing it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from command_lines import (
    environment,
    read_transcript,
    run_here,
    run_process,
    show_exchange,
)

from calico.settings import Settings
from calico.store.api import Note, Put, Transaction
from calico.store.open import open_store

TRANSCRIPTS = sorted((Path(__file__).parent / "cli").glob("*.txt"))
TUTORIAL = Path(__file__).parent / "tutorial.txt"
ENDPOINTS: dict[tuple[str, str, str], object] = {
    ("h1", "w1", "e1"): {
        "state": "active",
        "name": "cali1",
        "mac": "ee:ee:ee:ee:ee:ee",
        "profile_ids": [],
        "labels": {"k": "v"},
        "ipv4_nets": ["10.0.0.1/32"],
        "ipv6_nets": ["fd00::1/128"],
    },
    ("h2", "w1", "e1"): {"state": "inactive", "name": "cali1"},
    ("h2", "w3", "e3"): b"{",
    ("h2", "w4", "e4"): {"state": "active", "name": "cali4", "profile_id": "GONE"},
}
IS_RECORDING = os.environ.get("GOLDEN") == "record"


def without_trailing_blanks(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines())


def _of_reach(
    interface: str, profiles: list[str], addresses: list[str], state: str = "active"
) -> dict[str, object]:
    nets = {4: [a for a in addresses if ":" not in a], 6: []}
    nets[6] = [address for address in addresses if ":" in address]
    return {
        "state": state,
        "name": interface,
        "mac": "ee:ee:ee:ee:ee:ee",
        "profile_ids": profiles,
        "labels": {},
        "ipv4_nets": [f"{address}/32" for address in nets[4]],
        "ipv6_nets": [f"{address}/128" for address in nets[6]],
    }


REACH: dict[tuple[str, str, str], object] = {
    ("h1", "web", "e1"): _of_reach("cali1", ["WEB"], ["10.0.0.1", "fd00::1"]),
    ("h2", "%2Frun%2Fnetns%2Fdb", "e2"): _of_reach(
        "cali2", ["DB", "OLD"], ["10.0.0.2", "fd00::2"]
    ),
    ("h2", "client", "e3"): _of_reach(
        "cali3", ["CLIENT"], ["10.0.0.3", "10.7.0.3", "fd00::3"]
    ),
    ("h1", "off", "e4"): _of_reach("cali4", ["WEB"], ["10.0.0.4"], "inactive"),
    ("h1", "torn", "e5"): b"{",
    ("h1", "bare", "e6"): _of_reach("cali6", ["WEB"], []),
    ("h1", "xtwin", "e7"): _of_reach("cali1", ["WEB"], ["10.0.0.7"]),
}
REACH_PROFILES: dict[str, tuple[list[str], dict[str, object]]] = {
    "WEB": (
        ["WEB"],
        {
            "inbound_rules": [
                {"action": "allow", "protocol": "tcp", "dst_ports": [80, 443]},
                {"action": "allow", "protocol": "icmp", "icmp_type": 8},
                {"action": "deny", "protocol": "tcp", "dst_ports": [80]},
                {"action": "allow", "src_net": "192.0.2.0/24"},
                {"action": "deny", "src_net": "192.0.2.9/32", "src_tag": "DB"},
            ],
            "outbound_rules": [{"action": "allow"}],
        },
    ),
    "DB": (
        ["DB"],
        {
            "inbound_rules": [
                {"action": "allow", "src_tag": "WEB", "protocol": "tcp",
                 "dst_ports": ["5432:5433"]},
                {"action": "allow", "src_net": "10.7.0.0/16", "protocol": "udp",
                 "src_ports": [5000]},
                {"action": "allow", "src_tag": "ghost", "protocol": "udp"},
            ],
            "outbound_rules": [{"action": "deny"}],
        },
    ),
    "OLD": (["DB"], {"inbound_rules": [], "outbound_rules": [{"action": "allow"}]}),
    "CLIENT": (["client"], {"inbound_rules": [], "outbound_rules": [
        {"action": "deny", "protocol": "udp", "dst_ports": [53]},
        {"action": "allow"}]}),
    "LONE": ([], {"inbound_rules": [{"action": "allow"}], "outbound_rules": []}),
}  # fmt: skip


def _put_reach(data_dir: Path) -> None:
    """Write a small cluster, with what is broken in it."""
    values: dict[str, object] = {}
    for (host, workload, endpoint), value in REACH.items():
        place = f"{host}/workload/namespace/{workload}/endpoint/{endpoint}"
        values[f"/calico/v1/host/{place}"] = value
    for name, (tags, rules) in REACH_PROFILES.items():
        values[f"/calico/v1/policy/profile/{name}/tags"] = tags
        values[f"/calico/v1/policy/profile/{name}/rules"] = {"id": name, **rules}
    values["/calico/v1/policy/profile/BARE/tags"] = ["BARE"]
    values["/calico/v1/policy/profile/TORN/rules"] = b"{"
    _put(data_dir, values)


def _put(data_dir: Path, values: Mapping[str, object]) -> None:
    store = open_store(Settings.from_environment(environment(data_dir)))
    for key, value in values.items():
        written = value if isinstance(value, bytes) else json.dumps(value).encode()
        put = Put(key, written)
        store.commit(Transaction((), (put,), Note("test", "h", "test")))
    store.close()


def _put_endpoints(data_dir: Path) -> None:
    """Write what no command of these groups writes."""
    store = open_store(Settings.from_environment(environment(data_dir)))
    for place, value in ENDPOINTS.items():
        key = "/calico/v1/host/{}/workload/namespace/{}/endpoint/{}".format(*place)
        put = Put(
            key, value if isinstance(value, bytes) else json.dumps(value).encode()
        )
        store.commit(Transaction((), (put,), Note("test", "h", "test")))
    store.close()


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript_is_what_is_printed(path: Path, tmp_path: Path) -> None:
    recorded = path.read_text(encoding="utf-8")
    open_store(Settings.from_environment(environment(tmp_path))).close()
    if path.stem == "endpoint":
        _put_endpoints(tmp_path)
    if path.stem == "reach":
        _put_reach(tmp_path)
    remarks = [line for line in recorded.splitlines() if line.startswith("# ")]
    exchanges = [
        show_exchange(each, run_here(each.words, tmp_path, each.stdin))
        for each in read_transcript(recorded)
    ]
    found = "\n".join([*remarks, "", *exchanges])
    if IS_RECORDING:
        path.write_text(found, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == found


def test_tutorial_works_as_printed(tmp_path: Path) -> None:
    """Each command is a process of its own, as a reader would run it."""
    exchanges = read_transcript(TUTORIAL.read_text(encoding="utf-8"))
    assert len(exchanges) == 10
    for exchange in exchanges:
        assert exchange.command.startswith("./calicoctl ")
        outcome = run_process(exchange.words, tmp_path, exchange.stdin)
        assert (outcome.code, outcome.err) == (0, ""), exchange.command
        assert without_trailing_blanks(outcome.out) == without_trailing_blanks(
            exchange.outcome.out
        ), exchange.command
