"""Two hosts whose supervisors run BIRD: routes, faults, names, `status`.

The hosts are namespaces with a wire between them and one datastore, and each
has one workload. Every deny has a flow beside it that passes.
"""

import json
import os
import signal
import subprocess
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import cast

import pytest
from agent_host import Host, Prober, Workload, a_host, namespace, profile, rules, until
from node_user import CALICOCTL, User

from calico.codec.keys import host_status_key, ipam_affinity_key
from calico.linux.bird import BirdFiles
from calico.linux.bird_control import BirdControl
from calico.model.names import HostName
from calico.node.bird import BirdProcess
from calico.node.pidfile import running_pid
from calico.node.state import NodeState, read_state
from calico.store.api import Put

pytestmark = pytest.mark.system

ALLOWED = 5000
DENIED = 5001
BLOCKS = {"h1": "10.65.1.0/26", "h2": "10.65.2.0/26"}


@dataclass
class Node(User):
    """A host of the pair.

    Attributes:
        number: Its own, and that of its addresses.
        workload: What is connected to it.
        path: Where its programs are looked for first.
    """

    host: Host
    number: int
    workload: Workload
    path: Path

    @property
    def address(self) -> str:
        return f"172.31.0.{self.number}"

    def up(self, *words: str) -> str:
        return self.done("node", f"--ip={self.address}", *words)

    def down(self) -> None:
        self.run("node", "stop", "--force")
        bird = BirdProcess(self.host.run_dir)
        bird.end_leftover(signal.SIGKILL)
        assert running_pid(self.host.run_dir) is None

    def state(self) -> NodeState:
        state = read_state(self.host.run_dir)
        assert state is not None
        return state

    def bird_pid(self) -> int:
        pid = self.state().bird_pid
        assert pid is not None
        return pid

    def status(self) -> dict[str, object]:
        return cast("dict[str, object]", json.loads(self.done("status", "-o", "json")))

    def sessions(self, version: int = 4) -> dict[str, tuple[str, str]]:
        """Return type and info of each session, by address."""
        bgp = cast("dict[str, dict[str, object]]", self.status()["bgp"])
        peers = cast("list[dict[str, str]]", bgp[f"ipv{version}"]["peers"])
        return {each["ip"]: (each["type"], each["info"]) for each in peers}

    def is_restarting(self) -> bool:
        """Say whether BIRD holds routes that a peer has not told it again."""
        with BirdControl(BirdFiles(self.host.run_dir).socket) as control:
            lines = control.ask("show protocols all")
        return any("graceful restart active" in line.text for line in lines)

    def has_bird_route(self, block: str) -> bool:
        return block in self.host.space.run("ip", "route", "show", "proto", "bird")


@dataclass
class Pair:
    """Both hosts, each with a route to the other's workload by BGP."""

    h1: Node
    h2: Node

    def settle(self) -> None:
        """Start what is down, and wait until each host knows the other's block."""
        for node in (self.h1, self.h2):
            node.up()
        for node, other in ((self.h1, "h2"), (self.h2, "h1")):
            until(
                partial(node.has_bird_route, BLOCKS[other]),
                f"a route to the block of {other}",
            )

    def await_session(self) -> None:
        until(
            lambda: ("node-to-node mesh", "Established") in self.h1.sessions().values(),
            "the session",
        )
        # Routes that are still held from before would go with a second end.
        until(
            lambda: not any(each.is_restarting() for each in (self.h1, self.h2)),
            "all routes are told anew",
        )

    @contextmanager
    def traffic(self) -> Generator[tuple[Prober, Prober]]:
        """Send what is allowed, and what is denied, from host 1 to host 2."""
        ends = (self.h1.workload, self.h2.workload)
        with (
            Prober(*ends, port=ALLOWED) as allowed,
            Prober(*ends, port=DENIED) as denied,
        ):
            until(lambda: len(allowed.received) > 0, "the first packet")
            yield allowed, denied
            n_before = len(allowed.received)
            until(lambda: len(allowed.received) > n_before, "packets go on")

    @staticmethod
    def verify(allowed: Prober, denied: Prober) -> None:
        """Make sure that nothing was lost, and nothing let through."""
        assert allowed.n_sent > 100
        assert allowed.missing() == set()
        assert denied.n_sent > 100
        assert denied.received == set()


