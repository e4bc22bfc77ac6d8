"""`explain --prove` in a lab: real packets, the kernel's path, nothing left."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest
from lab_user import CALICOCTL, NOBODY, PYTHON, LabUser, lab_user

pytestmark = pytest.mark.system

# What is there but for the sessions of BIRD, whose timers run.
LEFT = (
    "ss -Htuan | grep -v ':179\\b';"
    " conntrack -L 2>/dev/null | grep -v 'dport=179 '; true"
)


@contextmanager
def a_lab(uid: int) -> Generator[LabUser]:
    """Have a lab of two hosts, where WEB may reach DB's port 5432."""
    with lab_user(uid) as someone:
        someone.done("up", "--hosts=2")
        for profile in ("WEB", "DB"):
            someone.done("run", "--", CALICOCTL, "profile", "add", profile)
        rule = "profile DB rule add inbound allow tcp from tag WEB to ports 5432"
        someone.done("run", "--", CALICOCTL, *rule.split())
        someone.done("add", "web", "--profile=WEB")
        someone.done("add", "db", "--profile=DB")
        someone.done("add", "far", "--host=host2", "--profile=DB")
        yield someone
        someone.done("down")


@pytest.fixture(scope="module", params=["root", "nobody"])
def user(request: pytest.FixtureRequest) -> Iterator[LabUser]:
    with a_lab(0 if request.param == "root" else NOBODY) as someone:
        yield someone


def explain(user: LabUser, words: str) -> tuple[int, str, str]:
    ended = user.lab("run", "--", CALICOCTL, "explain", *words.split())
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("words", "code", "places"),
    [
        (
            "web db tcp 5432",
            0,
            ["profile WEB outbound rule 1", "profile DB inbound rule 2"],
        ),
        (
            "web db tcp 5433",
            1,
            ["profile WEB outbound rule 1", "end of profiles inbound: DB"],
        ),
        (
            "web db udp 53 --sport=4000",
            1,
            ["profile WEB outbound rule 1", "end of profiles inbound: DB"],
        ),
        (
            "web db icmp",
            1,
            ["profile WEB outbound rule 1", "end of profiles inbound: DB"],
        ),
        ("web far tcp 80", 0, ["profile WEB outbound rule 1"]),
        ("web host1 udp 53", 0, ["workload DNS to the host"]),
        ("host1 db tcp 80", 0, []),
        ("db db tcp 80", 0, []),
    ],
)
def test_kernel_takes_the_way_that_is_explained(
    words: str, code: int, places: list[str], user: LabUser
) -> None:
    if "far" in words:
        # What host2 says cannot be proved on host1.
        code = 1
    found, out, err = explain(user, f"{words} --prove -o json")
    assert (found, err) == (code, ""), out
    shown = json.loads(out)
    assert len(shown["proofs"]) == len(shown["journeys"]) >= 1
    for proof in shown["proofs"]:
        assert proof["agrees"] is True, proof
        assert proof["found"] == proof["explained"] == places
    text = explain(user, f"{words} --prove")[1]
    assert text.count("The kernel and the explainer agree.") == len(shown["proofs"])


def test_disagreement_has_its_own_exit_code_and_a_bundle(user: LabUser) -> None:
    bundle = user.directory / "labs" / "bundle.json"
    script = (
        "set -e; nft add table ip other;"
        "nft 'add chain ip other c { type nat hook prerouting priority -100; }';"
        "nft add rule ip other c tcp dport 5432 dnat to :5433;"
        f"calicoctl explain web db tcp 5432 --ipv4 --prove --bundle={bundle} ||"
        " echo code $?; nft delete table ip other; cat " + str(bundle)
    )
    ended = user.lab("run", "--", "sh", "-c", script)
    out, _, written = ended.stdout.partition("code 3\n")
    assert written, ended.stdout + ended.stderr
    assert "The kernel and the explainer DISAGREE: the kernel denied" in out
    assert str(bundle) in ended.stderr
    found = json.loads(written)
    assert found["explanation"]["proofs"][0]["agrees"] is False
    assert "chain profile-in4-DB" in found["table"]
    assert "profile/DB/rules" in found["datastore"]
    bundle.unlink(missing_ok=True)


def test_drop_of_another_program_is_told_and_is_no_disagreement(user: LabUser) -> None:
    script = (
        "set -e; nft add table inet other;"
        "nft 'add chain inet other c { type filter hook forward priority 10; }';"
        "nft add rule inet other c tcp dport 5432 drop;"
        "calicoctl explain web db tcp 5432 --ipv4 --prove;"
        "nft delete table inet other"
    )
    ended = user.lab("run", "--", "sh", "-c", script)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "dropped by another program's chain, inet other c" in ended.stdout
    assert "The kernel and the explainer agree." in ended.stdout


