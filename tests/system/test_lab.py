"""Labs as a user has them: started, used and ended by calicoctl."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from lab_user import (
    CALICOCTL,
    DEADLINE_S,
    NOBODY,
    ROOT,
    LabUser,
    cmdline,
    lab_user,
    processes,
    until,
)

from calico.cli.grammar import Example
from calico.cli.groups.lab import GROUP

pytestmark = pytest.mark.system


@pytest.fixture(params=["root", "nobody"])
def user(request: pytest.FixtureRequest) -> Iterator[LabUser]:
    with lab_user(0 if request.param == "root" else NOBODY) as someone:
        yield someone


@pytest.fixture
def root() -> Iterator[LabUser]:
    with lab_user(0) as someone:
        yield someone


def calicoctl(user: LabUser, *words: str) -> str:
    return user.done("run", "--", CALICOCTL, *words)


def pids_inside(holder: int) -> set[int]:
    """List the processes whose PID namespace is the holder's."""
    space = Path(f"/proc/{holder}/ns/pid").stat().st_ino
    found: set[int] = set()
    for pid in processes():
        try:
            if Path(f"/proc/{pid}/ns/pid").stat().st_ino == space:
                found.add(pid)
        except OSError:
            continue
    return found


def test_lab_from_up_to_down(user: LabUser) -> None:
    assert "host1, host2" in user.done("up", "--hosts=2")
    calicoctl(user, "profile", "add", "WEB")
    calicoctl(user, "profile", "add", "DB")
    rule = ("profile", "DB", "rule", "add", "inbound", "allow")
    calicoctl(user, *rule, "tcp", "from", "tag", "WEB", "to", "ports", "5432")
    calicoctl(user, *rule, "udp", "from", "tag", "WEB", "to", "ports", "53")

    added = user.done("add", "web", "--profile=WEB")
    assert added.startswith("web on host1: 192.168.")
    assert ", fd80:24e2:f998:72d6:" in added
    user.done("add", "db", "--host=host2", "--profile=DB", "192.168.9.9")
    user.done("add", "lone", "--host=host2")

    assert user.lab("probe", "web", "db", "tcp", "5432").returncode == 0
    assert user.lab("probe", "web", "db", "udp", "53").returncode == 0
    assert user.lab("probe", "host2", "lone", "icmp").returncode == 0
    denied = user.lab("probe", "outside", "db", "tcp", "5432")
    assert (denied.returncode, denied.stderr) == (1, "")
    ipv4, ipv6 = denied.stdout.splitlines()
    assert ipv4 == "outside to db (192.168.9.9) tcp/5432: denied"
    assert ipv6.endswith(") tcp/5432: denied")
    assert user.lab("probe", "web", "db", "tcp", "5433").returncode == 1
    assert user.lab("probe", "web", "lone", "icmpv6").returncode == 1

    assert "192.168.9.9/32" in user.done("exec", "db", "--", "ip", "address")
    assert user.lab("exec", "db", "--", "sh", "-c", "exit 7").returncode == 7
    assert user.lab("exec", "db", "--", "no-such-program").returncode == 127

    listed = json.loads(user.done("list", "-o", "json"))
    assert listed["name"] == "lab"
    assert [(each["name"], each["host"]) for each in listed["places"]] == [
        ("outside", ""),
        ("host1", ""),
        ("host2", ""),
        ("db", "host2"),
        ("lone", "host2"),
        ("web", "host1"),
    ]
    assert calicoctl(user, "lab", "list", "-o", "name").split() == [
        each["name"] for each in listed["places"]
    ]

    (holder,) = user.holders()
    inside = pids_inside(holder)
    assert len(inside) > 2
    assert user.done("down") == "Lab lab is down\n"
    assert user.left_behind() == ""
    # The holder itself is for the machine's init to reap.
    assert until(lambda: not inside & set(processes()))


def up_without(user: LabUser, program: str, *words: str) -> CompletedProcess[str]:
    """Start a lab on a machine where a program is not installed."""
    hide = f'mount --bind /dev/null "$(command -v {program})" && exec "$0" "$@"'
    return user.run(
        *("unshare", "--mount", "sh", "-c", hide, CALICOCTL, "lab", "up"), *words
    )


