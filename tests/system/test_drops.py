"""Dropped packets as a user sees them: from the kernel to the command."""

import json
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from agent_host import (
    DEADLINE_S,
    PORT,
    Host,
    Workload,
    a_host,
    arrives,
    profile,
    rules,
    setting,
    until,
)
from namespaces import in_new_netns

from calico.codec.keys import READY_KEY
from calico.control.client import NoAgent, ask_counters, ask_drops
from calico.control.drops import Drop
from calico.store.api import Put

pytestmark = pytest.mark.system

CALICOCTL = (sys.executable, "-I", "-c", "from calico.cli.main import run; run()")
ANY = rules(["allow"])
WEB = rules(["allow udp to ports 5000", "deny udp to ports 5001"])


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with a_host(tmp_path / "h1") as made:
        made.start()
        yield made


def calicoctl(host: Host, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*CALICOCTL, *words],
        env=host.environ,
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass
class Follower:
    """`calicoctl drops --follow` running."""

    process: "subprocess.Popen[str]"

    def line(self, word: str) -> str:
        """Wait for a line with a word in it."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + DEADLINE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while selector.select(max(0.0, deadline - time.monotonic())):
                line = self.process.stdout.readline()
                assert line, "it ended"
                if word in line:
                    return line
        raise AssertionError(f"no line with {word}")


@contextmanager
def following(host: Host, *words: str) -> Generator[Follower]:
    process = subprocess.Popen(
        [*CALICOCTL, "drops", "--follow", *words],
        env=host.environ,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    try:
        yield Follower(process)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def send(source: Workload, target: Workload, port: int) -> None:
    with source.space.open_socket(
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ) as sender:
        sender.sendto(b"hello", (str(target.ipv4), port))


def drops(host: Host) -> tuple[Drop, ...]:
    """List the datagrams that were dropped, without what kernels say by themselves."""
    found = ask_drops(host.run_dir, 0, 0.0).drops
    return tuple(each for each in found if each.protocol == socket.IPPROTO_UDP)


def test_dropped_packet_is_shown_with_its_rule_and_its_endpoint(host: Host) -> None:
    host.put(*profile("A", ANY), *profile("WEB", WEB))
    one, web = host.add_workload("one", "A"), host.add_workload("web", "WEB")
    with following(host, "-o", "json") as follower, following(host, "one") as other:
        assert arrives(one, web)
        send(one, web, 5001)
        shown = json.loads(follower.line('"destination_port": 5001'))
        send(web, one, 5002)
        send(one, web, 5002)
        end = json.loads(follower.line('"destination_port": 5002'))
        # Nothing of this was judged at `one`, and nothing that was allowed is
        # shown to anybody.
        host.put(*profile("A", rules([], ["deny udp to ports 5003"])))
        send(one, web, 5003)
        line = other.line("5003")
    assert shown["endpoint"]["endpoint"] == "web"
    assert (shown["profile"], shown["rule"], shown["reason"]) == ("WEB", 2, "rule")
    assert shown["origin"] == "profile WEB inbound rule 2"
    assert shown["direction"] == "inbound"
    assert (shown["peer"], shown["protocol"]) == (str(one.ipv4), "udp")
    assert end["reason"] == "end of profiles"
    assert end["origin"] == "end of profiles inbound: WEB"
    assert re.match(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z outbound one one: udp "
        rf"{one.ipv4}:\d+ > {web.ipv4}:5003: profile A outbound rule 1$",
        line,
    )
    assert PORT not in [each.destination_port for each in drops(host)]


def test_drop_of_a_rule_that_has_just_gone_is_named_all_the_same(host: Host) -> None:
    host.put(*profile("A", ANY), *profile("WEB", WEB))
    one, web = host.add_workload("one", "A"), host.add_workload("web", "WEB")
    send(one, web, 5001)
    until(lambda: len(drops(host)) == 1, "the first drop is heard of")
    # Named from what is known before; then the rule goes with the change.
    send(one, web, 5001)
    until(lambda: _count(host, "profile WEB inbound rule 2") == 2, "it is dropped")
    host.put(*profile("WEB", rules(["allow udp to ports 5000"])))
    until(lambda: len(drops(host)) == 2, "the second drop is heard of")
    assert {each.rule for each in drops(host)} == {"profile WEB inbound rule 2"}


def test_packet_before_policy_is_told_as_not_yet_programmed(tmp_path: Path) -> None:
    with a_host(tmp_path / "h1") as host:
        # Not ready: the agent keeps the guard, and hears its drops.
        host.commit(Put(READY_KEY, b"false"))
        host.launch()
        until(lambda: _answers(host), "the agent answers")
        assert not _has_reason(host, "not yet programmed")
        one = host.connect("one")
        host.space.run("ip", "link", "set", one.interface, "up")
        with one.space.open_socket(
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ) as sender:
            sender.sendto(b"hello", ("192.0.2.1", 9))
        until(lambda: _has_reason(host, "not yet programmed"), "the guard is heard")


def _answers(host: Host) -> bool:
    try:
        return host.status().pid > 0
    except NoAgent:
        return False


def _has_reason(host: Host, reason: str) -> bool:
    return reason in {each.reason for each in drops(host)}


def test_setting_switches_the_log_off_live(host: Host) -> None:
    host.put(*profile("A", ANY), *profile("WEB", WEB))
    one, web = host.add_workload("one", "A"), host.add_workload("web", "WEB")
    send(one, web, 5001)
    until(lambda: len(drops(host)) == 1, "a drop is heard of")
    host.put(setting("DropLog", "false"))
    listing = host.space.run("nft", "list", "table", "inet", "calico")
    assert "log prefix" not in listing
    assert "drop comment" in listing
    shown = calicoctl(host, "drops")
    assert shown.returncode == 0
    assert shown.stdout.count(" udp ") == 1
    assert shown.stderr == "No more drops are logged: the setting DropLog is false.\n"
    send(one, web, 5001)
    host.put(setting("DropLog", "true"))
    assert host.status().n_drifts == 0
    send(one, web, 5001)
    until(lambda: len(drops(host)) == 2, "and only the last one is")
    assert not calicoctl(host, "drops").stderr


def test_counters_of_a_profile_are_those_of_the_kernel(host: Host) -> None:
    host.put(*profile("A", ANY), *profile("WEB", WEB), *profile("IDLE", ANY))
    one, web = host.add_workload("one", "A"), host.add_workload("web", "WEB")
    assert arrives(one, web)
    for port in (5001, 5001, 5002, 5002, 5002):
        send(one, web, port)
    origin = "end of profiles inbound: WEB"
    until(lambda: _count(host, origin) == 3, "the kernel has judged all five")
    words = ("profile", "WEB", "rule", "show", "--counters")
    shown = calicoctl(host, *words, "-o", "json")
    value = json.loads(shown.stdout)
    assert [(each["number"], each["packets"]) for each in value["inbound"]] == [
        (1, 1),
        (2, 2),
    ]
    assert value["inbound"][1]["bytes"] == 2 * (20 + 8 + len("hello"))
    (default,) = (
        each for each in value["default_deny"] if each["direction"] == "inbound"
    )
    assert (default["profiles"], default["packets"]) == (["WEB"], 3)
    text = calicoctl(host, *words).stdout
    assert re.search(
        r"^ +2 +2 packets +66 bytes  deny udp to ports 5001$", text, re.MULTILINE
    )
    assert re.search(
        r"^ +- +3 packets .* end of profiles inbound: WEB: deny$", text, re.MULTILINE
    )
    idle = calicoctl(host, "profile", "IDLE", "rule", "show", "--counters")
    assert re.search(r"^ +1 +- packets +- bytes  allow$", idle.stdout, re.MULTILINE)


def _count(host: Host, origin: str) -> int:
    return sum(n.packets for n in ask_counters(host.run_dir) if n.origin == origin)


def test_endpoint_that_is_mistyped_is_refused_with_the_nearest(host: Host) -> None:
    host.put(*profile("A", ANY))
    host.add_workload("database", "A")
    shown = calicoctl(host, "drops", "databse")
    assert shown.returncode == 1
    assert "h1 has no endpoint or workload databse (did you mean 'database'?)" in (
        shown.stderr
    )
    assert calicoctl(host, "drops", "database").returncode == 0


def test_without_an_agent_it_is_said_how_to_start_one(tmp_path: Path) -> None:
    with a_host(tmp_path / "h1") as host:
        host.commit(*profile("A", ANY))
        for words in (("drops",), ("profile", "A", "rule", "show", "--counters")):
            shown = calicoctl(host, *words)
            assert shown.returncode == 4
            assert "calico-node not running" in shown.stderr
            assert "`calicoctl node`" in shown.stderr


def test_follower_ends_when_the_agent_does(host: Host) -> None:
    with following(host) as follower:
        host.put(*profile("A", ANY))
        one, other = host.add_workload("one", "A"), host.add_workload("other")
        send(one, other, 9)
        follower.line("end of profiles")
        host.stop()
        assert follower.process.wait(DEADLINE_S) == 4


def test_group_that_another_program_listens_to_is_a_limit(tmp_path: Path) -> None:
    with a_host(tmp_path / "h1") as host:
        listen = (
            "from calico.linux.nflog import Nflog; import sys; n = Nflog(51729);"
            " print('listening', flush=True); sys.stdin.read()"
        )
        argv = ["nsenter", f"--net={host.space.path}", sys.executable, "-I", "-c"]
        with subprocess.Popen(
            [*argv, listen], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as listener:
            assert listener.stdout is not None
            assert listener.stdout.readline() == "listening\n"
            host.start()
            assert "another program" in host.status().limits["drop log"]
            host.put(*profile("A", ANY))
            one, other = host.add_workload("one", "A"), host.add_workload("two", "A")
            assert arrives(one, other)
            assert "another program" in calicoctl(host, "drops").stderr


def test_drops_are_told_without_root() -> None:
    def body() -> str:
        # Not below pytest's own directory, which is closed to others.
        with (
            tempfile.TemporaryDirectory(prefix="calico-drops-") as directory,
            a_host(Path(directory) / "h1") as host,
        ):
            host.start()
            host.put(*profile("A", ANY), *profile("WEB", WEB))
            one, web = host.add_workload("one", "A"), host.add_workload("web", "WEB")
            assert arrives(one, web)
            send(one, web, 5001)
            until(lambda: len(drops(host)) == 1, "the drop is heard of")
            return drops(host)[0].rule

    assert in_new_netns(body, rootless=True) == "profile WEB inbound rule 2"
