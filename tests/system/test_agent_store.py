"""An agent whose datastore is lost or damaged: policy stays, and it is said."""

import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from agent_host import Host, a_host, arrives, profile, rules, until

from calico.control.client import NoAgent
from calico.store.api import Put

pytestmark = pytest.mark.system


def _damage(database: Path, key: str) -> None:
    """Change a value without anybody's knowing."""
    with closing(sqlite3.connect(database)) as connection, connection:
        changed = connection.execute(
            "UPDATE kv SET value = ? WHERE key = ?", (b"confirmeD", key)
        )
        assert changed.rowcount == 1


def _problems(host: Host) -> Mapping[str, str]:
    """Say what is wrong; nothing while the agent does not answer yet."""
    try:
        return host.status().problems
    except NoAgent:
        return {}


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


def test_damage_that_policy_does_not_read_is_named_once_policy_is_in_force(
    tmp_path: Path,
) -> None:
    unread = "/calico/ipam/v2/handle/elsewhere"
    with a_host(tmp_path / "h1") as host:
        host.commit(Put(unread, b"confirmed"))
        host.commit(*profile("A", rules(["allow"])))
        host.start()
        one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
        assert not host.status().problems
        host.stop()
        database = tmp_path / "h1" / "data" / "calico.db"
        _damage(database, unread)
        host.start()
        assert arrives(one, other)
        until(lambda: "datastore" in host.status().problems, "the damage is named")
        said = host.status().problems["datastore"]
        assert unread in said
        assert "put a backup in place of" in said
        # What is read is undamaged, so changes go on.
        host.put(*profile("A", rules([])))
        assert not arrives(one, other)
        assert host.status().degraded == ""


def test_damage_that_routing_reads_is_named_and_policy_stays(tmp_path: Path) -> None:
    """Without routing nobody knows who may send into a tunnel: nothing is changed."""
    block = "/calico/ipam/v2/host/elsewhere/ipv4/block/10.0.0.0-26"
    with a_host(tmp_path / "h1") as host:
        host.commit(Put(block, b"confirmed"))
        host.commit(*profile("A", rules(["allow"])), *profile("SHUT", rules([])))
        host.start()
        one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
        shut = host.add_workload("shut", "SHUT")
        host.stop()
        database = tmp_path / "h1" / "data" / "calico.db"
        _damage(database, block)
        host.launch()
        until(lambda: "routing" in _problems(host), "the damage is named")
        assert block in host.status().problems["routing"]
        assert arrives(one, other)
        assert not arrives(one, shut)
