"""What must not matter: deaths, restarts, other programs, another host's agent.

A prober sends all the while on a pair that may talk and on one that may not:
nothing of the first is lost, and nothing of the second arrives.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from agent_host import (
    Host,
    Prober,
    a_host,
    arrives,
    profile,
    routes_of,
    rules,
    until,
)
from namespaces import in_new_netns

from calico.node.pidfile import running_pid

pytestmark = pytest.mark.system

ANY = rules(["allow"])
NONE = rules([])
PORT_OF_DENIED = 5001


@contextmanager
def _traffic(host: Host) -> Generator[None]:
    """Watch over a pair that may talk and one that may not."""
    host.put(*profile("A", ANY), *profile("SHUT", NONE))
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    shut = host.add_workload("shut", "SHUT")
    denied = Prober(one, shut, 6, PORT_OF_DENIED)
    with Prober(one, other) as allowed, denied:
        allowed.pass_more()
        denied.send_more()
        yield
        allowed.pass_more()
        denied.send_more()
    assert allowed.missing() == set()
    assert denied.received == set()


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[Host]:
    with a_host(tmp_path / "h1") as made:
        made.start()
        if not made.status().table_is_owned:
            pytest.skip("this kernel cannot own a table so that it stays")
        yield made


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Host]:
    with a_host(tmp_path / "h1", CALICO_TABLE_OWNERSHIP="off") as made:
        made.start()
        assert not made.status().table_is_owned
        yield made


def test_agent_that_is_killed_comes_back_unnoticed(owned: Host) -> None:
    with _traffic(owned):
        for _ in range(3):
            owned.kill_agent()
    assert owned.status().n_drifts == 0


def test_agent_that_is_killed_comes_back_unnoticed_without_ownership(
    shared: Host,
) -> None:
    with _traffic(shared):
        for _ in range(3):
            shared.kill_agent()


def test_node_that_is_stopped_and_started_is_unnoticed(owned: Host) -> None:
    with _traffic(owned):
        owned.stop()
        owned.start()


def test_agent_ends_with_a_supervisor_that_is_killed(owned: Host) -> None:
    agent = owned.status().pid
    assert owned.supervisor is not None
    with _traffic(owned):
        assert running_pid(owned.run_dir) is not None
        supervisor = int((owned.run_dir / "node.pid").read_text())
        os.kill(supervisor, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{agent}").exists(), "the agent ends")
        owned.supervisor.wait()
        assert running_pid(owned.run_dir) is None
        owned.start()


def test_second_supervisor_of_a_host_is_refused(owned: Host) -> None:
    argv = ["-I", "-m", "calico.node.supervisor"]
    second = subprocess.run(
        [sys.executable, *argv],
        env=owned.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert "already running" in second.stderr


def test_foreign_flush_does_not_touch_an_owned_table(owned: Host) -> None:
    with _traffic(owned):
        for _ in range(20):
            owned.space.run("nft", "flush", "ruleset")
    assert owned.status().n_drifts == 0


def test_foreign_flush_does_not_touch_an_owned_table_without_agent(owned: Host) -> None:
    with _traffic(owned):
        agent = owned.status().pid
        os.kill(agent, signal.SIGSTOP)
        owned.space.run("nft", "flush", "ruleset")
        os.kill(agent, signal.SIGKILL)
        owned.settle()


def test_foreign_flush_is_noticed_and_repaired(shared: Host) -> None:
    shared.put(*profile("SHUT", NONE))
    one, shut = shared.add_workload("one", "SHUT"), shared.add_workload("shut", "SHUT")
    before = _listing(shared)
    for number in (1, 2, 3):
        shared.space.run("nft", "flush", "ruleset")
        until(partial(_has_drifted, shared, number), "it is noticed")
        assert not arrives(one, shut)
    assert _listing(shared) == before
    assert "nft (process" in shared.status().last_drift


@pytest.mark.parametrize(
    "edit",
    [
        "flush chain inet calico forward-to",
        "insert rule inet calico to-workload accept",
        "add chain inet calico theirs",
        "flush map inet calico inbound4-dispatch",
        'add element inet calico interfaces { "cali99" }',
        "add table inet calico { flags dormant; }",
    ],
)
def test_foreign_edit_is_repaired(shared: Host, edit: str) -> None:
    shared.put(*profile("SHUT", NONE))
    one, shut = shared.add_workload("one", "SHUT"), shared.add_workload("shut", "SHUT")
    before = _listing(shared)
    shared.space.run("nft", "-f", "-", text=edit + "\n")
    until(lambda: shared.status().n_drifts >= 1, "it is noticed")
    assert _listing(shared) == before
    assert not arrives(one, shut)


def test_tables_of_others_stay_as_they_are(shared: Host) -> None:
    hook = "type filter hook input priority 5;"
    theirs = f"add table ip theirs\nadd chain ip theirs c {{ {hook} }}\n"
    shared.space.run("nft", "-f", "-", text=theirs)
    before = shared.space.run("nft", "list", "table", "ip", "theirs")
    shared.put(*profile("A", ANY))
    shared.add_workload("one", "A")
    shared.kill_agent()
    assert shared.space.run("nft", "list", "table", "ip", "theirs") == before
    assert shared.status().n_drifts == 0


def test_what_changed_while_nobody_was_there_is_put_right(owned: Host) -> None:
    owned.put(*profile("A", ANY), *profile("B", ANY))
    one, other = owned.add_workload("one", "A"), owned.add_workload("other", "A")
    gone = owned.add_workload("gone", "A")
    assert arrives(one, other)
    owned.stop()
    assert arrives(one, other)
    owned.commit(*profile("A", NONE))
    owned.commit(owned.no_endpoint(gone))
    owned.commit(owned.endpoint(one, "B"))
    owned.start()
    assert not arrives(one, other)
    assert routes_of(owned) == {one.ipv4, one.ipv6, other.ipv4, other.ipv6}


def test_catch_all_is_there_before_anything_is_read(tmp_path: Path) -> None:
    with a_host(tmp_path / "h1") as host:
        # A datastore that cannot be read, and that nobody will mend.
        host.store.close()
        for file in (tmp_path / "h1" / "data").iterdir():
            file.write_bytes(b"nothing that one could read" * 100)
        host.launch()
        until(lambda: "datastore" in host.degraded(), "the datastore is missed")
        listing = host.space.run(
            "nft", "list", "chain", "inet", "calico", "to-workload"
        )
        assert "drop" in listing + host.space.run(
            "nft", "list", "chain", "inet", "calico", "inbound4"
        )
        assert not host.status().is_enforcing


def test_two_agents_on_one_machine_do_not_meet(tmp_path: Path) -> None:
    with (
        a_host(tmp_path / "h1", "h1") as first,
        a_host(tmp_path / "h2", "h2") as second,
    ):
        first.start()
        second.start()
        for host in (first, second):
            host.put(*profile("A", ANY))
        one, other = first.add_workload("one", "A"), first.add_workload("other", "A")
        shut = second.add_workload("one", "A")
        second.put(*profile("A", NONE))
        first.space.run("nft", "flush", "ruleset")
        first.kill_agent()
        assert arrives(one, other)
        assert second.status().n_drifts == 0
        assert second.status().n_endpoints == 1
        assert routes_of(second) == {shut.ipv4, shut.ipv6}


def test_agent_works_without_root_and_says_what_it_lacks() -> None:
    def body() -> tuple[list[bool], dict[str, str]]:
        # Not below pytest's own directory, which is closed to others.
        with (
            tempfile.TemporaryDirectory(prefix="calico-agent-") as directory,
            a_host(Path(directory) / "h1") as host,
        ):
            host.start()
            host.put(*profile("A", rules(["allow from tag T"])))
            host.put(*profile("MANY", NONE, "NOTHING"))
            one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
            host.add_members("MANY", 3000)
            found = [arrives(one, other)]
            host.put(*profile("MANY", NONE, "T"), *profile("A", ANY, "T"))
            found.append(arrives(one, other))
            host.put(*profile("A", rules(["allow from tag T"]), "T"))
            found.append(arrives(one, other))
            n_members = host.space.run("nft", "list", "table", "inet", "calico").count(
                "10.66."
            )
            found.append(n_members > 1000)
            # And all of it at once.
            host.stop()
            host.space.run("nft", "delete", "table", "inet", "calico")
            host.start()
            found.append(arrives(one, other))
            host.put(*profile("MANY", NONE, "NOTHING"), *profile("A", NONE, "T"))
            found.append(arrives(one, other))
            return found, dict(host.status().limits)

    found, limits = in_new_netns(body, rootless=True)
    assert found == [False, True, True, True, True, False]
    assert any("buffer" in text for text in limits.values()), limits


def _has_drifted(host: Host, number: int) -> bool:
    return host.status().n_drifts >= number


def _listing(host: Host) -> str:
    text = host.space.run("nft", "list", "table", "inet", "calico")
    counted = re.sub(r"packets \d+ bytes \d+", "counted", text)
    # What packets put in comes and goes.
    return re.sub(r"\s*elements = {[^}]*limit rate[^}]*}", "", counted)
