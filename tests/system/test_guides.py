"""The commands of the README, the guides and the help, run as they are written."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_user import CALICOCTL, ROOT, LabUser, lab_user, until

from calico.cli.grammar import Group
from calico.cli.groups import container, node, status, wait

pytestmark = pytest.mark.system

# Directories of the machine are empty ones of the namespace: commands are run
# as written, without settings.
_OWN_MACHINE = (
    "unshare --net --mount --pid --fork --kill-child --mount-proc sh -euc"
    " 'for each in /run /var/lib /var/log; do mount -t tmpfs tmpfs $each; done;"
    ' ip link set lo up; . "$0"\''
)


@pytest.fixture
def root() -> Iterator[LabUser]:
    with lab_user(0) as someone:
        yield someone


def commands(path: str, begin: str = "", end: str = "\0") -> list[str]:
    """List the commands in the fenced blocks of a part of a document."""
    part = (
        (ROOT / path).read_text("utf-8").partition(begin or "\n")[2].partition(end)[0]
    )
    blocks = part.split("```\n")[1::2]
    return [
        line
        for block in blocks
        for line in block.splitlines()
        if line.startswith(("./calicoctl", "ip netns", "echo"))
    ]


def typed_on_hosts(path: str) -> list[tuple[str, str]]:
    """List the commands of a guide with the host that each is typed on.

    The host is in the line before the block, and empty without one.
    """
    typed: list[tuple[str, str]] = []
    host, is_code = "", False
    for line in (ROOT / path).read_text("utf-8").splitlines():
        if line == "```":
            is_code = not is_code
            host = host if is_code else ""
        elif is_code and line.startswith(("./calicoctl", "ip ")):
            typed.append((host, line))
        elif line.startswith("On host"):
            host = line.removeprefix("On ").removesuffix(":")
    return typed


def run_on_own_machine(lines: list[str], directory: Path) -> list[int]:
    """Run commands on a machine without interfaces; return the exit codes."""
    script, codes = directory / "script", directory / "codes"
    text = [f"cd {shlex.quote(str(ROOT))}"]
    text += [f"code=0; {line} || code=$?; echo $code >>{codes}" for line in lines]
    script.write_text("\n".join([*text, "nft list tables >&2", ""]), "utf-8")
    ended = subprocess.run(
        ["sh", "-c", f"{_OWN_MACHINE} {shlex.quote(str(script))}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "inet calico" not in ended.stderr
    return [int(each) for each in codes.read_text("ascii").split()]


def refused(lines: list[str], codes: list[int]) -> list[str]:
    return [line for line, code in zip(lines, codes, strict=True) if code]


def test_lab_by_hand_of_the_readme(root: LabUser) -> None:
    lines = commands("README.md", "### By hand in a lab", "\n### ")
    ends = [root.run("sh", "-c", line) for line in lines]
    codes = [each.returncode for each in ends]
    probe = "./calicoctl lab probe outside web tcp 80"
    assert refused(lines, codes) == [probe]
    said = [end.stdout for line, end in zip(lines, ends, strict=True) if line == probe]
    assert [each.count("denied") for each in said] == [2, 0]
    assert [each.count("allowed") for each in said] == [0, 2]
    assert lines[-1] == "./calicoctl lab down"


def test_single_host_by_hand_of_the_readme(tmp_path: Path) -> None:
    lines = commands("README.md", "### By hand on this host", "\n## ")
    ping = "ip netns exec client ping -c 1 -W 1 192.168.0.1"
    assert lines.count(ping) == 2
    codes = run_on_own_machine(lines, tmp_path)
    assert refused(lines, codes) == [ping]
    assert codes[lines.index(ping)] == 1


def test_guide_to_a_first_policy(root: LabUser) -> None:
    lines = commands("docs/guide/first-policy.md")
    assert lines[:2] == ["./calicoctl lab up", "./calicoctl lab shell"]
    root.done("up")
    typed = lines[2:]
    ends = [root.run(CALICOCTL, "lab", "run", "--", "sh", "-c", each) for each in typed]
    codes = [each.returncode for each in ends]
    assert refused(typed, codes) == [
        "./calicoctl lab probe outside web tcp 80",
        "./calicoctl lab probe web app tcp 7890",
    ]
    said = {line: end.stdout for line, end in zip(typed, ends, strict=True)}
    assert "end of profiles inbound: WEB" in said["./calicoctl drops"]
    assert "end of profiles inbound: APP" in said["./calicoctl drops"]
    of_web = said["./calicoctl drops /run/netns/web"].splitlines()
    assert of_web
    assert all("end of profiles inbound: WEB" in line for line in of_web)
    root.done("down")


def test_guide_to_a_dropped_packet(root: LabUser) -> None:
    lines = commands("docs/guide/find-a-dropped-packet.md")
    assert lines[:2] == ["./calicoctl lab up", "./calicoctl lab shell"]
    assert lines[-1] == "./calicoctl lab down"
    root.done("up")
    typed = lines[2:-1]
    ends = [root.run(CALICOCTL, "lab", "run", "--", "sh", "-c", each) for each in typed]
    explain = "./calicoctl explain web db tcp 5432"
    probe = "./calicoctl lab probe web db tcp 5432"
    assert refused(typed, [each.returncode for each in ends]) == [
        probe,
        f"{explain} --ipv4",
        f"{explain} --ipv4 --prove",
    ]
    said = {line: end.stdout for line, end in zip(typed, ends, strict=True)}
    dropped = said["./calicoctl drops /run/netns/db"].splitlines()
    assert dropped
    assert all("end of profiles inbound: DB" in line for line in dropped)
    explained = said[f"{explain} --ipv4"]
    assert explained.startswith("web → db tcp/5432: denied\n")
    assert "to ports 5432: source is not in tag APP\n" in explained
    proved = said[f"{explain} --ipv4 --prove"].rstrip().splitlines()
    assert proved[-1].strip() == "The kernel and the explainer agree."
    assert said[explain].startswith("web → db tcp/5432: allowed\n")
    assert said[probe].count("allowed") == 2
    counted = said["./calicoctl profile DB rule show --counters"]
    assert "allow tcp from tag WEB to ports 5432" in counted
    root.done("down")


def test_guide_to_a_single_host(tmp_path: Path) -> None:
    lines = commands("docs/guide/single-host.md")
    assert len(lines) > 12
    assert refused(lines, run_on_own_machine(lines, tmp_path)) == []


def test_guide_to_a_cluster(root: LabUser) -> None:
    typed = typed_on_hosts("docs/guide/cluster.md")
    assert {host for host, _ in typed} == {"", "host1", "host2"}
    assert typed[0][1] == "./calicoctl lab up --hosts=2 --etcd"
    said: dict[str, list[str]] = {}
    for host, line in typed:
        on_host = (CALICOCTL, "lab", "run", f"--host={host}", "--") if host else ()
        ended = root.run(*on_host, "sh", "-c", line)
        said.setdefault(line, []).append(ended.stdout)
        is_first_ping = " ping " in line and len(said[line]) == 1
        assert ended.returncode == (1 if is_first_ping else 0), line + ended.stderr
        if line == "./calicoctl status":
            # A reader takes longer to read on than the hosts to meet.
            assert until(lambda: "Established" in _peer_line(root))
    (dropped,) = said["./calicoctl drops /run/netns/web"]
    assert "end of profiles inbound: WEB" in dropped
    (routes,) = said["ip route show proto bird"]
    assert "192.168.1.0/26 via 172.31.0.1" in routes
    assert root.left_behind() == ""


def test_guide_to_an_etcd_with_certificates(tmp_path: Path) -> None:
    page = (ROOT / "docs/guide/etcd.md").read_text("utf-8")
    signing, member, roles, policy, host = page.split("```\n")[1::2]
    reading, _, writing = host.rstrip().rpartition("\n")
    script = f"""set -e
{signing}
{member.strip()} 2>etcd.log & etcd=$!
trap 'kill $etcd; wait $etcd || :' EXIT
tries=0
until etcdctl --endpoints=https://192.0.2.10:2379 --cacert=ca.pem --cert=root.pem \\
    --key=root-key.pem endpoint health 2>/dev/null; do
    tries=$((tries + 1)); [ $tries -lt 300 ]; sleep 0.1
