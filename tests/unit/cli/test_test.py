"""What `calicoctl test` does beside judging; its words are in the transcripts."""

import json
import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from command_lines import environment, run_here

from calico.cli.cluster import Cluster
from calico.cli.grammar import Example
from calico.cli.groups.test import GROUP
from calico.cli.junit import encode_junit
from calico.cli.policy_cases import Outcome, Suite, is_named, run_suite
from calico.cli.policy_file import PolicyFile, read_policy_files
from calico.cli.policy_rules import Mutation, list_rules, try_mutations
from calico.cli.refusal import Refused
from calico.codec.policy_test import MAX_TEST_BYTES
from calico.ir.origin import EndOfProfiles, Fixed, FixedOrigin, Origin, RuleOrigin
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    ProfileId,
    Revision,
    TagName,
    WorkloadId,
)
from calico.model.rule import (
    Action,
    Cidr,
    Direction,
    Peer,
    PortRange,
    ProfileRules,
    Protocol,
    Rule,
)
from calico.model.snapshot import Snapshot
from calico.netset import Address

HERE, THERE = HostName("here"), HostName("there")
WEB, DB = ProfileId("WEB"), ProfileId("DB")
PORT_80 = Peer((PortRange(80, 80),))
ROOM = ip_network("198.18.0.0/15")
OUTSIDE = "203.0.113.7"


def workload(
    name: str, number: int, *profiles: ProfileId, host: HostName = HERE
) -> WorkloadEndpoint:
    key = EndpointKey(
        host, OrchestratorId("namespace"), WorkloadId(name), EndpointId(f"e{number}")
    )
    return WorkloadEndpoint(
        key,
        EndpointState.ACTIVE,
        InterfaceName(f"cali{number}"),
        None,
        profiles,
        (ip_address(f"10.0.0.{number}"), ip_address(f"fd00::{number}")),
    )


WORKLOADS = (
    workload("web", 0, WEB),
    workload("db", 1, DB),
    workload("far", 2, DB, host=THERE),
)
SNAPSHOT = Snapshot(
    Revision(7),
    tags={WEB: (TagName("WEB"),), DB: ()},
    rules={
        WEB: ProfileRules(
            (Rule(Action.ALLOW, Protocol.TCP, destination=PORT_80),),
            (Rule(Action.ALLOW),),
        ),
        DB: ProfileRules(
            (
                Rule(Action.ALLOW, source=Peer(tag=TagName("WEB"))),
                Rule(Action.ALLOW, source=Peer(cidr=Cidr(ROOM, str(ROOM)))),
            ),
            (Rule(Action.ALLOW),),
        ),
    },
    endpoints={each.key: each for each in WORKLOADS},
)
CLUSTER = Cluster(SNAPSHOT, Revision(7), {}, None)


def read(tmp_path: Path, text: str) -> PolicyFile:
    path = tmp_path / "tests.yaml"
    path.write_text(text, "utf-8")
    (file,) = read_policy_files(str(path))
    return file


def run(tmp_path: Path, text: str, cluster: Cluster = CLUSTER) -> Suite:
    return run_suite(cluster, read(tmp_path, text), HERE)


def addresses_of(suite: Suite, name: str) -> tuple[Address, ...]:
    (found,) = (
        each
        for key, each in suite.cluster.snapshot.endpoints.items()
        if key.orchestrator == "hypothetical" and key.endpoint == name
    )
    assert isinstance(found, WorkloadEndpoint)
    return found.addresses


def ask(to: str, source: str = OUTSIDE, *more: str, expect: str = "allow") -> str:
    fields = [f"from: {source}", f"to: {to}", "protocol: tcp", f"expect: {expect}"]
    return "{" + ", ".join([f"name: {source} {to}", *fields, *more]) + "}"


def document(*each: str, endpoints: str = "") -> str:
    return "\n".join([endpoints, "tests:", *(f"  - {one}" for one in each), ""])


def outcomes(suite: Suite) -> list[Outcome]:
    return [case.outcome for case in suite.cases]


def test_hypothetical_endpoints_collide_with_nothing(tmp_path: Path) -> None:
    taken = replace(WORKLOADS[0], addresses=(ip_address("198.18.0.1"),))
    network = ip_network("198.18.0.2/31")
    rules = ProfileRules((Rule(Action.DENY, source=Peer(cidr=Cidr(network, ""))),))
    snapshot = replace(
        SNAPSHOT,
        endpoints={**SNAPSHOT.endpoints, taken.key: taken},
        rules={**SNAPSHOT.rules, ProfileId("X"): rules},
    )
    suite = run(
        tmp_path,
        document(
            ask("a", "198.18.0.0", "port: 80"),
            ask("b", "a", "port: 80", expect="deny"),
            endpoints="endpoints: [{name: a, profiles: [WEB]}, {name: b, like: db}]",
        ),
        replace(CLUSTER, snapshot=snapshot),
    )
    assert addresses_of(suite, "a") == (
        ip_address("198.18.0.4"),
        ip_address("2001:2::"),
    )
    assert addresses_of(suite, "b") == (
        ip_address("198.18.0.5"),
        ip_address("2001:2::1"),
    )
    made = suite.cluster.snapshot.endpoints.values()
    interfaces = [e.interface for e in made if isinstance(e, WorkloadEndpoint)]
    assert len(set(interfaces)) == len(interfaces)