def test_without_bird_the_lab_leads_packets(root: LabUser) -> None:
    started = up_without(root, "bird", "--hosts=2")
    assert started.returncode == 0, started.stderr
    assert "BIRD 2 is not installed" in started.stderr
    root.done("add", "web", "--host=host2", "192.168.3.3")
    assert "192.168.3.3 via" in root.done("exec", "outside", "--", "ip", "route")
    root.done("run", "--host=host2", "--", CALICOCTL, "profile", "add", "WEB")
    path = "/run/netns/web"
    attach = ("container", path, "profile", "append", "WEB")
    root.done("run", "--host=host2", "--", CALICOCTL, *attach)
    root.done("add", "friend", "--profile=WEB")
    root.done("probe", "friend", "web", "tcp", "80")
    root.done("run", "--host=host2", "--", CALICOCTL, "container", "remove", path)
    assert "192.168.3.3" not in root.done("exec", "outside", "--", "ip", "route")
    root.done("down")


def test_without_etcd_a_lab_with_etcd_is_refused(root: LabUser) -> None:
    refused = up_without(root, "etcd", "--etcd")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "etcd: not installed" in refused.stderr
    assert "etcd-server" in refused.stderr
    assert root.left_behind() == ""


def test_lab_with_etcd_from_up_to_down(user: LabUser) -> None:
    assert user.done("up", "--hosts=2", "--etcd").endswith("host1, host2, etcd\n")
    calicoctl(user, "profile", "add", "WEB")
    user.done("add", "a", "--host=host1", "--profile=WEB")
    user.done("add", "b", "--host=host2", "--profile=WEB")
    user.done("add", "lone", "--host=host2")
    user.done("probe", "a", "b", "tcp", "80")
    assert user.lab("probe", "a", "lone", "tcp", "80").returncode == 1
    # The datastore is the etcd, and the routes are BIRD's.
    keys = ("etcdctl", "get", "--prefix", "--keys-only", "/calico/v1/policy/profile/")
    assert "/profile/WEB/" in user.done("exec", "etcd", "--", *keys)
    assert user.lab("run", "--", "test", "-e", "/run/lab/data/calico.db").returncode
    routes = user.done("exec", "host1", "--", "ip", "route", "show", "proto", "bird")
    assert "via 172.31.0.2 dev eth0" in routes
    places = json.loads(user.done("list", "-o", "json"))["places"]
    assert ("etcd", "etcd") in [(each["name"], each["kind"]) for each in places]

    # The lab needs no datastore to say what its packets do without it.
    user.done("exec", "outside", "--", "ip", "link", "set", "etcd", "down")
    assert user.lab("run", "--", "sh", "-c", "exit 3").returncode == 3
    user.done("probe", "a", "b", "tcp", "80", "--ipv4")
    denied = user.lab("probe", "a", "lone", "tcp", "80", "--ipv4")
    assert (denied.returncode, denied.stderr) == (1, "")
    user.done("exec", "outside", "--", "ip", "link", "set", "etcd", "up")

    (holder,) = user.holders()
    inside = pids_inside(holder)
    for program in ("etcd", "bird"):
        assert any(f"/{program} " in cmdline(pid) for pid in inside)
    # What was killed keeps nobody from ending the rest.
    for pid in inside:
        if "--data-dir=" in cmdline(pid):
            os.kill(pid, signal.SIGKILL)
    assert user.done("down") == "Lab lab is down\n"
    assert user.left_behind() == ""
    assert until(lambda: not inside & set(processes()))


def test_lab_whose_network_carries_no_addresses_of_workloads(root: LabUser) -> None:
    root.done("up", "--hosts=2", "--vxlan")
    assert calicoctl(root, "pool", "show").count("vxlan") == 2
    calicoctl(root, "profile", "add", "WEB")
    root.done("add", "a", "--host=host1", "--profile=WEB")
    root.done("add", "b", "--host=host2", "--profile=WEB", "192.168.9.9")
    root.done("add", "lone", "--host=host2")
    root.done("probe", "a", "b", "tcp", "80")
    assert root.lab("probe", "a", "lone", "tcp", "80").returncode == 1
    # Without the tunnel nothing passes between the hosts.
    plain = ("192.168.9.9/32", "via", "172.31.0.2")
    ask = ("probe", "a", "b", "tcp", "80", "--ipv4")
    root.done("exec", "host1", "--", "ip", "route", "add", *plain)
    assert root.lab(*ask).stdout.endswith("tcp/80: denied\n")
    root.done("exec", "host1", "--", "ip", "route", "delete", *plain)
    root.done(*ask)
    root.done("down")


