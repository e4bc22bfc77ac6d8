"""An agent whose datastore is lost: policy stays, and nothing is made up."""

import shutil
from pathlib import Path

import pytest
from agent_host import a_host, arrives, profile, rules, until

pytestmark = pytest.mark.system


def test_datastore_that_is_lost_is_missed_and_not_made_anew(tmp_path: Path) -> None:
    with a_host(tmp_path / "h1") as host:
        host.start()
        host.put(*profile("A", rules(["allow"])), *profile("SHUT", rules([])))
        one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
        shut = host.add_workload("shut", "SHUT")
        host.store.close()
        host.stop()
        data = tmp_path / "h1" / "data"
        data.rename(tmp_path / "lost")
        host.launch()
        until(lambda: "does not exist" in host.degraded(), "it is missed")
        assert not (data / "calico.db").exists()
        assert arrives(one, other)
        assert not arrives(one, shut)
        shutil.copytree(tmp_path / "lost", data)
        until(lambda: not host.degraded() and host.status().is_enforcing, "it is back")
        assert arrives(one, other)
        assert not arrives(one, shut)