def test_hypothetical_endpoint_is_like_another_one(tmp_path: Path) -> None:
    suite = run(
        tmp_path,
        document(
            ask("copy", "web", "port: 9"),
            ask("own", "web", "port: 80"),
            endpoints=(
                "endpoints: [{name: copy, like: far},"
                " {name: own, like: far, profiles: [WEB], host: here}]"
            ),
        ),
    )
    assert outcomes(suite) == [Outcome.PASSED, Outcome.PASSED]
    keys = {key.endpoint: key.host for key in suite.cluster.snapshot.endpoints}
    assert (keys[EndpointId("copy")], keys[EndpointId("own")]) == (THERE, HERE)


def test_hypothetical_endpoint_hides_an_existing_one(tmp_path: Path) -> None:
    denied = ask("web", OUTSIDE, "port: 80", expect="deny")
    assert outcomes(run(tmp_path, document(denied))) == [Outcome.FAILED]
    hidden = document(denied, endpoints="endpoints: [{name: web, profiles: []}]")
    assert outcomes(run(tmp_path, hidden)) == [Outcome.PASSED]


def test_hypothetical_endpoint_has_the_tags_of_its_profiles(tmp_path: Path) -> None:
    other = "endpoints: [{name: new, profiles: [%s], addresses: [10.9.9.9]}]"
    asked = ask("db", "new", "port: 9")
    suite = run(tmp_path, document(asked, endpoints=other % "WEB"))
    assert outcomes(suite) == [Outcome.PASSED]
    suite = run(tmp_path, document(asked, endpoints=other % "DB"))
    assert outcomes(suite) == [Outcome.FAILED]


def test_room_for_addresses_that_is_full_is_said(tmp_path: Path) -> None:
    halves = (ip_network("198.18.0.0/16"), ip_network("198.19.0.0/16"))
    rules = tuple(Rule(Action.ALLOW, source=Peer(cidr=Cidr(h, ""))) for h in halves)
    snapshot = replace(SNAPSHOT, rules={**SNAPSHOT.rules, WEB: ProfileRules(rules)})
    text = document(ask("a"), endpoints="endpoints: [{name: a, profiles: [WEB]}]")
    text = text.replace("expect", "port: 80, expect")
    with pytest.raises(Refused, match=r"line 1: .*no free address in 198\.18\.0\.0/15"):
        run(tmp_path, text, replace(CLUSTER, snapshot=snapshot))


def test_end_that_is_not_there_is_an_error_of_its_tests_alone(tmp_path: Path) -> None:
    suite = run(
        tmp_path,
        document(ask("gone", OUTSIDE, "ports: [1, 2]"), ask("web", "db", "port: 80")),
    )
    assert outcomes(suite) == [Outcome.ERROR, Outcome.ERROR, Outcome.PASSED]
    assert suite.explain(suite.cases[0]) is None
    assert "gone is no workload" in suite.cases[0].refusal[0]


def test_deny_must_hold_in_every_family(tmp_path: Path) -> None:
    cidr = Cidr(ip_network("10.0.0.0/8"), "10.0.0.0/8")
    rules = ProfileRules(
        (Rule(Action.DENY, source=Peer(cidr=cidr)), Rule(Action.ALLOW))
    )
    snapshot = replace(SNAPSHOT, rules={**SNAPSHOT.rules, DB: rules})
    asked = [
        ask("db", "web", "port: 9", expect="deny"),
        ask("db", "10.0.0.0", "port: 9", "family: 4", expect="deny"),
    ]
    suite = run(tmp_path, document(*asked), replace(CLUSTER, snapshot=snapshot))
    assert outcomes(suite) == [Outcome.FAILED, Outcome.PASSED]


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("WEB inbound 1", RuleOrigin(WEB, Direction.INBOUND, 1)),
        ("  WEB  inbound   1 ", RuleOrigin(WEB, Direction.INBOUND, 1)),
        ("profile WEB inbound rule 1", RuleOrigin(WEB, Direction.INBOUND, 1)),
        ("end of profiles", EndOfProfiles((WEB,), Direction.INBOUND)),
        ("end of profiles inbound: WEB", EndOfProfiles((WEB,), Direction.INBOUND)),
        ("workload DNS to the host", FixedOrigin(Fixed.HOST_DNS)),
    ],
)
def test_rule_is_named_as_people_name_it(text: str, origin: Origin) -> None:
    assert is_named(text, origin)
    assert not is_named(f"{text} 1", origin)
    assert not is_named("WEB outbound 1", origin)


