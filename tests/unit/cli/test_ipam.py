"""`calicoctl ipam` and `pool` on addresses that are given away."""

import json
from ipaddress import ip_address
from pathlib import Path

import pytest
from command_lines import HOSTNAME, ROOT, Outcome, environment, run_here

from calico.cli import ipam_check
from calico.ipam import release
from calico.ipam.assign import Claim, assign
from calico.model.block import Attributes
from calico.model.errors import Conflict
from calico.model.names import HostName
from calico.settings import Settings
from calico.store.api import Note
from calico.store.open import open_store

ADDRESS = "10.0.0.5"
NOTE = Note("test", HOSTNAME, "test")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    run_here(["pool", "add", "10.0.0.0/24"], tmp_path)
    return tmp_path


def take(data: Path, attributes: Attributes) -> None:
    store = open_store(Settings.from_environment(environment(data)))
    claim = Claim(HostName(HOSTNAME), attributes, NOTE)
    assign(store, ip_address(ADDRESS), claim)
    store.close()


def test_address_that_nobody_uses_is_released(data: Path) -> None:
    take(data, Attributes(None, {}))
    info = run_here(["ipam", "info", ADDRESS], data)
    assert info == Outcome(0, f"No attributes defined for {ADDRESS}\n", "")
    released = run_here(["ipam", "release", ADDRESS], data)
    assert released == Outcome(0, "Address successfully released\n", "")
    again = run_here(["ipam", "release", ADDRESS], data)
    assert again == Outcome(
        1, "", f"Failed to release address\n{ADDRESS} is free already\n"
    )


def test_what_is_known_of_an_address_is_shown(data: Path) -> None:
    take(data, Attributes("h1", {"time": "now"}))
    info = run_here(["ipam", "info", ADDRESS], data)
    assert info == Outcome(0, '{"handle": "h1", "time": "now"}\n', "")
    name = run_here(["ipam", "info", ADDRESS, "-o", "name"], data)
    assert name == Outcome(0, f"{ADDRESS}\n", "")
    yaml = run_here(["ipam", "info", ADDRESS, "-o", "yaml"], data)
    assert "handle: h1\n" in yaml.out


def test_pool_whose_removal_was_disturbed_shows_that_it_is_disabled(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disturbed(*_: object) -> None:
        raise Conflict("k", 1, 2)

    with monkeypatch.context() as patch:
        patch.setattr(release, "release_pool", disturbed)
        refused = run_here(["pool", "remove", "10.0.0.0/24"], data)
    assert refused.code == 1
    assert refused.err == (
        "Conflicting modifications have been made to the IPAM configuration for this\n"
        "pool.  Please retry the command.\n\n"
    )
    shown = run_here(["pool", "show", "--ipv4"], data)
    assert "| 10.0.0.0/24 | disabled |" in shown.out
    assert run_here(["pool", "remove", "10.0.0.0/24"], data).code == 0
    assert run_here(["pool", "show", "-o", "name"], data).out == ""


def leave_leak(data: Path) -> None:
    """Take an address as a command does that is killed before its endpoint."""
    take(data, Attributes(f"{HOSTNAME}.namespace.w.e", {"time": "then"}))


def test_leak_is_found_and_mended(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipam_check, "SECOND_LOOK_AFTER_S", 0.0)
    assert run_here(["ipam", "check"], data).out.endswith("Everything fits.\n")
    leave_leak(data)
    found = run_here(["ipam", "check"], data)
    assert found.code == 1
    assert found.out.startswith("Checked 1 address in 1 block, and 0 endpoints.\n")
    assert (
        f"{ADDRESS}: address that no endpoint has:"
        f" taken under {HOSTNAME}.namespace.w.e, of which there is no endpoint,"
        " at then\n"
    ) in found.out
    assert "`calicoctl ipam check --repair` mends what is safe" in found.out
    assert run_here(["ipam", "check", "-o", "name"], data).out == f"{ADDRESS}\n"
    assert run_here(["ipam", "info", ADDRESS], data).out.startswith('{"handle"')

    mended = run_here(["ipam", "check", "--repair", "-o", "json"], data)
    assert mended.code == 0
    assert mended.err == (
        "1 address without an endpoint: waiting 0 s to see which of them stay so.\n"
    )
    value = json.loads(mended.out)
    assert (value["n_mended"], value["n_left"]) == (2, 0)
    kinds = [each["kind"] for each in value["findings"]]
    # Nothing else is known of this host, so its empty block goes as well.
    assert kinds == ["leak", "gone-host"]
    assert run_here(["ipam", "check"], data).code == 0
    info = run_here(["ipam", "info", ADDRESS], data)
    assert info.out == f"IP {ADDRESS} is not currently assigned\n"


def test_pools_blocks_and_owner_of_an_address_are_shown(data: Path) -> None:
    leave_leak(data)
    pools = run_here(["ipam", "show"], data)
    assert "| 10.0.0.0/24 | 256  |  1   | 255  |   1    |" in pools.out
    blocks = json.loads(run_here(["ipam", "show", "--blocks", "-o", "json"], data).out)
    assert blocks == [
        {
            "cidr": "10.0.0.0/26",
            "pool": "10.0.0.0/24",
            "host": HOSTNAME,
            "strict": False,
            "used": 1,
            "free": 63,
            "borrowed": 0,
        }
    ]
    assert f"| 10.0.0.0/26 | 10.0.0.0/24 | {HOSTNAME} |  1   |  63  |    0     |" in (
        run_here(["ipam", "show", "--blocks"], data).out
    )
    shown = run_here(["ipam", "show", f"--ip={ADDRESS}"], data)
    assert shown == Outcome(
        0,
        f"IP {ADDRESS} is allocated\n  handle: {HOSTNAME}.namespace.w.e\n  time: then\n"
        f"  block: 10.0.0.0/26, of host {HOSTNAME}\n  pool: 10.0.0.0/24\n",
        "",
    )
    outside = run_here(["ipam", "show", "--ip=192.0.2.1"], data)
    assert outside.out == "IP 192.0.2.1 is not allocated\n  pool: none\n"
    assert run_here(["ipam", "show", "--ip=x"], data) == Outcome(
        1, "", "Invalid IP address specified.\n"
    )


def test_removal_of_a_pool_in_use_says_what_stays(data: Path) -> None:
    leave_leak(data)
    removed = run_here(["pool", "remove", "10.0.0.0/24"], data)
    assert removed.code == 0
    assert removed.out.endswith("Deleted IP Pool\n")
    assert removed.err.startswith(
        "1 address of 10.0.0.0/24 stays allocated, in 1 block: workloads"
    )
    shown = run_here(["ipam", "show"], data)
    assert "Outside every pool: 1 address used, in 1 block;" in shown.out
    blocks = json.loads(run_here(["ipam", "show", "--blocks", "-o", "json"], data).out)
    assert [(each["pool"], each["host"]) for each in blocks] == [(None, None)]


def test_commands_of_the_guide_work(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ipam_check, "SECOND_LOOK_AFTER_S", 0.0)
    assert run_here(["pool", "add", "192.168.0.0/16"], data).code == 0
    text = (ROOT / "docs" / "guide" / "addresses.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("./calicoctl ")]
    assert len(lines) == 6
    for line in lines:
        outcome = run_here(line.split()[1:], data)
        assert (outcome.code, outcome.err) == (0, ""), line