done
{roles}{policy}echo as the host
{reading}
{writing} || echo code $?
"""
    (tmp_path / "script").write_text(
        "ip link set lo up\nip address add 192.0.2.10/32 dev lo\n"
        + script.replace("./calicoctl", str(ROOT / "calicoctl")),
        "utf-8",
    )
    ended = subprocess.run(
        ["unshare", "--net", "sh", "script"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "ETCDCTL_API": "3"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    as_operator, _, as_host = ended.stdout.partition("as the host\n")
    assert "Created profile WEB" in as_operator
    assert "WEB" in as_host
    assert as_host.endswith("code 5\n")
    assert "user host1" in ended.stderr, ended.stderr


def _peer_line(user: LabUser) -> str:
    status = user.done("run", "--host=host2", "--", CALICOCTL, "status")
    return next(line for line in status.splitlines() if " 172.31.0.1 " in line)


_HOST = ("./calicoctl node --ip=10.0.0.5", "./calicoctl profile add WEB")


@pytest.mark.parametrize(
    ("group", "before"),
    [
        (container.GROUP, ("ip netns add web", *_HOST)),
        (node.GROUP, ()),
        (status.GROUP, _HOST),
        (wait.GROUP, _HOST),
    ],
    ids=lambda each: each.name if isinstance(each, Group) else "",
)
def test_examples_of_the_help_work_in_their_order(
    group: Group, before: tuple[str, ...], tmp_path: Path
) -> None:
    typed = [f"./calicoctl {each.command}" for each in group.examples]
    assert typed
    lines = [*before, *typed, "./calicoctl node stop --remove-rules"]
    assert refused(lines, run_on_own_machine(lines, tmp_path)) == []


def test_guide_to_policy_tests(root: LabUser, tmp_path: Path) -> None:
    blocks = (ROOT / "docs/guide/test-a-policy.md").read_text("utf-8").split("```\n")
    there = "/tmp/"  # noqa: S108 -- a reader's; the test has a directory of its own
    up, *typed = (each.replace(there, f"{tmp_path}/") for each in blocks[1::2])
    assert up.splitlines() == ["./calicoctl lab up", "./calicoctl lab shell"]
    root.done("up")
    # A command may have several lines, so each block is a script.
    ends = [
        root.run(CALICOCTL, "lab", "run", "--", "sh", "-ec", each) for each in typed
    ]
    assert [each.returncode for each in ends] == [0, 0, 0, 1, 1]
    assert "5 passed, 0 failed." in ends[0].stdout
    assert "WEB inbound 3  allow from tag WEB" in ends[0].stdout
    assert "WEB inbound 2  deny udp: removed" in ends[1].stdout
    assert "2 passed, 0 failed, 1 not sent." in ends[2].stdout
    assert "4 passed, 1 failed." in ends[3].stdout
    assert "denied by end of profiles inbound: DB" in ends[3].stdout
    root.done("down")


def test_pool_of_an_overlay_of_the_guide(tmp_path: Path) -> None:
    lines = commands("docs/guide/overlay.md", "## Make a pool", "\n## ")
    assert len(lines) == 2
    assert run_on_own_machine(lines, tmp_path) == [0, 0]