def test_removed_rule_is_noticed_by_the_test_that_names_it(tmp_path: Path) -> None:
    """The verdict stays: the next rule allows the same."""
    twice = (Rule(Action.ALLOW), Rule(Action.ALLOW))
    snapshot = replace(SNAPSHOT, rules={**SNAPSHOT.rules, WEB: ProfileRules(twice)})
    cluster = replace(CLUSTER, snapshot=snapshot)
    first = RuleOrigin(WEB, Direction.INBOUND, 1)

    def unnoticed(*more: str) -> tuple[Mutation, ...]:
        asked = document(ask("web", OUTSIDE, "port: 9", *more))
        suite = run(tmp_path, asked, cluster)
        found = try_mutations([suite], list_rules([suite]))
        return next(
            (e.mutations for e in found.unnoticed if e.rule.origin == first), ()
        )

    assert unnoticed() == (Mutation.REMOVE,)
    assert unnoticed("rule: WEB inbound 1") == ()


def test_changes_beyond_the_bound_are_not_decided(tmp_path: Path) -> None:
    suite = run(tmp_path, document(ask("web", "db", "port: 80")))
    rules = list_rules([suite])
    assert try_mutations([suite], rules).undecided == ()
    found = try_mutations([suite], rules, max_asked=1)
    assert len(found.undecided) == 3
    # What no case decides needs no asking, and is never left open.
    exercised = set(suite.deciders)
    assert {rule.origin for rule, _ in found.undecided} <= exercised


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A datastore with a profile, and three documents of tests beside it."""
    data = tmp_path / "data"
    run_here(["profile", "add", "WEB"], data)
    directory = tmp_path / "policy-tests"
    directory.mkdir()
    head = "endpoints: [{name: web, profiles: [WEB]}, {name: web2, like: x}]\n"
    head = head.replace("like: x", "profiles: [WEB]")
    for name in ("web.yaml", "b.yml"):
        text = head + document(ask("web", "web2", "port: 80"))
        (directory / name).write_text(text, "utf-8")
    in_json = {
        "endpoints": [{"name": "web", "profiles": ["WEB"]}],
        "tests": [
            {
                "name": "a",
                "from": OUTSIDE,
                "to": "web",
                "protocol": "udp",
                "port": 9,
                "expect": "deny",
            }
        ],
    }
    (directory / "a.json").write_text(json.dumps(in_json), "utf-8")
    (directory / "README.md").write_text("no test", "utf-8")
    return data


@pytest.mark.parametrize("example", GROUP.examples, ids=lambda each: each.command)
def test_example_works(
    example: Example, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    run_here(["datastore", "export", "-f", "backup.json"], data)
    outcome = run_here(example.command.split(), data)
    assert (outcome.code, outcome.err) == (0, "")


def test_directory_is_asked_in_order_of_names(data: Path) -> None:
    directory = data.parent / "policy-tests"
    outcome = run_here(["test", "-f", str(directory), "-o", "json"], data)
    shown = json.loads(outcome.out)
    names = [Path(each["file"]).name for each in shown["files"]]
    assert names == ["a.json", "b.yml", "web.yaml"]
    assert (shown["passed"], shown["failed"], outcome.code) == (3, 0, 0)


def test_junit_has_every_case_and_the_explanation(data: Path) -> None:
    directory, report = data.parent / "policy-tests", data.parent / "report.xml"
    text = (directory / "web.yaml").read_text("utf-8")
    broken = text.replace("expect: allow", "expect: deny")
    broken += "  - {name: 'a <b> & \"c\"', from: gone, to: web, protocol: icmp,"
    (directory / "web.yaml").write_text(broken + " expect: deny}\n", "utf-8")
    words = ["test", "-f", str(directory), f"--junit={report}"]
    assert run_here(words, data).code == 1
    assert report.stat().st_mode & 0o777 == 0o644
    root = ET.fromstring(report.read_bytes())  # noqa: S314 -- our own
    assert root.attrib == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "0",
    }
    assert [each.get("tests") for each in root] == ["1", "1", "2"]
    failure, error = root.find(".//failure"), root.find(".//error")
    assert failure is not None
    assert error is not None
    assert "rule 1  allow from tag WEB: matches, allowed" in str(failure.text)
    assert str(failure.get("message")).startswith("expected deny, found allowed by")
    assert "gone is no workload" in str(error.text)
    assert root[2][1].get("name") == 'a <b> & "c"'


def test_junit_escapes_what_xml_cannot_hold(tmp_path: Path) -> None:
    suite = run(tmp_path, document(ask("web", "db", "port: 80")))
    name = "a\x00\x1b\ufffe\udc80\t<ü\U0001f600"
    odd = replace(suite, file=replace(suite.file, name=name))
    text = "\n".join(encode_junit([odd])).encode("utf-8")
    suite_element = ET.fromstring(text)[0]  # noqa: S314 -- our own
    assert suite_element.get("name") == "a\\x00\\x1b\\ufffe\\udc80\t<ü\U0001f600"


def test_junit_that_cannot_be_written_leaves_what_was_there(data: Path) -> None:
    directory = str(data.parent / "policy-tests")
    for path in (data.parent, Path("/dev/null"), data.parent / "no" / "report.xml"):
        outcome = run_here(["test", "-f", directory, f"--junit={path}"], data)
        assert (outcome.code, outcome.out) == (1, "")
        assert "nothing was written" in outcome.err
    assert Path("/dev/null").is_char_device()
    assert sorted(each.name for each in data.parent.iterdir()) == [
        "data",
        "policy-tests",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{\n\t"tests": [\n\t\t{"nam": 1}]}', "line 3: $.tests[0].nam: found an unk"),
        (b"tests:\n- {nam: 1}", "line 2: $.tests[0].nam: found an unknown key"),
        (b"{", "line 1 column 2: found the end, expected JSON"),
        (b"a: [", "found something else, expected YAML"),
        (b"tests: \xff", "line 1: found byte 0xff at offset 7, expected UTF-8 text"),
        (b"{\xff", "found byte 0xff at offset 1, expected UTF-8 text"),
        (b"", "line 1: found nothing, expected a document"),
        (b"#" * (10 * 1024 * 1024), f"expected at most {MAX_TEST_BYTES} bytes"),
        (b"{" * (10 * 1024 * 1024), f"expected at most {MAX_TEST_BYTES} bytes"),
    ],
    ids=range(9),
)
def test_document_that_cannot_be_used_is_refused(
    text: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(text)
    outcome = run_here(["test", "-f", str(path)], tmp_path / "data")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"{path}: ")
    assert words in outcome.err


def test_directory_without_documents_is_refused(tmp_path: Path) -> None:
    outcome = run_here(["test", "-f", str(tmp_path)], tmp_path / "data")
    assert outcome.code == 1
    assert "found no file that ends in .yaml, .yml, .json" in outcome.err


def test_document_in_json_needs_no_yaml(data: Path) -> None:
    """YAML takes 15 ms to load, which a document in JSON does not pay."""
    script = (
        "import sys\nfrom calico.cli.main import main\n"
        f"code = main(['test', '-f', {str(data.parent / 'policy-tests/a.json')!r}])\n"
        "sys.exit(code or 10 * ('yaml' in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(data),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_name_of_a_case_has_the_port_where_there_are_several(tmp_path: Path) -> None:
    suite = run(tmp_path, document(ask("web", "db", "ports: [80, 81]")))
    assert [each.name for each in suite.cases] == ["db web [tcp/80]", "db web [tcp/81]"]


def test_first_of_very_many_failures_are_explained(data: Path) -> None:
    file = data.parent / "policy-tests" / "many.yaml"
    text = ask("web", OUTSIDE, 'ports: ["1:23"]')
    head = "endpoints: [{name: web, profiles: [WEB]}]"
    file.write_text(document(text, endpoints=head), "utf-8")
    words = ["test", "-f", str(file), f"--junit={data.parent / 'report.xml'}"]
    outcome = run_here(words, data)
    assert outcome.code == 1
    assert outcome.out.count("FAILED ") == outcome.out.count("denied:") == 20
    assert "\nand 3 more that fail: `-o name` names them.\n" in outcome.out
    assert "0 passed, 23 failed." in outcome.out
    assert len(run_here([*words, "-o", "name"], data).out.splitlines()) == 23
    shown = json.loads(run_here([*words, "-o", "json"], data).out)
    assert all(each["explanation"] for each in shown["files"][0]["cases"])
    root = ET.fromstring((data.parent / "report.xml").read_bytes())  # noqa: S314
    assert len(root.findall(".//failure")) == 23


def test_live_is_refused_with_changed_rules_and_without_an_agent(data: Path) -> None:
    words = ["test", "-f", str(data.parent / "policy-tests"), "--live"]
    outcome = run_here([*words, "--mutate"], data)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("--live excludes --mutate")
    outcome = run_here(words, data)
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.startswith("Nothing is proved: ")
