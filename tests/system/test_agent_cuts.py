"""Flows that a change denies end in both directions; the others lose no byte."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from agent_host import (
    Host,
    Workload,
    a_host,
    profile,
    rules,
    setting,
    until,
)
from command_lines import ROOT
from flow_streams import Datagrams, Pair, Stream, who_speaks

from calico.control.cuts import CutFlow, Side, read_cuts
from calico.linux.namespace import call_inside, open_namespace
from calico.linux.nft_events import Committed, NftEvents
from calico.model.endpoint import EndpointState
from calico.store.api import Delete, Operation, Put

pytestmark = pytest.mark.system

ANY = rules(["allow"])
NONE = rules([])
DB = rules(["allow from tag WEB"])
KEPT_PORT, CUT_PORT = 5000, 6000
N_CHANGES = 8
NOBODY, BOTH = (False, False), (True, True)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with a_host(tmp_path / "h1") as made:
        made.start()
        yield made


def cuts(host: Host) -> tuple[CutFlow, ...]:
    history = read_cuts(host.directory / "log")
    assert history.n_unreadable == 0
    return history.cuts


def cuts_to(host: Host, port: int) -> list[CutFlow]:
    return [each for each in cuts(host) if each.destination_port == port]


def is_tracked(host: Host, port: int) -> bool:
    return f"dport={port} " in host.space.run("cat", "/proc/net/nf_conntrack")


def await_cuts(host: Host, port: int, number: int = 1) -> list[CutFlow]:
    """Wait until so many flows to a port have been cut, which follows the record."""

    def are_cut() -> bool:
        return len(cuts_to(host, port)) >= number and not is_tracked(host, port)

    until(are_cut, f"{number} flows to port {port} are cut")
    return cuts_to(host, port)


@pytest.mark.parametrize("family", [4, 6])
def test_flows_that_stay_allowed_lose_no_byte(host: Host, family: int) -> None:
    ports = range(CUT_PORT, CUT_PORT + N_CHANGES)

    def server_rules(n_denied: int) -> tuple[Operation, ...]:
        """Deny one port after the other, in front of rules that move on."""
        denied = [f"deny tcp to ports {port}" for port in ports[:n_denied]]
        open_ports = [f"allow tcp to ports {port}" for port in ports[n_denied:]]
        kept = [f"allow {word} to ports {KEPT_PORT}" for word in ("tcp", "udp")]
        return profile("S", rules([*denied, *open_ports, *kept]))

    host.put(*profile("C", NONE), *server_rules(0))
    client, server = host.add_workload("client", "C"), host.add_workload("server", "S")
    with (
        Stream(client, server, family, KEPT_PORT) as stream,
        Datagrams(client, server, family, KEPT_PORT) as datagrams,
    ):
        for number, port in enumerate(ports, 1):
            with Pair(client, server, "tcp", family, port) as pair:
                host.put(*server_rules(number))
                (told,) = await_cuts(host, port)
                assert told.rule == f"profile S inbound rule {number}"
                assert pair.speaks() == NOBODY
            stream.pass_more()
            datagrams.pass_more()
    assert (stream.fault, datagrams.fault) == ("", "")
    assert cuts_to(host, KEPT_PORT) == []
    assert len(cuts(host)) == N_CHANGES


Told = tuple[str, str | None, int | None, Side]


_AT_DB, _AT_WEB = Side.DESTINATION, Side.SOURCE
WAYS: dict[str, Told] = {
    "tag goes": ("end of profiles inbound: DB", None, None, _AT_DB),
    "deny comes": ("profile DB inbound rule 1", "DB", 1, _AT_DB),
    "list is emptied": ("end of profiles inbound: (none)", None, None, _AT_DB),
    "source's list": ("end of profiles outbound: (none)", None, None, _AT_WEB),
    "inactive": ("inactive endpoint test/db/db", None, None, _AT_DB),
    "source inactive": ("inactive endpoint test/web/web", None, None, _AT_WEB),
    "undecodable": ("profile DB has undecodable rules", "DB", None, _AT_DB),
    "profile goes": ("profile DB does not exist", "DB", None, _AT_DB),
}


def change(host: Host, way: str, web: Workload, db: Workload) -> Sequence[Operation]:
    inactive = EndpointState.INACTIVE
    bad = Put("/calico/v1/policy/profile/DB/rules", b'{"inbound_rules": 3}')
    changes: dict[str, Sequence[Operation]] = {
        "tag goes": profile("WEB", NONE, "OTHER"),
        "deny comes": profile("DB", rules(["deny from tag WEB", "allow"])),
        "list is emptied": [host.endpoint(db)],
        "source's list": [host.endpoint(web)],
        "inactive": [host.endpoint(db, "DB", state=inactive)],
        "source inactive": [host.endpoint(web, "WEB", state=inactive)],
        "undecodable": [bad],
        "profile goes": [Delete(each.key) for each in profile("DB", DB)],
    }
    return changes[way]


@pytest.mark.parametrize(("way", "told"), [*WAYS.items()], ids=list(WAYS))
def test_flow_is_cut_both_ways_and_told_with_its_rule(
    host: Host, way: str, told: Told
) -> None:
    host.put(*profile("WEB", NONE), *profile("DB", DB), *profile("A", ANY))
    web, db = host.add_workload("web", "WEB"), host.add_workload("db", "DB")
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    kinds = [(word, family) for word in ("tcp", "udp") for family in (4, 6)]
    with contextlib.ExitStack() as stack:
        cut = [stack.enter_context(Pair(web, db, *kind, CUT_PORT)) for kind in kinds]
        kept = [
            stack.enter_context(Pair(one, other, *kind, KEPT_PORT)) for kind in kinds
        ]
        host.put(*change(host, way, web, db))
        found = await_cuts(host, CUT_PORT, len(kinds))
        assert who_speaks(cut) == [NOBODY] * 4
        assert who_speaks(kept) == [BOTH] * 4
    side = told[-1]
    endpoint = "test/db/db" if side is Side.DESTINATION else "test/web/web"
    wanted = {
        (*told, endpoint, word, str(web.ipv4 if family == 4 else web.ipv6))
        for word, family in kinds
    }
    assert wanted == {
        (
            each.rule,
            each.profile,
            each.number,
            each.side,
            each.endpoint,
            each.protocol,
            each.source,
        )
        for each in found
    }
    assert cuts_to(host, KEPT_PORT) == []
    assert f"cut tcp {web.ipv4}:" in host.log()
    assert f"> {db.ipv4}:{CUT_PORT}: {told[0]}" in host.log()


@pytest.mark.parametrize("family", [4, 6])
def test_side_that_answers_does_not_bring_a_cut_connection_back(
    host: Host, family: int
) -> None:
    """Policy lets the server begin flows to the client, on any port."""
    host.put(*profile("A", ANY), *profile("B", ANY))
    client, server = host.add_workload("client", "A"), host.add_workload("server", "B")
    with Pair(client, server, "tcp", family, CUT_PORT) as pair:
        host.put(*profile("B", NONE))
        await_cuts(host, CUT_PORT)
        assert pair.speaks() == NOBODY
    with Pair(server, client, "tcp", family, CUT_PORT + 1) as control:
        assert control.speaks() == BOTH


def test_flows_go_on_while_switched_off_and_are_cut_when_switched_on(
    host: Host,
) -> None:
    host.put(*profile("A", ANY), setting("CutEstablishedFlows", "false"))
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    with Pair(one, other, "tcp", 4, CUT_PORT) as pair:
        host.put(*profile("A", NONE))
        # The next agent's start does not change what is wanted.
        host.kill_agent()
        assert pair.speaks() == BOTH
        assert cuts(host) == ()
        host.put(setting("CutEstablishedFlows", "true"))
        (told,) = await_cuts(host, CUT_PORT)
        assert told.rule == "end of profiles inbound: A"
        assert pair.speaks() == NOBODY


def test_agent_killed_between_commit_and_cut_leaves_it_to_the_next(host: Host) -> None:
    host.put(*profile("A", ANY), *profile("B", ANY))
    one, other = host.add_workload("one", "B"), host.add_workload("other", "A")
    for port in range(CUT_PORT, CUT_PORT + 20):
        with Pair(one, other, "tcp", 4, port) as pair:
            is_left = kill_at_commit(host, profile("A", NONE), port)
            host.settle()
            (told,) = await_cuts(host, port)
            assert told.rule == "end of profiles inbound: A"
            assert pair.speaks() == NOBODY
        if is_left:
            return
        host.put(*profile("A", ANY))
    pytest.fail("the agent was never killed in time")


def kill_at_commit(host: Host, change: Sequence[Operation], port: int) -> bool:
    """Kill the agent as soon as a change is in the kernel.

    Returns:
        Whether the flow to a port was alive then, and nobody had cut it.
    """
    assert host.supervisor is not None
    # The supervisor stands still, so that no other agent comes before we look.
    supervisor = int((host.run_dir / "node.pid").read_text())
    agent = host.status().pid
    with open_namespace(host.space.path) as fd:
        events = call_inside(fd, NftEvents)
    os.kill(supervisor, signal.SIGSTOP)
    try:
        host.commit(*change)
        until(partial(has_committed, events), "the change is in the kernel")
        os.kill(agent, signal.SIGKILL)
        stat = Path(f"/proc/{agent}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", "it ends")
        return is_tracked(host, port) and cuts_to(host, port) == []
    finally:
        events.close()
        os.kill(supervisor, signal.SIGCONT)


def has_committed(events: NftEvents) -> bool:
    found = events.read(0.001)
    return any(isinstance(each, Committed) and each.is_ours for each in found)


def test_cut_flows_are_shown_after_restarts_and_without_an_agent(host: Host) -> None:
    def shown() -> list[dict[str, object]]:
        done = subprocess.run(
            [str(ROOT / "calicoctl"), "flows", "cut", "-o", "json"],
            env=host.environ,
            capture_output=True,
            check=True,
            text=True,
        )
        assert done.stderr == ""
        found: list[dict[str, object]] = json.loads(done.stdout)
        return found

    host.put(*profile("A", ANY))
    one, other = host.add_workload("one", "A"), host.add_workload("other", "A")
    assert shown() == []
    with Pair(one, other, "udp", 6, CUT_PORT):
        host.put(*profile("A", NONE))
        await_cuts(host, CUT_PORT)
    before = shown()
    host.kill_agent()
    host.put(*profile("A", ANY))
    with Pair(one, other, "tcp", 4, CUT_PORT):
        host.put(*profile("A", NONE))
        await_cuts(host, CUT_PORT, 2)
    host.stop()
    after = shown()
    assert after[:1] == before
    assert [each["protocol"] for each in after] == ["udp", "tcp"]
    assert [each["endpoint"] for each in after] == ["test/other/other"] * 2