def test_two_labs_do_not_disturb_each_other(user: LabUser) -> None:
    user.done("up")
    user.done("up", "--name=second")
    for name in ("lab", "second"):
        user.done("add", "web", f"--name={name}", "192.168.1.1")
    assert "Other labs: second" in user.lab("list").stderr
    user.done("down")
    assert user.lab("probe", "host1", "web", "icmp").returncode == 1
    assert user.lab("probe", "host1", "web", "icmp", "--name=second").returncode == 0
    missing = user.lab("list")
    assert missing.returncode == 1
    assert "`calicoctl lab up`" in missing.stderr
    assert "`--name=second`" in missing.stderr
    user.done("down", "--name=second")


def lab_mounts(process: int | str) -> set[str]:
    """List the file systems of labs that a process sees, by device number."""
    lines = Path(f"/proc/{process}/mountinfo").read_text("utf-8").splitlines()
    # The source comes second after the dash (proc_pid_mountinfo(5)).
    return {line.split()[2] for line in lines if " - tmpfs lab " in line}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_holder_takes_everything_along(
    user: LabUser, number: signal.Signals
) -> None:
    user.done("up")
    user.done("add", "web")
    (holder,) = user.holders()
    inside = pids_inside(holder)
    assert any("agent" in cmdline(pid) or "node" in cmdline(pid) for pid in inside)
    # What the lab has mounted is nowhere but with its processes, and so goes
    # with them; whatever else this machine mounts meanwhile is not looked at.
    assert lab_mounts(holder) - lab_mounts("self")
    os.kill(holder, number)
    assert until(lambda: not inside & set(processes()))

    gone = user.lab("probe", "outside", "web", "icmp")
    assert gone.returncode == 1
    assert "lab `lab`: is not running; start it with `calicoctl lab up`" in gone.stderr
    assert user.left_behind() == ""
    user.done("up")
    user.done("down")


def test_killed_up_leaves_nothing(root: LabUser) -> None:
    starting = root.start(CALICOCTL, "lab", "up")
    assert until(lambda: len(root.holders()) == 1 or starting.poll() is not None)
    assert starting.poll() is None
    starting.kill()
    starting.communicate()
    assert until(lambda: not root.running())
    assert "is not running" in root.lab("list").stderr
    root.done("up")
    root.done("down")


@pytest.mark.parametrize("words", [(), ("--hosts=2", "--etcd")], ids=len)
def test_interrupted_up_leaves_nothing(root: LabUser, words: tuple[str, ...]) -> None:
    starting = root.start(CALICOCTL, "lab", "up", *words)
    assert until(lambda: len(root.holders()) == 1 or starting.poll() is not None)
    starting.send_signal(signal.SIGINT)
    starting.communicate()
    assert starting.returncode == 130
    assert root.left_behind() == ""


def test_lab_without_user_namespaces_says_which_switch(root: LabUser) -> None:
    ended = root.run(
        *("unshare", "--user", "--map-root-user", "sh", "-c"),
        "echo 0 > /proc/sys/user/max_user_namespaces &&"
        ' exec setpriv --bounding-set=-all --inh-caps=-all "$0" lab up',
        CALICOCTL,
    )
    assert ended.returncode == 1
    assert "sysctl -w user.max_user_namespaces=" in ended.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("up",), "`lab`: is running already"),
        (("up", "--hosts=0", "--name=x"), "a lab has 1 to 64"),
        (("up", "--hosts=two", "--name=x"), "expected a number"),
        (("up", "--name=a/b"), "lab name `a/b`"),
        (("add", "etcd"), "the lab's own names"),
        (("add", "web"), "`web`: this name is taken"),
        (("add", "host1"), "the lab's own names"),
        (("add", "a/b"), "workload name `a/b`"),
        (("add", "x", "--host=host9"), "has host1"),
        (("add", "x", "--profile=NONE"), "profile `NONE`: does not exist"),
        (("add", "x", "192.168.1.1"), "already assigned"),
        (("add", "x", "10.0.0.1"), "not in any configured pools"),
        (("add", "x", "nonsense"), "Invalid IP address"),
        (("exec", "x", "--", "true"), "`x`: lab `lab` has no host and no workload"),
        (("run", "--host=web", "--", "true"), "host `web`: lab `lab` has host1"),
        (("probe", "x", "web", "icmp"), "`x`: lab `lab` has no host"),
        (("probe", "web", "x", "icmp"), "`x`: lab `lab` has no host"),
        (("probe", "web", "web", "icmp"), "never leaves"),
        (("probe", "web", "host1", "tcp", "0"), "port 0"),
        (("probe", "web", "host1", "tcp", "65536"), "port 65536"),
        (("down", "--name=x"), "`calicoctl lab up --name=x`"),
        (("run", "--", CALICOCTL, "lab", "down"), "this is inside it"),
        (("run", "--", CALICOCTL, "lab", "up", "--name=x"), "inside lab `lab`"),
    ],
)
def test_refusal_says_why_and_changes_nothing(
    busy: LabUser, words: tuple[str, ...], text: str
) -> None:
    before = busy.done("list")
    ended = busy.lab(*words)
    assert ended.returncode == 1
    assert text in ended.stderr
    assert "Traceback" not in ended.stderr
    assert busy.done("list") == before


