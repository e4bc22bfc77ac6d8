"""What `explain` and `test` say is what the kernel does: every answer is probed.

Random policies on two hosts; the answers come from the lab's exported
datastore and the packets from its namespaces. Between every two places there
are packets that policy allows, in one policy or another: silence alone proves
nothing.
"""

import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest
from command_lines import run_here
from lab_user import CALICOCTL, LabUser, lab_user

from calico.codec.rules_json import encode_rules
from calico.codec.words import parse_rule
from calico.lab.probe import Outcome, Probe, Verdict, families_of, run_probes
from calico.lab.register import find_lab
from calico.model.names import ProfileId
from calico.model.rule import ProfileRules, Protocol, Rule

pytestmark = pytest.mark.system

N_POLICIES = int(os.environ.get("CALICO_TEST_EXPLAINED_POLICIES", "4"))
PORTS = (80, 81)
WORKLOADS = {"web": "host1", "app": "host1", "db": "host2", "bare": "host2"}
ACTIONS = ("allow", "allow", "deny")
PROFILES = ("P", "Q", "R")
MATCHES = (
    "",
    "tcp",
    "tcp to ports 80",
    "tcp to ports 81:90",
    "udp",
    "udp to ports 80,81",
    "icmp",
    "icmp type 8",
    "icmpv6 type 128",
    "from tag P",
    "from tag Q",
    "to tag R",
    "tcp from tag R to ports 80",
    "from cidr 198.51.100.0/24",
    "from cidr 2001:db8::/32",
    "to cidr 198.51.100.1",
    "to cidr 192.168.0.0/16",
)


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[LabUser]:
    with lab_user(0) as someone:
        monkeypatch.setenv("CALICO_LAB_DIR", someone.environ["CALICO_LAB_DIR"])
        yield someone


def draw_rules(random: Random) -> tuple[Rule, ...]:
    rules = [
        parse_rule(f"{random.choice(ACTIONS)} {random.choice(MATCHES)}".split())
        for _ in range(random.randint(0, 3))
    ]
    return (*rules, parse_rule(["allow"])) if random.random() < 0.5 else tuple(rules)


def put_policy(user: LabUser, random: Random) -> None:
    """Put one random policy into force."""
    scripts: dict[str, list[str]] = {"host1": [], "host2": []}
    for profile in PROFILES:
        rules = ProfileRules(draw_rules(random), draw_rules(random))
        text = json.dumps(encode_rules(rules, ProfileId(profile)))
        update = f"calicoctl profile {profile} rule update"
        scripts["host1"].append(f"echo {shlex.quote(text)} | {update}")
    for name, host in WORKLOADS.items():
        chosen = random.sample(PROFILES, random.randint(1, 2) if name != "bare" else 0)
        scripts[host].append(
            f"calicoctl container /run/netns/{name} profile set {' '.join(chosen)}"
        )
    for host, lines in scripts.items():
        script = "\n".join(["set -e", *lines, "calicoctl wait"])
        user.done("run", f"--host={host}", "--", "sh", "-c", script)


def draw_probes() -> list[Probe]:
    """List the packets between every two places, in both families."""
    places = ("outside", "host1", *WORKLOADS)
    return [
        Probe(source, destination, protocol, port, family)
        for source in places
        for destination in places
        if source != destination
        for protocol in Protocol
        for port in (PORTS if protocol in {Protocol.TCP, Protocol.UDP} else (None,))
        for family in families_of(protocol)
    ]


def word_for(place: str, probe: Probe, addresses: dict[str, list[str]]) -> str:
    """Name an end of a probe as the commands take it."""
    if place != "outside":
        return place
    version = probe.family.value
    return next(e for e in addresses[place] if ip_address(e).version == version)


def explain(probe: Probe, addresses: dict[str, list[str]], backup: Path) -> str:
    """Ask for the verdict of what a probe sends."""
    source, destination = (
        word_for(each, probe, addresses) for each in (probe.source, probe.destination)
    )
    words = ["explain", source, destination, probe.protocol.value]
    words += [] if probe.port is None else [str(probe.port)]
    words += [f"--ipv{probe.family.value}", f"--snapshot={backup}", "-o", "name"]
    outcome = run_here(words, backup.parent)
    assert outcome.err == "", words
    return outcome.out.strip()


def ask_tests(
    outcomes: list[Outcome], addresses: dict[str, list[str]], backup: Path
) -> list[str]:
    """Ask policy tests that expect what probes found, and list what was found."""
    tests = [
        {
            "name": str(number),
            "from": word_for(each.probe.source, each.probe, addresses),
            "to": word_for(each.probe.destination, each.probe, addresses),
            "protocol": each.probe.protocol.value,
            "family": each.probe.family.value,
            "expect": "allow" if each.verdict is Verdict.ALLOWED else "deny",
            **({} if each.probe.port is None else {"port": each.probe.port}),
        }
        for number, each in enumerate(outcomes)
    ]
    file = backup.parent / "tests.json"
    file.write_text(json.dumps({"tests": tests}), "utf-8")
    words = ["test", "-f", str(file), f"--snapshot={backup}", "-o", "json"]
    shown = json.loads(run_here(words, backup.parent).out)
    cases = shown["files"][0]["cases"]
    n_passed = sum(each["outcome"] == "passed" for each in cases)
    assert shown["passed"] == n_passed
    return [each["found"] for each in cases]


def test_answers_are_what_the_kernel_does(
    root: LabUser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("CALICO_TEST_SEED", Random().randrange(2**32)))
    random = Random(seed)
    root.done("up", "--hosts=2")
    for profile in PROFILES:
        root.done("run", "--", CALICOCTL, "profile", "add", profile)
    for name, host in WORKLOADS.items():
        root.done("add", name, f"--host={host}")
    places = json.loads(root.done("list", "-o", "json"))["places"]
    addresses = {each["name"]: each["addresses"] for each in places}
    lab, backup = find_lab(), tmp_path / "backup.json"
    tally: Counter[str] = Counter()
    wrong: list[str] = []
    ever_allowed: set[tuple[str, str]] = set()
    for _ in range(N_POLICIES):
        put_policy(root, random)
        backup.write_text(root.done("run", "--", CALICOCTL, "datastore", "export"))
        outcomes = run_probes(lab, draw_probes())
        asked = ask_tests(outcomes, addresses, backup)
        for outcome, found in zip(outcomes, asked, strict=True):
            said = explain(outcome.probe, addresses, backup)
            tally[said] += 1
            if {said, found} != {outcome.verdict.value}:
                wrong.append(
                    f"{outcome.probe} {outcome.verdict.value} {outcome.detail}:"
                    f" explained as {said}, tested as {found}"
                )
            if outcome.verdict is Verdict.ALLOWED:
                ever_allowed.add((outcome.probe.source, outcome.probe.destination))
    with capsys.disabled():
        sys.stdout.write(f"\nexplained: seed {seed}: {dict(tally)}\n")
    root.done("down")
    assert not wrong, f"seed {seed}:\n" + "\n".join(wrong[:5])
    assert min(tally["allowed"], tally["denied"]) > N_POLICIES * 10
    assert len(ever_allowed) >= 10
