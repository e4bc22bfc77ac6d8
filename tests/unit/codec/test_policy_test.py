"""Documents of policy tests: what they may say, and where a fault is named."""

import json
from ipaddress import ip_address

import pytest

from calico.codec.json_text import Json, parse_json
from calico.codec.policy_test import (
    MAX_CASES,
    HypotheticalEndpoint,
    HypotheticalHost,
    PolicyTest,
    PolicyTests,
    decode_policy_tests,
)
from calico.model.errors import InvalidResource
from calico.model.names import HostName, ProfileId
from calico.model.rule import Action, Protocol
from calico.netset import Family

TEST: dict[str, Json] = {
    "name": "t",
    "from": "web",
    "to": "db",
    "protocol": "tcp",
    "port": 80,
    "expect": "allow",
}
PING: dict[str, Json] = {
    "name": "p",
    "from": "web",
    "to": "db",
    "protocol": "icmp",
    "expect": "deny",
}


def decode(document: Json) -> PolicyTests:
    return decode_policy_tests(parse_json(json.dumps(document).encode()))


def decode_test(test: Json) -> PolicyTest:
    return decode({"tests": [test]}).tests[0]


def refusal(document: Json) -> tuple[str, str, str]:
    with pytest.raises(InvalidResource) as caught:
        decode(document)
    return caught.value.where, caught.value.found, caught.value.accepted


def test_plain_test_leaves_open_what_it_does_not_say() -> None:
    assert decode({"tests": [TEST]}) == PolicyTests(
        (),
        (),
        (
            PolicyTest(
                "$.tests[0]",
                "t",
                "web",
                "db",
                Protocol.TCP,
                (80,),
                None,
                None,
                0,
                None,
                Action.ALLOW,
                None,
            ),
        ),
    )


def test_every_field_of_a_test_is_read() -> None:
    sport = decode_test({**TEST, "sport": 1, "family": 6, "rule": "end of profiles"})
    assert (sport.source_port, sport.family) == (1, Family.V6)
    assert sport.rule == "end of profiles"
    ping = decode_test({**PING, "type": 3, "code": 255, "family": 4})
    assert (ping.icmp_type, ping.icmp_code, ping.ports) == (3, 255, ())
    assert (ping.expected, ping.n_cases) == (Action.DENY, 1)
    assert decode_test({**PING, "protocol": "icmpv6", "family": 6}).family is Family.V6


def test_null_is_absent() -> None:
    assert decode_test({**TEST, "sport": None, "ports": None}) == decode_test(TEST)


def test_ports_are_cases_each_once_and_ascending() -> None:
    test: Json = {**TEST, "port": None, "ports": [443, "80:82", 81, "8-9", "7"]}
    decoded = decode_test(test)
    assert decoded.ports == (7, 8, 9, 80, 81, 82, 443)
    assert decoded.n_cases == 7


def test_hypothetical_endpoint_says_profiles_or_whom_it_is_like() -> None:
    endpoints: list[Json] = [
        {"name": "a", "profiles": ["WEB", "DB"], "host": "h"},
        {"name": "b", "like": "web", "addresses": ["10.0.0.1", "fd00::1", "10.0.0.1"]},
        {"name": "c", "profiles": []},
    ]
    found = decode({"endpoints": endpoints, "tests": [TEST]}).endpoints
    assert found == (
        HypotheticalEndpoint(
            "$.endpoints[0]",
            "a",
            (ProfileId("WEB"), ProfileId("DB")),
            host=HostName("h"),
        ),
        HypotheticalEndpoint(
            "$.endpoints[1]",
            "b",
            like="web",
            addresses=(ip_address("10.0.0.1"), ip_address("fd00::1")),
        ),
        HypotheticalEndpoint("$.endpoints[2]", "c", ()),
    )


def test_hypothetical_host_has_addresses() -> None:
    hosts: list[Json] = [{"name": "h", "addresses": ["172.20.0.1"]}]
    found = decode({"hosts": hosts, "tests": [TEST]}).hosts
    assert found == (HypotheticalHost(HostName("h"), (ip_address("172.20.0.1"),)),)


@pytest.mark.parametrize(
    ("change", "where", "found", "accepted"),
    [
        ({"frm": "x"}, ".frm", "an unknown key", "`from`? (known: "),
        ({"name": 1}, ".name", "1", "1 to 1000 printable characters"),
        ({"name": ""}, ".name", '""', "1 to 1000 printable characters"),
        ({"name": "a\nb"}, ".name", '"a\\nb"', "1 to 1000 printable characters"),
        ({"name": "\x1b"}, ".name", '"\\u001b"', "1 to 1000 printable characters"),
        ({"to": "x" * 1001}, ".to", '"x', "1 to 1000 printable characters"),
        ({"from": None}, "", "no `from`", "`from` here"),
        ({"expect": "allowed"}, ".expect", '"allowed"', '"allow" or "deny"'),
        ({"expect": None}, "", "no `expect`", "`expect` here"),
        ({"protocol": "sctp"}, ".protocol", '"sctp"', '"tcp" or "udp" or "icmp"'),
        ({"port": None}, "", "neither `port` nor `ports`", "one of them"),
        ({"ports": [81]}, "", "both `port` and `ports`", "one of them"),
        ({"port": 0}, ".port", "0", "a port from 1 to 65535"),
        ({"port": 65536}, ".port", "65536", "a port from 1 to 65535"),
        ({"port": True}, ".port", "true", "a port from 1 to 65535"),
        ({"port": "80"}, ".port", '"80"', "a port from 1 to 65535"),
        ({"port": None, "ports": 80}, ".ports", "80", "a list"),
        ({"port": None, "ports": []}, ".ports", "[]", "at least one port"),
        ({"port": None, "ports": ["0:3"]}, ".ports[0]", '"0:3"', "a port from 1"),
        ({"port": None, "ports": ["3:2"]}, ".ports[0]", '"3:2"', "a port from 1"),
        ({"port": None, "ports": [0]}, ".ports[0]", "0", "a port from 1"),
        ({"port": None, "ports": [1.5]}, ".ports[0]", "1.5", "a port from 1"),
        ({"sport": 0}, ".sport", "0", "a port from 1 to 65535"),
        ({"type": 8}, ".type", "`type` with tcp", "icmp or icmpv6 with it"),
        ({"code": 0}, ".code", "`code` with tcp", "icmp or icmpv6 with it"),
        ({"family": 5}, ".family", "5", "4 or 6"),
        ({"family": 7}, ".family", "7", "4 or 6"),
        ({"family": "4"}, ".family", '"4"', "4 or 6"),
        ({"rule": []}, ".rule", "[]", "1 to 1000 printable characters"),
    ],
)
def test_fault_of_a_test_is_named_with_its_path(
    change: dict[str, Json], where: str, found: str, accepted: str
) -> None:
    at = refusal({"tests": [{**TEST, **change}]})
    assert at[0] == f"$.tests[0]{where}"
    assert at[1].startswith(found)
    assert at[2].startswith(accepted)