def _connect(host: Host, number: int) -> Workload:
    workload = Workload(
        name=f"w{number}",
        space=host.stack.enter_context(namespace()),
        ipv4=IPv4Address(f"10.65.{number}.1"),
        ipv6=IPv6Address(f"fd80::{number}:1"),
        mac=f"02:00:00:00:00:{number:02x}",
    )
    host.workloads[workload.name] = workload
    host.make_wire(workload)
    return workload


def _wire(first: Host, second: Host) -> None:
    wire = ("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0")
    first.space.run(*wire, "netns", str(second.space.pid))
    for number, host in enumerate((first, second), 1):
        host.space.run("ip", "addr", "add", f"172.31.0.{number}/24", "dev", "eth0")
        host.space.run(
            "ip", "addr", "add", f"fd31::{number}/64", "dev", "eth0", "nodad"
        )
        host.space.run("ip", "link", "set", "eth0", "up")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("pair")
    data = str(directory / "data")
    nodes: list[Node] = []
    with ExitStack() as stack:
        for number in (1, 2):
            path = directory / f"bin{number}"
            path.mkdir()
            (path / "bird").symlink_to("/usr/sbin/bird")
            host = stack.enter_context(
                a_host(
                    directory / f"h{number}",
                    f"h{number}",
                    CALICO_DATA_DIR=data,
                    NO_DEFAULT_POOLS="true",
                    PATH=f"{path}:{os.environ['PATH']}",
                )
            )
            workload = _connect(host, number)
            node = Node(host, number, workload, path)
            stack.callback(node.down)
            nodes.append(node)
        pair = Pair(*nodes)
        _wire(pair.h1.host, pair.h2.host)
        pair.h1.done("pool", "add", "10.65.0.0/16")
        for node in nodes:
            name = HostName(node.host.name)
            node.host.commit(
                Put(ipam_affinity_key(name, ip_network(BLOCKS[name])), b""),
                node.host.endpoint(node.workload, "P"),
            )
        inbound = [f"allow udp to ports {ALLOWED}"]
        pair.h1.host.commit(*profile("P", rules(inbound)))
        pair.settle()
        pair.h1.done("wait")
        for node in nodes:
            node.host.await_carrier(node.workload)
        yield pair


@pytest.fixture
def pair(both: Pair) -> Pair:
    both.settle()
    return both


def test_status_shows_the_sessions_of_both_families(pair: Pair) -> None:
    pair.await_session()
    text = pair.h1.done("status")
    lines = text.splitlines()
    start = lines.index("IPv4 BGP status")
    assert lines[start + 1] == "IP: 172.31.0.1    AS Number: 64511 (inherited)"
    assert lines[start + 3].split("|")[1:4] == [
        " Peer address ",
        " Peer type         ",
        " State ",
    ]
    cells = [each.strip() for each in lines[start + 5].split("|")]
    assert cells[1:4] == ["172.31.0.2", "node-to-node mesh", "up"]
    assert cells[5] == "Established"
    assert text.endswith("IPv6 BGP status\nNo IPv6 address configured.\n\n")
    # With addresses of both families and a number of its own.
    for node in (pair.h1, pair.h2):
        node.up(f"--ip6=fd31::{node.number}", "--as=64600")
    until(
        lambda: ("node-to-node mesh", "Established") in pair.h1.sessions(6).values(),
        "the IPv6 session",
    )
    assert "IP: fd31::1    AS Number: 64600\n" in pair.h1.done("status")


