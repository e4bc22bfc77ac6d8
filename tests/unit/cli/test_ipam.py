"""`calicoctl ipam` and `pool` on addresses that are given away."""

from ipaddress import ip_address
from pathlib import Path

import pytest
from command_lines import HOSTNAME, Outcome, environment, run_here

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