def test_nothing_of_a_probe_stays_behind(user: LabUser) -> None:
    look = ("run", "--", "sh", "-c", f"nft list tables; {LEFT}")
    before = user.done(*look)
    for words in ("web db tcp 5432", "web db udp 9", "web host1 tcp 80", "web db icmp"):
        explain(user, f"{words} --prove")
    assert user.done(*look) == before


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT"])
def test_nothing_stays_behind_when_it_is_ended(name: str, user: LabUser) -> None:
    # Nobody answers there, so it waits for some seconds.
    explain_it = "calicoctl explain web far tcp 5433 --ipv4 --prove"
    script = (
        f"{PYTHON} -c 'import signal, os, sys; signal.signal(signal.SIGINT,"
        " signal.default_int_handler); os.execvp(sys.argv[1], sys.argv[1:])'"
        f" {explain_it} & pid=$!;"
        " until nft list tables | grep -q calico-trace; do :; done;"
        " until conntrack -L 2>/dev/null | grep -q dport=5433; do :; done;"
        f" kill -{name} $pid; wait $pid; echo code $?;"
        " conntrack -L 2>/dev/null | grep dport=5433; nft list tables"
    )
    ended = user.lab("run", "--", "sh", "-c", script)
    assert ended.stdout == "code 130\ntable inet calico\n", ended.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("far web tcp 80 --prove", 1, "Run this command on host2."),
        ("198.51.100.1 web tcp 80 --prove", 1, "198.51.100.1 is outside"),
        ("web db tcp 80 --ipv4 --prove --source=10.0.0.1", 2, "not with --source"),
        ("web db tcp 80 --prove --snapshot=x", 2, "--snapshot excludes --prove"),
    ],
)
def test_what_cannot_be_proved_is_refused(
    words: str, code: int, says: str, user: LabUser
) -> None:
    found, out, err = explain(user, words)
    assert (found, out) == (code, "")
    assert says in err


def test_translation_and_addresses_of_the_host_are_no_disagreement() -> None:
    script = (
        "set -e; calicoctl pool add 192.168.0.0/16 --nat-outgoing; calicoctl wait;"
        "calicoctl explain web 198.51.100.1 tcp 86 --ipv4 --prove;"
        "ip address add 10.99.0.1/32 dev lo;"
        "calicoctl config felix DefaultEndpointToHostAction DROP --host=host1;"
        "calicoctl wait; calicoctl explain web 10.99.0.1 tcp 80 --prove || echo code $?"
    )
    with a_lab(0) as user:
        ended = user.lab("run", "--", "sh", "-c", script)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("The kernel and the explainer agree.") == 2
    assert "denied by DefaultEndpointToHostAction is DROP" in ended.stdout
    assert ended.stdout.endswith("code 1\n")


def test_packet_that_routing_takes_elsewhere_is_not_proved() -> None:
    script = (
        "to=$(ip -4 route | grep cali | grep -v default | head -1 | cut -d' ' -f1);"
        " ip route del $to; ip route add $to via 172.31.0.254;"
        " ip -4 route show; calicoctl explain web db tcp 5432 --ipv4"
        " --prove; echo code $?; calicoctl explain db web tcp 80 --ipv4 --prove;"
        " echo code $?"
    )
    with a_lab(0) as user:
        ended = user.lab("run", "--", "sh", "-c", script)
    assert "Not proved: routing takes the packet to " in ended.stdout, ended.stdout
    assert "disagree" not in ended.stderr
    assert "code 3" not in ended.stdout


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "224.0.0.1", "255.255.255.255", "fe80::1", "::"],
)
def test_address_of_no_machine_is_refused(address: str, user: LabUser) -> None:
    found, out, err = explain(user, f"web {address} tcp 80")
    assert (found, out) == (1, "")
    assert "is not the address of one machine" in err


def test_proofs_at_once_take_ports_of_their_own(user: LabUser) -> None:
    one = "calicoctl explain web db tcp 5432 --ipv4 --prove"
    script = f"{one} & {one} & {one} & wait"
    ended = user.lab("run", "--", "sh", "-c", script)
    assert ended.stdout.count("The kernel and the explainer agree.") == 3, ended.stderr


def test_disagreement_is_told_although_the_bundle_cannot_be_written() -> None:
    script = (
        "set -e; nft add table ip other;"
        "nft 'add chain ip other c { type nat hook prerouting priority -100; }';"
        "nft add rule ip other c tcp dport 5432 dnat to :5433;"
        "calicoctl explain web db tcp 5432 --ipv4 --prove -o name"
        " --bundle=/nonexistent/x || echo code $?"
    )
    with a_lab(0) as user:
        ended = user.lab("run", "--", "sh", "-c", script)
    assert ended.stdout == "allowed\ncode 3\n"
    assert "disagree" in ended.stderr
    assert "/nonexistent/x: " in ended.stderr


def test_host_that_does_not_enforce_is_not_proved() -> None:
    script = "calicoctl node stop --force; calicoctl explain web db tcp 80 --prove"
    with a_lab(0) as user:
        ended = user.lab("run", "--", "sh", "-c", script)
    assert ended.returncode == 4
    assert "Nothing is proved: " in ended.stderr


def test_user_without_the_right_to_send_is_told_so() -> None:
    give = "chmod -R a+rwX $CALICO_DATA_DIR; chmod a+rx $CALICO_RUN_DIR"
    become = "setpriv --reuid=1234 --regid=0 --clear-groups"
    script = f"{give}; {become} calicoctl explain web db tcp 80 --prove"
    with a_lab(0) as user:
        ended = user.lab("run", "--", "sh", "-c", script)
    assert ended.returncode in {1, 4}
    assert "internal error" not in ended.stderr
    assert "neither root nor in the group calico" in ended.stderr