@pytest.fixture(scope="module")
def busy() -> Iterator[LabUser]:
    """A user with a running lab that refusals leave as it is."""
    with lab_user(0) as someone:
        someone.done("up")
        someone.done("add", "web", "192.168.1.1")
        yield someone
        someone.done("down")


def test_workload_that_is_not_enforced_is_not_added(root: LabUser) -> None:
    root.done("up")
    calicoctl(root, "node", "stop")
    ended = root.lab("add", "web")
    assert ended.returncode == 4
    assert "no agent" in ended.stderr or "not running" in ended.stderr
    assert "web" not in root.done("list", "-o", "name").split()
    assert "namespace" not in calicoctl(root, "endpoint", "show", "--detailed")
    root.done("down")


def test_commands_of_the_guide_do_what_it_says(root: LabUser) -> None:
    guide = (ROOT / "docs" / "guide" / "lab.md").read_text("utf-8")
    lines = [line for line in guide.splitlines() if line.startswith("./calicoctl")]
    assert len(lines) > 10
    denied = "./calicoctl lab probe outside web tcp 80"
    outputs: list[str] = []
    for line in lines:
        if line == "./calicoctl lab shell":
            continue
        ended = root.run("sh", "-c", line)
        is_first_probe = line == denied and not outputs
        assert ended.returncode == (1 if is_first_probe else 0), line + ended.stderr
        if line == denied:
            outputs.append(ended.stdout)
    assert [each.count("denied") for each in outputs] == [2, 0]
    assert [each.count("allowed") for each in outputs] == [0, 2]


def test_probe_asks_in_the_families_that_both_places_have(root: LabUser) -> None:
    root.done("up")
    calicoctl(root, "profile", "add", "WEB")
    root.done("run", "--", "ip", "netns", "add", "a")
    calicoctl(root, "container", "add", "/run/netns/a", "ipv4")
    calicoctl(root, "container", "/run/netns/a", "profile", "append", "WEB")
    asked = root.lab("probe", "outside", "a", "tcp", "80")
    assert (asked.returncode, asked.stderr) == (1, "")
    assert asked.stdout.count("denied") == 1
    refused = root.lab("probe", "outside", "a", "tcp", "80", "--ipv6")
    assert "`a`: has no IPv6 address; " in refused.stderr
    assert "container /run/netns/a ip add ipv6` in the lab" in refused.stderr
    root.done("down")


def test_shell_is_a_host_with_the_labs_datastore(root: LabUser) -> None:
    root.done("up")
    typed = "hostname; ./calicoctl profile add WEB; ./calicoctl lab list -o name; exit"
    shell, terminal = os.openpty()
    with os.fdopen(shell, "rb", buffering=0), os.fdopen(terminal, "rb") as end:
        os.write(shell, f"{typed}\n".encode())
        process = root.start(CALICOCTL, "lab", "shell", stdin=end.fileno())
        stdout, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert stdout.split() == ["host1", "Created", "profile", "WEB", "outside", "host1"]
    assert calicoctl(root, "profile", "show", "-o", "name") == "WEB\n"
    root.done("down")


@pytest.mark.parametrize("example", GROUP.examples, ids=lambda each: each.command)
def test_example_of_the_help_works(root: LabUser, example: Example) -> None:
    for command in (*example.before, example.command):
        # As for a user who has installed it: `calicoctl` is on the PATH.
        path = f'PATH="{ROOT / ".venv" / "bin"}:$PATH"'
        ended = root.run("sh", "-c", f"{path} calicoctl {command}")
        assert ended.returncode == 0, ended.stderr
    root.lab("down")