def test_kind_of_a_peer_is_that_of_the_datastore(pair: Pair) -> None:
    pair.await_session()
    code, _, err = pair.h1.run("bgp", "peer", "add", "172.31.0.2", "as", "64511")
    assert (code, "is the address of host h2" in err) == (0, True)
    try:
        until(lambda: pair.h1.sessions()["172.31.0.2"][0] == "global", "it is global")
        pair.h1.done("node", "bgp", "peer", "add", "172.31.0.2", "as", "64511")
        until(
            lambda: pair.h1.sessions()["172.31.0.2"][0] == "node specific",
            "it is of this node",
        )
        code, _, err = pair.h2.run(
            "node", "bgp", "peer", "add", "172.31.0.2", "as", "1"
        )
        assert (code, "cannot be its own peer" in err) == (1, True)
    finally:
        pair.h1.done("bgp", "peer", "remove", "172.31.0.2")
        pair.h1.done("node", "bgp", "peer", "remove", "172.31.0.2")
    assert pair.h1.sessions()["172.31.0.2"][0] == "node-to-node mesh"
    # Without the mesh nobody is left to speak with.
    pair.h1.done("bgp", "node-mesh", "off")
    until(lambda: pair.h1.sessions() == {}, "no session")
    pair.h1.done("bgp", "node-mesh", "on")


@pytest.mark.parametrize("victim", ["agent", "BIRD"])
def test_killed_process_comes_back_and_no_packet_knows(pair: Pair, victim: str) -> None:
    pair.await_session()
    agent, bird, n_ends = (
        pair.h2.status()["pid"],
        pair.h2.bird_pid(),
        pair.h2.state().n_bird_ends,
    )
    with pair.traffic() as (allowed, denied):
        os.kill(cast("int", agent) if victim == "agent" else bird, signal.SIGKILL)
        if victim == "agent":
            until(lambda: pair.h2.run("status")[0] == 0, "an agent")
            assert pair.h2.status()["pid"] != agent
        else:
            until(lambda: pair.h2.state().n_bird_ends > n_ends, "BIRD has ended")
            until(lambda: pair.h2.state().bird_pid is not None, "BIRD")
        pair.await_session()
    pair.verify(allowed, denied)
    if victim == "agent":
        # Neither ends with the other, nor is BIRD told anything twice.
        assert (pair.h2.bird_pid(), pair.h2.state().n_bird_ends) == (bird, n_ends)
    else:
        assert pair.h2.status()["pid"] == agent
        assert pair.h2.bird_pid() != bird


def test_killed_supervisor_leaves_bird_to_the_next_one(pair: Pair) -> None:
    pair.await_session()
    bird, supervisor = pair.h2.bird_pid(), running_pid(pair.h2.host.run_dir)
    assert supervisor is not None
    with pair.traffic() as (allowed, denied):
        os.kill(supervisor, signal.SIGKILL)
        until(lambda: running_pid(pair.h2.host.run_dir) is None, "it has ended")
        assert BirdProcess(pair.h2.host.run_dir).running_pid() == bird
        pair.h2.up()
        assert pair.h2.bird_pid() == bird
        pair.await_session()
        # The one it has adopted is started again like one of its own.
        os.kill(bird, signal.SIGKILL)
        until(lambda: pair.h2.state().bird_pid not in {None, bird}, "another BIRD")
    pair.verify(allowed, denied)


def test_bird_left_by_a_killed_supervisor_ends_with_the_node(pair: Pair) -> None:
    bird, supervisor = pair.h2.bird_pid(), running_pid(pair.h2.host.run_dir)
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: running_pid(pair.h2.host.run_dir) is None, "it has ended")
    assert BirdProcess(pair.h2.host.run_dir).running_pid() == bird
    pair.h2.done("node", "stop", "--force")
    assert BirdProcess(pair.h2.host.run_dir).running_pid() is None
    left = {each.name for each in pair.h2.host.run_dir.glob("*")}
    assert not left & {"bird.ctl", "bird.pid", "node.pid", "node.state", "agent.sock"}


