"""`test --live` in a lab: policy tests as real packets, and what is not sent."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from lab_user import CALICOCTL, PYTHON, LabUser, lab_user

pytestmark = pytest.mark.system

# What is there but for the sessions of BIRD, whose timers run.
LEFT = (
    "ss -Htuan | grep -v ':179\\b';"
    " conntrack -L 2>/dev/null | grep -v 'dport=179 '; true"
)

Test = dict[str, Any]

ALLOWED = [
    ("web db tcp 5432", "allow"),
    ("web db udp 53", "allow"),
    ("web db icmp", "allow"),
    ("web db icmpv6", "allow"),
    ("host1 db tcp 80", "allow"),
    ("web host1 udp 53", "allow"),
    ("web 198.51.100.1 tcp 80", "allow"),
    ("web far tcp 80", "allow"),
    ("db db tcp 80", "allow"),
]
DENIED = [
    ("db web tcp 5432", "deny"),
    ("db web udp 53", "deny"),
    ("db web icmp", "deny"),
    ("db web icmpv6", "deny"),
    ("web db tcp 5433", "deny"),
]


@pytest.fixture(scope="module")
def user() -> Iterator[LabUser]:
    """Have a lab of two hosts, where WEB may reach DB, and nobody WEB."""
    with lab_user(0) as someone:
        someone.done("up", "--hosts=2")
        lines = (
            "profile add WEB",
            "profile add DB",
            "profile WEB rule remove inbound --at=1",
            "profile DB rule add inbound allow tcp from tag WEB to ports 80,5432",
            "profile DB rule add inbound allow udp from tag WEB",
            "profile DB rule add inbound allow icmp from tag WEB",
            "profile DB rule add inbound allow icmpv6 from tag WEB",
        )
        for each in lines:
            someone.done("run", "--", CALICOCTL, *each.split())
        someone.done("add", "web", "--profile=WEB")
        someone.done("add", "db", "--profile=DB")
        someone.done("add", "far", "--host=host2", "--profile=DB")
        yield someone
        someone.done("down")


@pytest.fixture
def file(user: LabUser) -> Iterator[Path]:
    path = user.directory / "tests.json"
    yield path
    for each in (path, path.with_suffix(".xml"), path.with_suffix(".bundle")):
        each.unlink(missing_ok=True)


def write(file: Path, asked: list[tuple[str, str]], **more: object) -> None:
    """Write a document: `FROM TO PROTOCOL [PORT [FAMILY]]` and what is expected."""
    tests: list[Test] = []
    for words, expect in asked:
        source, destination, protocol, *numbers = words.split()
        test: Test = {"name": words, "from": source, "to": destination}
        test |= {"protocol": protocol, "expect": expect}
        named = zip(("port", "family"), map(int, numbers), strict=False)
        tests.append(test | dict(named))
    file.write_text(json.dumps({**more, "tests": tests}), "utf-8")


def send(user: LabUser, file: Path, *words: str) -> tuple[int, str, str]:
    """Run `test --live` on host1."""
    ended = user.lab("run", "--", CALICOCTL, "test", "-f", str(file), "--live", *words)
    return ended.returncode, ended.stdout, ended.stderr


def cases_of(out: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in json.loads(out)["files"][0]["cases"]}


def test_expectations_that_are_right_pass_in_the_kernel(
    user: LabUser, file: Path
) -> None:
    write(file, [*ALLOWED, *DENIED])
    code, out, err = send(user, file, "-o", "json")
    cases = cases_of(out)
    whys = [(name, each["live"]["why"]) for name, each in cases.items()]
    assert (code, err) == (0, ""), whys
    assert json.loads(out)["passed"] == len(cases) == len(ALLOWED) + len(DENIED)
    for name, case in cases.items():
        live = case["live"]
        assert (live["outcome"], live["why"]) == ("passed", "")
        n_families = 1 if "icmp" in name or "198." in name else 2
        assert len(live["proofs"]) == n_families, name
        for proof in live["proofs"]:
            assert proof["agrees"] is True, proof
            is_denied = case["expect"] == "deny"
            assert (proof["allowed"] is False) is is_denied
            assert proof["arrival"] != ("arrived" if is_denied else "did not arrive")


def test_expectations_that_are_wrong_fail_with_the_kernels_path(
    user: LabUser, file: Path
) -> None:
    here = [each for each in ALLOWED if "198." not in each[0]]
    swapped = [(words, "deny") for words, _ in here]
    swapped += [(words, "allow") for words, _ in DENIED]
    write(file, swapped)
    code, out, err = send(user, file, "-o", "json")
    assert (code, err) == (1, "")
    whys = {name: each["live"]["why"] for name, each in cases_of(out).items()}
    assert whys == {
        **{words: "the packet arrived" for words, _ in here},
        **{words: "the kernel denied it" for words, _ in DENIED},
    }
    write(file, [("db web tcp 5432", "allow")])
    report = file.with_suffix(".xml")
    code, out, err = send(user, file, f"--junit={report}")
    assert (code, err) == (1, "")
    assert "sent: the kernel denied it" in out
    assert "drop: end of profiles inbound: WEB" in out
    assert out.count("The kernel and the explainer agree.") == 2
    failure = ET.fromstring(report.read_bytes()).find(".//failure")  # noqa: S314
    assert failure is not None
    assert str(failure.get("message")).endswith("; sent: the kernel denied it")
    assert "drop: end of profiles inbound: WEB" in str(failure.text)


def test_what_cannot_be_sent_from_here_has_not_passed(
    user: LabUser, file: Path
) -> None:
    asked = [
        ("new db tcp 5432", "allow"),
        ("web new tcp 80", "deny"),
        ("web other tcp 80", "allow"),
        ("far db tcp 1", "allow"),
        ("198.51.100.7 web tcp 80", "deny"),
        ("web gone tcp 80", "deny"),
        ("web db tcp 5432", "allow"),
    ]
    ends = {
        "endpoints": [{"name": "new", "profiles": ["WEB"]}],
        "hosts": [{"name": "other", "addresses": ["203.0.113.1"]}],
    }
    write(file, asked[:5] + asked[6:], **ends)
    report = file.with_suffix(".xml")
    code, out, err = send(user, file, f"--junit={report}")
    assert (code, err) == (0, ""), out
    assert "1 passed, 0 failed, 5 not sent." in out
    for name, why in (
        ("new db tcp 5432", "new is hypothetical"),
        ("web new tcp 80", "new is hypothetical"),
        ("web other tcp 80", "other is hypothetical"),
        ("far db tcp 1", "far is on host2"),
        ("198.51.100.7 web tcp 80", "198.51.100.7 is outside"),
    ):
        assert f"not sent: {file}: {name}: {why}" in out
    root = ET.fromstring(report.read_bytes())  # noqa: S314 -- our own
    assert (root.get("skipped"), root.get("failures")) == ("5", "0")
    write(file, asked[5:])
    code, out, _ = send(user, file, "-o", "json")
    shown = json.loads(out)
    assert (code, shown["errors"], shown["passed"]) == (1, 1, 1)
    assert cases_of(out)["web gone tcp 80"]["live"] is None


def test_packet_that_cannot_be_made_is_not_sent(user: LabUser, file: Path) -> None:
    write(file, [("host1 db tcp 80", "allow"), ("web db tcp 80", "allow")])
    document = json.loads(file.read_text("utf-8"))
    for each in document["tests"]:
        each["sport"] = 4000
    file.write_text(json.dumps(document), "utf-8")
    program = (
        "import socket, subprocess, sys; s = socket.socket(); s.bind(('', 4000));"
        "s.listen(); sys.exit(subprocess.call(sys.argv[1:]))"
    )
    command = (CALICOCTL, "test", "-f", str(file), "--live")
    ended = user.lab("run", "--", PYTHON, "-c", program, *command)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    assert "1 passed, 0 failed, 1 not sent." in ended.stdout
    why = "this host: tcp source port 4000 is in use"
    assert f"not sent: {file}: host1 db tcp 80: {why}" in ended.stdout


def test_tags_of_hypothetical_endpoints_are_not_held_against_the_kernel(
    user: LabUser, file: Path
) -> None:
    """Policy with them allows what the kernel, without them, rightly denies."""
    places = json.loads(user.done("list", "-o", "json"))["places"]
    (web,) = (each for each in places if each["name"] == "web")
    new = {"name": "new", "profiles": ["DB"], "addresses": web["addresses"]}
    write(file, [("web db tcp 9", "allow")], endpoints=[new])
    code, out, err = send(user, file, "-o", "json")
    assert (code, err) == (1, "")
    case = cases_of(out)["web db tcp 9"]
    assert (case["found"], case["outcome"]) == ("allowed", "failed")
    assert case["live"]["why"] == "the kernel denied it"
    assert [each["agrees"] for each in case["live"]["proofs"]] == [True, True]


def test_word_of_another_host_that_nobody_heard_is_not_decided(
    user: LabUser, file: Path
) -> None:
    write(file, [("web far tcp 9 4", "deny"), ("web db tcp 9 4", "deny")])
    code, out, err = send(user, file)
    assert (code, err) == (0, ""), out
    assert "1 passed, 0 failed, 1 sent and not decided." in out
    assert (
        f"undecided: {file}: web far tcp 9 4: nothing came back, and what host2" in out
    )


def test_drop_of_another_program_fails_what_should_arrive(
    user: LabUser, file: Path
) -> None:
    write(file, [("web db tcp 5432", "allow"), ("web db udp 53", "allow")])
    script = (
        "set -e; nft add table inet other;"
        "nft 'add chain inet other c { type filter hook forward priority 10; }';"
        "nft add rule inet other c tcp dport 5432 drop;"
        f"calicoctl test -f {file} --live || echo code $?; nft delete table inet other"
    )
    ended = user.lab("run", "--", "sh", "-c", script)
    assert ended.stdout.endswith("code 1\n"), ended.stdout + ended.stderr
    assert "1 passed, 1 failed." in ended.stdout
    assert "sent: the packet did not arrive" in ended.stdout
    assert "dropped by another program's chain, inet other c" in ended.stdout


def test_disagreement_has_its_own_exit_code_and_a_bundle(
    user: LabUser, file: Path
) -> None:
    write(file, [("db web udp 9", "allow"), ("web db tcp 5432", "allow")])
    bundle = file.with_suffix(".bundle")
    script = (
        "set -e; nft add table ip other;"
        "nft 'add chain ip other c { type nat hook prerouting priority -100; }';"
        "nft add rule ip other c tcp dport 5432 dnat to :5433;"
        f"calicoctl test -f {file} --live --bundle={bundle} || echo code $?;"
        "nft delete table ip other"
    )
    ended = user.lab("run", "--", "sh", "-c", script)
    out = ended.stdout
    assert out.endswith("code 3\n"), out + ended.stderr
    assert f"DISAGREES {file}: web db tcp 5432" in out
    assert "The kernel and the explainer DISAGREE: the kernel denied" in out
    assert "1 failed, 1 on which the kernel and the explainer disagree." in out
    assert str(bundle) in ended.stderr
    explained = json.loads(bundle.read_text("utf-8"))["explanation"]
    assert explained["case"] == "web db tcp 5432"
    assert [each["agrees"] for each in explained["proofs"]] == [False, True]


def test_nothing_stays_behind(user: LabUser, file: Path) -> None:
    look = ("run", "--", "sh", "-c", f"nft list tables; {LEFT}")
    before = user.done(*look)
    write(file, [("web db tcp 5432", "allow"), ("db web icmp", "deny")])
    assert send(user, file)[0] == 0
    assert user.done(*look) == before


def test_policy_that_changes_meanwhile_proves_nothing(
    user: LabUser, file: Path
) -> None:
    # Nobody answers, so there is time to change it.
    write(file, [("web far tcp 9 4", "deny")])
    script = (
        f"calicoctl test -f {file} --live & "
        "timeout 30 sh -c 'until nft list tables | grep -q calico-trace; do :; done';"
        "calicoctl profile add NEW >/dev/null;"
        "wait $!; echo code $?; calicoctl profile remove NEW >/dev/null"
    )
    ended = user.lab("run", "--", "sh", "-c", script)
    assert ended.stdout == "code 1\n", ended.stderr
    assert "policy changed while packets were under way" in ended.stderr


def test_changes_of_rules_are_not_sent(user: LabUser, file: Path) -> None:
    write(file, [("web db tcp 5432", "allow")])
    for option, says in (
        ("--mutate", "--live excludes --mutate"),
        ("--snapshot=x", "--snapshot excludes --live"),
    ):
        code, out, err = send(user, file, option)
        assert (code, out) == (2, "")
        assert says in err


def test_progress_is_shown_on_a_terminal_only(user: LabUser, file: Path) -> None:
    write(file, [("web db tcp 5432", "allow"), ("db web icmp", "deny")])
    command = f"calicoctl test -f {file} --live"
    # script(1) runs a command on a terminal of its own.
    ended = user.lab("run", "--", "script", "-qec", command, "/dev/null")
    assert ended.returncode == 0, ended.stdout
    assert "\x1b[K1 of 2 cases" in ended.stdout
    assert "\x1b[K2 passed, 0 failed." in ended.stdout


def test_host_that_does_not_enforce_sends_nothing(user: LabUser, file: Path) -> None:
    write(file, [("web db tcp 5432", "allow")])
    # The directory of an agent that does not run.
    script = f"CALICO_RUN_DIR={file.parent}/none calicoctl test -f {file} --live"
    ended = user.lab("run", "--", "sh", "-c", script)
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "Nothing is proved: " in ended.stderr
