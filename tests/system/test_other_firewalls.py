"""Another program's forward chain that drops by default, as Docker makes it.

What it drops is dropped, and that harms nothing of ours; `status` names it, and
what `status` says to type lets through what policy allows and no more.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from agent_host import Host, Workload, a_host, arrives, namespace, profile, rules, until
from lab_user import CALICOCTL

pytestmark = pytest.mark.system

# What dockerd writes into the table of either family, as far as it matters.
_DOCKER = """
add table {family} filter
add chain {family} filter DOCKER
add chain {family} filter DOCKER-USER
add chain {family} filter FORWARD {{ {hook} policy drop; }}
add rule {family} filter DOCKER-USER counter return
add rule {family} filter FORWARD counter jump DOCKER-USER
add rule {family} filter FORWARD oifname "docker0" ct state related,established accept
add rule {family} filter FORWARD oifname "docker0" counter jump DOCKER
add rule {family} filter FORWARD iifname "docker0" oifname != "docker0" accept
"""
_FORWARD = "type filter hook forward priority 0;"
_DOCKERS_NAMES = ("ip filter FORWARD", "ip6 filter FORWARD")
_OTHERS = """
add table inet theirs
add chain inet theirs passing { type filter hook forward priority 10; policy drop; }
add rule inet theirs passing iifname "their0" accept
"""
_UPLINK = (
    ("addr", "add", "172.31.0.1/24", "dev", "up0"),
    ("addr", "add", "fd31::1/64", "dev", "up0", "nodad"),
    ("link", "set", "up0", "up"),
)
_OUTSIDE = (
    ("addr", "add", "172.31.0.9/24", "dev", "eth0"),
    ("addr", "add", "fd31::9/64", "dev", "eth0", "nodad"),
    ("link", "set", "eth0", "up"),
    ("route", "add", "default", "via", "172.31.0.1"),
    ("-6", "route", "add", "default", "via", "fd31::1"),
)


@dataclass
class Site:
    """A host with workloads, and somebody outside who knows the way."""

    host: Host
    one: Workload
    other: Workload
    shut: Workload
    outside: Workload

    def load(self, ruleset: str) -> None:
        """Be the other program."""
        self.host.space.run("nft", "-f", "-", text=ruleset)

    def load_docker(self) -> None:
        """Be Docker."""
        for family in ("ip", "ip6"):
            self.load(_DOCKER.format(family=family, hook=_FORWARD))

    def status(self) -> str:
        return self.type(f"{CALICOCTL} status")

    def type(self, command: str) -> str:
        """Run what a user types at the host."""
        done = subprocess.run(
            ["nsenter", f"--net={self.host.space.path}", "sh", "-c", command],
            env=self.host.environ,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def allowed(self, family: int) -> dict[str, bool]:
        """Say which of what policy allows arrives."""
        return {
            "between workloads": arrives(self.one, self.other, family),
            "to the outside": arrives(self.one, self.outside, family),
            "from the outside": arrives(self.outside, self.other, family),
        }

    def denied(self, family: int) -> dict[str, bool]:
        """Say which of what policy denies arrives."""
        return {
            "between workloads": arrives(self.one, self.shut, family),
            "from the outside": arrives(self.outside, self.shut, family),
        }

    def assert_policy_decides(self, family: int) -> None:
        """Wait until all arrives that policy allows; the rest may not."""
        # Neighbours of the uplink may have to be found first.
        until(lambda: all(self.allowed(family).values()), "what is allowed arrives")
        assert not any(self.denied(family).values())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with a_host(tmp_path / "h1") as host:
        host.start()
        space = host.stack.enter_context(namespace())
        inside = ("peer", "name", "eth0", "netns", str(space.pid))
        host.space.run("ip", "link", "add", "up0", "type", "veth", *inside)
        for line in _UPLINK:
            host.space.run("ip", *line)
        for line in _OUTSIDE:
            space.run("ip", *line)
        host.put(*profile("A", rules(["allow"])), *profile("SHUT", rules([])))
        made = Site(
            host,
            host.add_workload("one", "A"),
            host.add_workload("other", "A"),
            host.add_workload("shut", "SHUT"),
            Workload(
                "outside", space, IPv4Address("172.31.0.9"), IPv6Address("fd31::9"), ""
            ),
        )
        for family in (4, 6):
            made.assert_policy_decides(family)
        yield made


def _remedies(status: str, chain: str) -> list[str]:
    """Return what the status says to type about one chain."""
    block = re.search(rf"^  {chain} \(.*\n((?:    .*\n)*)", status, re.MULTILINE)
    assert block is not None, status
    return re.findall(r"let ours pass: (.*)", block[1])


def test_docker_beside_us_is_named_and_disturbs_nothing_of_ours(site: Site) -> None:
    site.load_docker()
    for family in (4, 6):
        assert not any(site.allowed(family).values())
        assert not any(site.denied(family).values())
    status = site.status()
    for chain in _DOCKERS_NAMES:
        assert f"  {chain} (forward): policy drop" in status
        assert len(_remedies(status, chain)) == 2
    assert site.host.status().n_drifts == 0
    site.host.put(*profile("B", rules([])))
    site.type("nft delete table ip filter && nft delete table ip6 filter")
    assert "FORWARD" not in site.status()
    for family in (4, 6):
        site.assert_policy_decides(family)


def test_remedy_for_docker_lets_pass_what_policy_allows_and_no_more(
    site: Site,
) -> None:
    if not shutil.which("iptables") or not shutil.which("ip6tables"):
        pytest.skip("iptables is not installed, so nobody can type its commands")
    site.load_docker()
    status = site.status()
    for chain, family in zip(_DOCKERS_NAMES, (4, 6), strict=True):
        assert not any(site.allowed(family).values())
        for command in _remedies(status, chain):
            site.type(command)
        site.assert_policy_decides(family)


def test_remedy_for_a_chain_of_nft_lets_pass_what_policy_allows_and_no_more(
    site: Site,
) -> None:
    site.load(_OTHERS)
    for family in (4, 6):
        assert not any(site.allowed(family).values())
    remedies = _remedies(site.status(), "inet theirs passing")
    assert len(remedies) == 2
    for command in remedies:
        site.type(command)
    for family in (4, 6):
        site.assert_policy_decides(family)
    assert site.host.status().n_drifts == 0