def test_bird_that_cannot_start_is_named_and_disturbs_nobody(pair: Pair) -> None:
    pair.await_session()
    agent, binary = pair.h2.status()["pid"], pair.h2.path / "bird"
    with pair.traffic() as (allowed, denied):
        binary.unlink()
        binary.write_bytes(b"\x7fELF broken")
        binary.chmod(0o755)
        try:
            os.kill(pair.h2.bird_pid(), signal.SIGKILL)
            until(
                lambda: "cannot be started" in pair.h2.state().bird_problem,
                "it says so",
            )
            text = pair.h2.done("status")
            assert "Couldn't connect to bird." in text
            assert "cannot be started" in text
            assert str(binary) in text
            assert pair.h2.status()["pid"] == agent
        finally:
            binary.unlink()
            binary.symlink_to("/usr/sbin/bird")
        until(lambda: pair.h2.state().bird_pid is not None, "BIRD")
        pair.await_session()
    pair.verify(allowed, denied)
    log = (pair.h2.host.directory / "log" / "node.log").read_text()
    assert "BIRD ended with" in log
    assert "BIRD cannot be started" in log


def test_stopped_node_keeps_its_routes_and_its_peers_do(pair: Pair) -> None:
    pair.await_session()
    with pair.traffic() as (allowed, denied):
        pair.h2.done("node", "stop", "--force")
        assert pair.h2.has_bird_route(BLOCKS["h1"])
        until(
            lambda: pair.h1.sessions()["172.31.0.2"][1] != "Established",
            "the session has ended",
        )
        assert pair.h1.has_bird_route(BLOCKS["h2"])
        pair.h2.up()
        pair.await_session()
    pair.verify(allowed, denied)


def test_node_without_rules_takes_its_routes_back(pair: Pair) -> None:
    pair.await_session()
    assert (pair.h2.host.run_dir / "bird.conf").exists()
    # The workload's interface goes with the rules, and is made again below.
    pair.h2.done("node", "stop", "--force", "--remove-rules")
    assert pair.h2.host.space.run("ip", "route", "show", "proto", "bird") == ""
    assert not (pair.h2.host.run_dir / "bird.conf").exists()
    until(lambda: not pair.h1.has_bird_route(BLOCKS["h2"]), "the peer has heard")
    pair.h2.host.make_wire(pair.h2.workload)
    pair.settle()
    pair.h2.host.await_carrier(pair.h2.workload)


def test_without_a_backend_there_is_no_bird(pair: Pair) -> None:
    code, _, err = pair.h2.run("node", "--ip=172.31.0.2", "--backend=none")
    assert (code, "running with --backend=bird" in err) == (1, True)
    pair.h2.done("node", "stop", "--force")
    try:
        pair.h2.up("--backend=none")
        assert pair.h2.state().bird_pid is None
        assert not (pair.h2.host.run_dir / "bird.conf").exists()
        assert pair.h2.host.space.run("ip", "route", "show", "proto", "bird") == ""
        text = pair.h2.done("status")
        assert "Routes: none of ours (--backend=none)" in text
        assert "BIRD:" not in text
        assert pair.h2.status()["bgp"] == {
            "backend": "none",
            "problem": "",
            "ipv4": None,
            "ipv6": None,
        }
    finally:
        pair.h2.done("node", "stop", "--force")


def test_log_level_reaches_bird(pair: Pair) -> None:
    config = pair.h1.host.run_dir / "bird.conf"
    assert "debug protocols { states };" in config.read_text()
    pair.h1.done("config", "node", "bgp", "loglevel", "debug")
    until(lambda: "debug protocols all;" in config.read_text(), "it is written")
    assert (
        "debug protocols all;" not in (pair.h2.host.run_dir / "bird.conf").read_text()
    )
    assert pair.h1.done("config", "node", "bgp", "loglevel", "--remove") == (
        "Value removed\n"
    )
    until(lambda: "debug protocols all;" not in config.read_text(), "it is taken back")