@pytest.mark.parametrize(
    ("change", "where", "found"),
    [
        ({"port": 80}, ".port", "`port` with icmp"),
        ({"ports": [80]}, ".ports", "`ports` with icmp"),
        ({"sport": 80}, ".sport", "`sport` with icmp"),
        ({"code": 0}, ".code", "a code alone"),
        ({"type": 256}, ".type", "256"),
        ({"type": 3, "code": -1}, ".code", "-1"),
        ({"family": 6}, ".family", "6"),
    ],
)
def test_fault_of_a_ping_is_named_with_its_path(
    change: dict[str, Json], where: str, found: str
) -> None:
    at = refusal({"tests": [{**PING, **change}]})
    assert at[:2] == (f"$.tests[0]{where}", found)


@pytest.mark.parametrize(
    ("document", "where", "found"),
    [
        ([], "$", "[]"),
        ({}, "$", "no `tests`"),
        ({"tests": []}, "$.tests", "[]"),
        ({"tests": {}}, "$.tests", "{}"),
        ({"tests": [1]}, "$.tests[0]", "1"),
        ({"test": [TEST]}, "$.test", "an unknown key"),
        ({"tests": [TEST, TEST]}, "$.tests[1].name", '"t"'),
        ({"endpoints": {}, "tests": [TEST]}, "$.endpoints", "{}"),
    ],
)
def test_fault_of_a_document_is_named_with_its_path(
    document: Json, where: str, found: str
) -> None:
    assert refusal(document)[:2] == (where, found)


@pytest.mark.parametrize(
    ("endpoint", "where", "found"),
    [
        ({"name": "a"}, "", "neither `profiles` nor `like`"),
        ({"profiles": []}, "", "no `name`"),
        ({"name": "a b", "profiles": []}, ".name", '"a b"'),
        ({"name": "a", "profile": []}, ".profile", "an unknown key"),
        ({"name": "a", "profiles": "WEB"}, ".profiles", '"WEB"'),
        ({"name": "a", "profiles": ["a/b"]}, ".profiles[0]", '"a/b"'),
        ({"name": "a", "profiles": ["P"] * 101}, ".profiles", "101 profiles"),
        ({"name": "a", "like": ""}, ".like", '""'),
        ({"name": "a", "like": "b", "host": "a b"}, ".host", '"a b"'),
        ({"name": "a", "like": "b", "addresses": []}, ".addresses", "[]"),
        ({"name": "a", "like": "b", "addresses": ["x"]}, ".addresses[0]", '"x"'),
    ],
)
def test_fault_of_an_endpoint_is_named_with_its_path(
    endpoint: Json, where: str, found: str
) -> None:
    at = refusal({"endpoints": [endpoint], "tests": [TEST]})
    assert at[:2] == (f"$.endpoints[0]{where}", found)


@pytest.mark.parametrize(
    ("host", "where", "found"),
    [
        ({"name": "h"}, "", "no `addresses`"),
        ({"addresses": ["10.0.0.1"]}, "", "no `name`"),
        ({"name": "h", "addresses": []}, ".addresses", "[]"),
        ({"name": "h", "adresses": []}, ".adresses", "an unknown key"),
    ],
)
def test_fault_of_a_host_is_named_with_its_path(
    host: Json, where: str, found: str
) -> None:
    at = refusal({"hosts": [host], "tests": [TEST]})
    assert at[:2] == (f"$.hosts[0]{where}", found)


def test_names_of_endpoints_and_hosts_come_once() -> None:
    endpoint: Json = {"name": "a", "profiles": []}
    host: Json = {"name": "h", "addresses": ["10.0.0.1"]}
    twice: Json = {"endpoints": [endpoint, endpoint], "tests": [TEST]}
    assert refusal(twice)[0] == "$.endpoints[1].name"
    assert refusal({"hosts": [host, host], "tests": [TEST]})[0] == "$.hosts[1].name"


def test_number_of_cases_is_bounded() -> None:
    every: dict[str, Json] = {**TEST, "port": None, "ports": ["1:65535"]}
    n_tests = MAX_CASES // 65535
    tests: list[Json] = [{**every, "name": f"t{n}"} for n in range(n_tests)]
    assert len(decode({"tests": tests}).tests) == n_tests
    tests.append({**every, "name": "one too many"})
    assert refusal({"tests": tests}) == (
        "$.tests",
        f"{(n_tests + 1) * 65535} cases",
        f"at most {MAX_CASES}",
    )
