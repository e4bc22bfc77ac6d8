"""Policy tests agree with the oracle, and what they are said to leave open is."""

import json
from dataclasses import replace
from itertools import product
from random import Random
from typing import cast

from cases import Draw
from hypothesis import event, given, settings
from hypothesis import strategies as st
from oracle import oracle
from strategies import HOST, OTHER, OUTSIDE, edge_ports, snapshots

from calico.cli.cluster import Cluster
from calico.cli.endpoint_names import endpoint_name
from calico.cli.policy_cases import Outcome, Suite, run_suite
from calico.cli.policy_file import PolicyFile
from calico.cli.policy_rules import (
    Mutation,
    find_unexercised,
    list_rules,
    try_mutations,
)
from calico.codec.json_text import Json, parse_json
from calico.codec.policy_test import MAX_TEST_BYTES, decode_policy_tests
from calico.ir.origin import RuleOrigin
from calico.ir.packet import Elsewhere, Packet, Place
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import EndpointKey, HostName
from calico.model.rule import Action, Direction, ProfileRules, Protocol
from calico.model.snapshot import Snapshot
from calico.netset import Address
from calico.verdict.journey import End, HostItself

HOSTS: dict[HostName, tuple[Address, ...]] = {
    HOST: (OUTSIDE[0],),
    OTHER: (OUTSIDE[1],),
}
STRANGERS = ("198.51.100.7", "2001:db8::7")
N_PER_DOCUMENT = 12
ECHO = {Protocol.ICMP: 8, Protocol.ICMPV6: 128}

Test = dict[str, Json]

# Policies that allow something, so that there is something to notice.
open_snapshots = st.integers(0, 2**32).map(lambda seed: Draw(Random(seed)).snapshot(1))


def suite_of(snapshot: Snapshot, tests: list[Test]) -> Suite:
    hosts: list[Json] = [
        {"name": name, "addresses": [str(each) for each in addresses]}
        for name, addresses in HOSTS.items()
    ]
    text = json.dumps({"hosts": hosts, "tests": tests}).encode()
    decoded = decode_policy_tests(parse_json(text, max_bytes=MAX_TEST_BYTES))
    cluster = Cluster(snapshot, snapshot.revision, {}, None)
    return run_suite(cluster, PolicyFile("drawn", text, decoded), HOST)


def ends_of(snapshot: Snapshot) -> dict[str, tuple[End, tuple[Address, ...]]]:
    """Name every end that a test may have, with its addresses."""
    named: dict[str, tuple[End, tuple[Address, ...]]] = {
        endpoint_name(key): (key, endpoint.addresses)
        for key, endpoint in snapshot.endpoints.items()
        if isinstance(endpoint, WorkloadEndpoint) and endpoint.addresses
    }
    named |= {name: (HostItself(name), HOSTS[name]) for name in HOSTS}
    return named


def place(end: End, host: HostName) -> Place:
    if isinstance(end, Elsewhere) or end.host != host:
        return Elsewhere.OUTSIDE
    return end if isinstance(end, EndpointKey) else Elsewhere.OWN_HOST


def expected(snapshot: Snapshot, test: Test) -> set[bool]:
    """Ask the oracle, of every two addresses and on every host that judges."""
    ends = ends_of(snapshot)
    for text in STRANGERS:
        address = OUTSIDE[0] if "." in text else OUTSIDE[1]
        ends[text] = (Elsewhere.OUTSIDE, (type(address)(text),))
    (source, sources), (target, targets) = (
        ends[str(test["from"])],
        ends[str(test["to"])],
    )
    protocol = Protocol(str(test["protocol"]))
    hosts = {each.host for each in (source, target) if not isinstance(each, Elsewhere)}
    sender = snapshot.endpoints.get(source) if isinstance(source, EndpointKey) else None
    mac = (sender.mac or b"") if isinstance(sender, WorkloadEndpoint) else b""
    return {
        all(
            oracle(
                snapshot,
                host,
                Packet(
                    place(source, host),
                    place(target, host),
                    one,
                    other,
                    protocol.number,
                    mac if place(source, host) == source else b"",
                    cast("int", test.get("sport") or 0),
                    cast("int", test.get("port") or 0),
                    ECHO.get(protocol, 0),
                ),
            )
            for host in hosts
        )
        for one, other in product(sources, targets)
        if one.version == other.version
        and {Protocol.ICMP: 4, Protocol.ICMPV6: 6}.get(protocol, one.version)
        == one.version
    }