@pytest.fixture
def twin(pair: Pair, tmp_path: Path) -> Iterator[User]:
    """Another machine that has the name of host 1, and its datastore."""
    data = pair.h1.host.environ["CALICO_DATA_DIR"]
    with a_host(tmp_path / "twin", "h1", CALICO_DATA_DIR=data) as host:
        wire = ("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
        host.space.run(*wire)
        host.space.run("ip", "addr", "add", "172.31.0.3/24", "dev", "up0")
        someone = User(host)
        yield someone
        someone.run("node", "stop", "--force")
        BirdProcess(host.run_dir).end_leftover(signal.SIGKILL)


def test_name_of_a_live_host_is_refused(pair: Pair, twin: User) -> None:
    before = twin.host.store.last_change(("/calico/v1/", "/calico/bgp/"))
    code, out, err = twin.run("node", "--ip=172.31.0.3")
    assert (code, out) == (1, "")
    said = " ".join(err.split())
    assert "Host 'h1' is running already, with IP address 172.31.0.1" in said
    assert "`HOSTNAME=NAME calicoctl node`" in said
    assert twin.host.store.last_change(("/calico/v1/", "/calico/bgp/")) == before
    assert running_pid(twin.host.run_dir) is None
    # This machine itself is let in again, also right after a crash.
    supervisor = running_pid(pair.h1.host.run_dir)
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: running_pid(pair.h1.host.run_dir) is None, "it has ended")
    assert twin.host.store.get(host_status_key(HostName("h1"))) is not None
    pair.h1.up()


def test_two_agents_of_one_name_are_noticed_by_both(pair: Pair, twin: User) -> None:
    twin.host.launch()

    def alarms() -> list[str]:
        agents = (pair.h1.host, twin.host)
        return [each.status().problems.get("host name", "") for each in agents]

    # A status is written when policy changes.
    until(lambda: twin.run("status")[0] == 0, "the second agent")
    for number in range(6):
        pair.h1.done("profile", "add", f"NEWS{number}")
        pair.h1.done("wait")
    until(lambda: all(alarms()), "the alarm of both")
    for said in alarms():
        assert said.startswith("another agent runs as host h1, too; 172.31.0.1")
    log = (pair.h1.host.directory / "log" / "agent.log").read_text()
    assert "another agent runs as host h1" in log
    twin.host.stop()


@pytest.mark.parametrize("fault", ["missing", "too old", "says nothing"])
def test_bird_that_cannot_be_used_is_refused_before_anything(
    tmp_path: Path, fault: str
) -> None:
    with a_host(tmp_path / "h3", "h3") as host:
        before = host.store.list_prefix("").revision
        words = [str(CALICOCTL), "node", "--ip=172.31.0.9"]
        if fault == "missing":
            empty = tmp_path / "empty"
            empty.mkdir()
            hide = f"mount --bind {empty} /usr/sbin && exec {' '.join(words)}"
            words = ["unshare", "--mount", "sh", "-c", hide]
        else:
            fake = tmp_path / "bin" / "bird"
            fake.parent.mkdir()
            said = "BIRD version 1.6.8" if fault == "too old" else "hello"
            fake.write_text(f"#!/bin/sh\necho {said}\n")
            fake.chmod(0o755)
            host.environ["PATH"] = f"{fake.parent}:{host.environ['PATH']}"
        ended = subprocess.run(
            ["nsenter", f"--net={host.space.path}", *words],
            env=host.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (1, "")
        said = {
            "missing": "BIRD: is not installed",
            "too old": "BIRD: is version 1.6.8",
            "says nothing": "BIRD: says 'hello' instead of its version",
        }[fault]
        assert said in ended.stderr
        assert "package bird2" in ended.stderr
        assert "--backend=none" in ended.stderr
        assert host.store.list_prefix("").revision == before
        assert running_pid(host.run_dir) is None
