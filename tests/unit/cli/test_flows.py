"""`calicoctl flows cut`, from the file that an agent has left."""

import json
from dataclasses import replace
from pathlib import Path

import yaml
from command_lines import run_here

from calico.control.cuts import FILE_NAME, CutFile, CutFlow, Side

CUT = CutFlow(
    at="2026-11-25T10:00:00Z",
    protocol="tcp",
    source="10.65.0.1",
    destination="10.65.0.2",
    source_port=40000,
    destination_port=80,
    icmp_type=None,
    icmp_code=None,
    rule="profile A inbound rule 1",
    profile="A",
    direction="inbound",
    number=1,
    endpoint="namespace/w1/eth0",
    side=Side.DESTINATION,
)
ECHO = replace(
    CUT, protocol="icmp", source_port=None, destination_port=None, icmp_type=8
)
SHOWN = """\
+----------------------+------------------------------------+--------------------------+---------------------------------+
|         Time         |                Flow                |        Denied by         |             Endpoint            |
+----------------------+------------------------------------+--------------------------+---------------------------------+
| 2026-11-25T10:00:00Z | tcp 10.65.0.1:40000 > 10.65.0.2:80 | profile A inbound rule 1 | namespace/w1/eth0 (destination) |
+----------------------+------------------------------------+--------------------------+---------------------------------+
"""  # noqa: E501 -- as it is printed


def test_cut_flows_are_shown_with_rule_and_side(tmp_path: Path) -> None:
    CutFile(tmp_path / "log").append([CUT])
    outcome = run_here(["flows", "cut"], tmp_path)
    assert (outcome.code, outcome.out, outcome.err) == (0, SHOWN, "")


def test_formats_have_one_shape_oldest_first(tmp_path: Path) -> None:
    CutFile(tmp_path / "log").append([CUT, replace(ECHO, icmp_code=0)])
    shown = json.loads(run_here(["flows", "cut", "-o", "json"], tmp_path).out)
    assert shown[0] == {
        "at": "2026-11-25T10:00:00Z",
        "protocol": "tcp",
        "source": "10.65.0.1",
        "destination": "10.65.0.2",
        "source_port": 40000,
        "destination_port": 80,
        "icmp_type": None,
        "icmp_code": None,
        "rule": "profile A inbound rule 1",
        "profile": "A",
        "direction": "inbound",
        "number": 1,
        "endpoint": "namespace/w1/eth0",
        "side": "destination",
    }
    assert (shown[1]["protocol"], shown[1]["icmp_type"]) == ("icmp", 8)
    assert yaml.safe_load(run_here(["flows", "cut", "-o", "yaml"], tmp_path).out) == (
        shown
    )
    assert run_here(["flows", "cut", "-o", "name"], tmp_path).out == (
        "tcp 10.65.0.1:40000 > 10.65.0.2:80\nicmp 10.65.0.1 > 10.65.0.2 type 8 code 0\n"
    )


def test_nothing_cut_is_an_empty_list(tmp_path: Path) -> None:
    assert run_here(["flows", "cut", "-o", "json"], tmp_path).out == "[]\n"
    outcome = run_here(["flows", "cut"], tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert "Denied by" in outcome.out


def test_lines_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    CutFile(tmp_path / "log").append([CUT])
    with (tmp_path / "log" / FILE_NAME).open("ab") as file:
        file.write(b"{}\nnonsense\n")
    outcome = run_here(["flows", "cut"], tmp_path)
    assert (outcome.code, outcome.out) == (0, SHOWN)
    assert "2 lines cannot be read and are left out" in outcome.err


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "log" / FILE_NAME).mkdir(parents=True)
    outcome = run_here(["flows", "cut"], tmp_path)
    assert (outcome.code, outcome.out) == (1, "")
    assert f"{FILE_NAME}: Is a directory" in outcome.err
    assert "group calico" in outcome.err
