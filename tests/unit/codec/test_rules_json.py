"""Rules as JSON: what is refused and where, and the way back."""

import json

import pytest
from any_values import profile_rules, rules
from hypothesis import given

from calico.codec.json_text import dump_json, parse_json
from calico.codec.rules_json import decode_rule, decode_rules, encode_rule, encode_rules
from calico.codec.words import show_rule
from calico.model.errors import InvalidResource
from calico.model.names import ProfileId
from calico.model.rule import MAX_RULES, ProfileRules, Rule

APP = ProfileId("APP")


def decoded(text: str) -> ProfileRules:
    return decode_rules(parse_json(text.encode()), APP)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{}", "allow"),
        ('{"action": null, "protocol": null, "src_net": null}', "allow"),
        ('{"action": "deny"}', "deny"),
        ('{"protocol": "tcp", "dst_ports": [7890]}', "allow tcp to ports 7890"),
        ('{"protocol": "tcp", "dst_ports": []}', "allow tcp"),
        (
            '{"protocol": "udp", "src_ports": ["1:2", "5-9", 0, "7:7"]}',
            "allow udp from ports 1:2,5:9,0,7",
        ),
        ('{"src_tag": "A", "dst_tag": "B"}', "allow from tag A to tag B"),
        ('{"src_net": "10.1.1.1/8"}', "allow from cidr 10.1.1.1/8"),
        ('{"dst_net": "fd00::1"}', "allow to cidr fd00::1/128"),
        ('{"protocol": "icmp", "icmp_type": 8}', "allow icmp type 8"),
        (
            '{"protocol": "icmpv6", "icmp_type": 255, "icmp_code": 0}',
            "allow icmpv6 type 255 code 0",
        ),
    ],
)
def test_rule_is_read(text: str, shown: str) -> None:
    assert show_rule(decode_rule(parse_json(text.encode()))) == shown


REFUSED = [
    (
        '{"action": "next-tier"}',
        '$.action: found "next-tier", expected "allow" or "deny"',
    ),
    ('{"action": "log"}', '$.action: found "log"'),
    ('{"action": "Allow"}', '$.action: found "Allow"'),
    ('{"action": true}', "$.action: found true"),
    ('{"protocol": 6}', "$.protocol: found 6"),
    ('{"protocol": "sctp"}', '$.protocol: found "sctp"'),
    ('{"protocol": "tcp", "dst_ports": [true]}', "$.dst_ports[0]: found true"),
    ('{"protocol": "tcp", "dst_ports": [80.0]}', "$.dst_ports[0]: found 80.0"),
    ('{"protocol": "tcp", "dst_ports": ["80"]}', "without quotes"),
    ('{"protocol": "tcp", "dst_ports": [1, -1]}', "$.dst_ports[1]: found -1"),
    ('{"protocol": "tcp", "dst_ports": [65536]}', "$.dst_ports[0]: found 65536"),
    ('{"protocol": "tcp", "dst_ports": ["2:1"]}', '$.dst_ports[0]: found "2:1"'),
    ('{"protocol": "tcp", "dst_ports": [null]}', "$.dst_ports[0]: found null"),
    ('{"protocol": "tcp", "dst_ports": 80}', "$.dst_ports: found 80, expected a list"),
    ('{"protocol": "tcp", "dst_ports": "80"}', "$.dst_ports: found"),
    ('{"dst_ports": [80]}', "$: found ports with no protocol"),
    ('{"protocol": "icmp", "src_ports": [80]}', "$: found ports with icmp"),
    ('{"icmp_type": 8}', "$: found an ICMP type or code with no protocol"),
    ('{"protocol": "tcp", "icmp_type": 8}', "$: found an ICMP type or code with tcp"),
    ('{"protocol": "icmp", "icmp_code": 8}', "$: found an ICMP code alone"),
    ('{"protocol": "icmp", "icmp_type": "8"}', '$.icmp_type: found "8"'),
    ('{"protocol": "icmp", "icmp_type": 256}', "$.icmp_type: found 256"),
    ('{"protocol": "icmp", "icmp_type": true}', "$.icmp_type: found true"),
    ('{"src_tag": ""}', '$.src_tag: found ""'),
    ('{"src_tag": "a b"}', '$.src_tag: found "a b"'),
    ('{"src_tag": 5}', "$.src_tag: found 5, expected a string"),
    ('{"src_tag": "A\\n"}', "$.src_tag: found"),
    ('{"src_net": "10.0.0.0/40"}', '$.src_net: found "10.0.0.0/40"'),
    ('{"src_net": ["10.0.0.0/8"]}', "$.src_net: found"),
    ('{"src_net": "10.0.0.0/8", "dst_net": "fd00::/8"}', "IPv4 and IPv6 in one rule"),
    ('{"protocol": "icmp", "dst_net": "fd00::/8"}', "IPv4 and IPv6 in one rule"),
    ('{"!src_tag": "A"}', '$["!src_tag"]: found an unknown key'),
    ('{"log_prefix": "x"}', "$.log_prefix: found an unknown key"),
    ('{"ip_version": 4}', "$.ip_version: found an unknown key"),
    ('{"src_selector": "all()"}', "$.src_selector: found an unknown key"),
    ('{"dst_port": [1]}', "expected `dst_ports`?"),
    ("[]", "$: found [], expected an object"),
    ("null", "$: found null, expected an object"),
]


@pytest.mark.parametrize(("text", "complaint"), REFUSED)
def test_bad_rule_is_refused_with_its_path(text: str, complaint: str) -> None:
    with pytest.raises(InvalidResource) as caught:
        decode_rule(parse_json(text.encode()))
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", "$: found [], expected an object"),
        ('{"id": "WEB"}', '$.id: found "WEB", expected "APP", the profile'),
        ('{"id": 5}', "$.id: found 5"),
        ('{"inbound": []}', "expected `inbound_rules`?"),
        ('{"inbound_rules": {}}', "$.inbound_rules: found {}, expected a list"),
        ('{"inbound_rules": [{}, 5]}', "$.inbound_rules[1]: found 5"),
        (
            '{"outbound_rules": [{"acton": "allow"}]}',
            "$.outbound_rules[0].acton: found an unknown key",
        ),
    ],
)
def test_bad_rules_are_refused_with_their_path(text: str, complaint: str) -> None:
    with pytest.raises(InvalidResource) as caught:
        decoded(text)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"id": null}',
        '{"id": "APP", "inbound_rules": null, "outbound_rules": []}',
    ],
)
def test_missing_lists_are_empty(text: str) -> None:
    assert decoded(text) == ProfileRules()


def test_number_of_rules_is_bounded_over_both_directions() -> None:
    half = [{"action": "deny"}] * (MAX_RULES // 2)
    both = decoded(json.dumps({"inbound_rules": half, "outbound_rules": half}))
    assert len(both.inbound) == len(both.outbound) == MAX_RULES // 2
    with pytest.raises(InvalidResource, match="1001 rules, expected at most 1000"):
        decoded(json.dumps({"inbound_rules": [*half, {}], "outbound_rules": half}))


@given(profile_rules)
def test_rules_survive_json(value: ProfileRules) -> None:
    for profile in (None, APP):
        text = dump_json(encode_rules(value, profile))
        again = decode_rules(parse_json(text), APP)
        assert again == value
        assert dump_json(encode_rules(again, profile)) == text


@given(rules())
def test_written_rule_says_its_action_first_and_nothing_empty(rule: Rule) -> None:
    fields = encode_rule(rule)
    assert isinstance(fields, dict)
    assert next(iter(fields)) == "action"
    assert None not in fields.values()