@st.composite
def drawn_tests(draw: st.DrawFn, snapshot: Snapshot) -> list[Test]:
    """Draw tests with what the oracle expects of them."""
    names = sorted(ends_of(snapshot))
    workloads = [name for name in names if "/" in name] or names
    ports = [port for port in edge_ports(snapshot) if port]
    made: list[Test] = []
    for number in range(draw(st.integers(3, N_PER_DOCUMENT))):
        ends = [
            draw(st.sampled_from(workloads)),
            draw(st.sampled_from([*workloads, *workloads, *names, *STRANGERS])),
        ]
        source, target = draw(st.permutations(ends))
        protocol = draw(st.sampled_from(Protocol))
        test: Test = {
            "name": f"test {number}",
            "from": source,
            "to": target,
            "protocol": protocol.value,
        }
        if protocol.has_ports:
            test["port"] = draw(st.sampled_from(ports))
            test["sport"] = draw(st.sampled_from(ports))
        verdicts = expected(snapshot, test)
        if len(verdicts) == 1:
            made.append({**test, "expect": "allow" if True in verdicts else "deny"})
    return made


def flipped(test: Test) -> Test:
    return {**test, "expect": "deny" if test["expect"] == "allow" else "allow"}


@given(snapshots() | open_snapshots, st.data())
def test_what_the_oracle_expects_passes_and_its_opposite_fails_alone(
    snapshot: Snapshot, data: st.DataObject
) -> None:
    tests = data.draw(drawn_tests(snapshot))
    event(f"{sum(test['expect'] == 'allow' for test in tests)} allowed")
    if not tests:
        return
    passed = [Outcome.PASSED] * len(tests)
    assert [each.outcome for each in suite_of(snapshot, tests).cases] == passed
    number = data.draw(st.integers(0, len(tests) - 1))
    tests[number] = flipped(tests[number])
    failed = [*passed[:number], Outcome.FAILED, *passed[number + 1 :]]
    assert [each.outcome for each in suite_of(snapshot, tests).cases] == failed


def mutated(snapshot: Snapshot, origin: RuleOrigin, mutation: Mutation) -> Snapshot:
    """Change a rule where users would: in the profile, not in what is compiled."""
    profile = snapshot.rules[origin.profile]
    assert isinstance(profile, ProfileRules)
    rules = list(profile.of(origin.direction))
    index = origin.number - 1
    if mutation is Mutation.REMOVE:
        del rules[index]
    else:
        is_deny = rules[index].action is Action.DENY
        action = Action.ALLOW if is_deny else Action.DENY
        rules[index] = replace(rules[index], action=action)
    changed = (
        replace(profile, inbound=tuple(rules))
        if origin.direction is Direction.INBOUND
        else replace(profile, outbound=tuple(rules))
    )
    return replace(snapshot, rules={**snapshot.rules, origin.profile: changed})


@settings(max_examples=25)
@given(open_snapshots, st.data())
def test_change_is_said_to_be_unnoticed_when_no_verdict_changes(
    snapshot: Snapshot, data: st.DataObject
) -> None:
    tests = data.draw(drawn_tests(snapshot))
    if not tests:
        return
    suite = suite_of(snapshot, tests)
    rules = list_rules([suite])
    found = try_mutations([suite], rules)
    assert found.undecided == ()
    unnoticed = {
        (each.rule.origin, mutation)
        for each in found.unnoticed
        for mutation in each.mutations
    }
    before = [each.finding for each in suite.cases]
    for rule, mutation in product(rules, Mutation):
        after = suite_of(mutated(snapshot, rule.origin, mutation), tests)
        is_same = [each.finding for each in after.cases] == before
        assert is_same == ((rule.origin, mutation) in unnoticed)
    for rule in find_unexercised([suite], rules):
        assert {(rule.origin, mutation) for mutation in Mutation} <= unnoticed
    event(f"{len(unnoticed) * 10 // (2 * len(rules) or 1)} of 10 unnoticed")
