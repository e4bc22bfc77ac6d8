"""Rules in words: every form, what is refused, and the way back."""

from contextlib import suppress

import pytest
from any_values import rules
from hypothesis import given
from hypothesis import strategies as st

from calico.codec.json_text import dump_json, parse_json
from calico.codec.rules_json import decode_rule, encode_rule
from calico.codec.words import parse_icmp, parse_rule, show_rule
from calico.model.errors import InvalidResource, RuleSyntaxError
from calico.model.rule import Action, Rule

SAME = [
    "allow",
    "deny",
    "allow tcp",
    "deny udp",
    "allow icmp",
    "allow icmpv6",
    "allow tcp to ports 80,443",
    "allow tcp from ports 1024:2048,53",
    "deny udp from ports 53 tag DNS cidr 10.0.0.0/8 to ports 1:2 tag X cidr 10.0.0.0/9",
    "allow icmp type 8",
    "allow icmp type 255 code 255 from tag A cidr 10.1.2.3/8 to tag B cidr 10.0.0.1/32",
    "allow icmpv6 type 0 from cidr fd00::1/64",
    "allow from tag WEB",
    "deny to tag WEB cidr fd00::/8",
    "allow from cidr 10.0.0.0/8 to cidr 0.0.0.0/0",
    "allow from tag from to tag to",
    "allow tcp from tag ports to ports 80",
]
NORMALISED = [
    ("allow from", "allow"),
    ("allow from to", "allow"),
    ("deny tcp from to ports 1-2", "deny tcp to ports 1:2"),
    ("allow to cidr 10.0.0.1", "allow to cidr 10.0.0.1/32"),
    ("allow udp to ports 7-7,080", "allow udp to ports 7,80"),
]


@pytest.mark.parametrize(
    ("text", "shown"), [*zip(SAME, SAME, strict=True), *NORMALISED]
)
def test_rule_is_shown_as_it_was_written(text: str, shown: str) -> None:
    rule = parse_rule(text.split())
    assert show_rule(rule) == shown
    assert decode_rule(parse_json(dump_json(encode_rule(rule)))) == rule


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        ("", 0, "'allow' or 'deny'"),
        ("ALLOW", 0, "'allow' or 'deny'"),
        ("permit tcp", 0, "'allow' or 'deny'"),
        ("allow TCP", 6,
         "'tcp', 'udp', 'icmp', 'icmpv6', 'from', 'to' or end of command"),
        ("allow tcp to port 80", 13, "'ports', 'tag', 'cidr' or end of command"),
        ("allow icmp to ports 80", 14, "'tag', 'cidr' or end of command"),
        ("allow from ports 80", 11, "'tag', 'cidr', 'to' or end of command"),
        ("allow tcp to ports 1 from tag A", 21, "'tag', 'cidr' or end of command"),
        ("allow tcp from cidr 1.1.1.1 tag A", 28, "'to' or end of command"),
        ("allow tcp type 8", 10, "'from', 'to' or end of command"),
        ("allow icmp code 8", 11, "'type', 'from', 'to' or end of command"),
        ("allow from tag", 15, "<SRCTAG>"),
        ("allow tcp to ports", 19, "<DSTPORTS>"),
        ("allow 192.168.0.0/16", 6,
         "'tcp', 'udp', 'icmp', 'icmpv6', 'from', 'to' or end of command"),
    ],
)  # fmt: skip
def test_words_that_form_no_rule_are_pointed_at(
    text: str, offset: int, expected: str
) -> None:
    with pytest.raises(RuleSyntaxError) as caught:
        parse_rule(text.split())
    assert (caught.value.offset, caught.value.expected) == (offset, expected)
    assert caught.value.text == text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("allow tcp to ports 80,99999", "ports: found '99999'"),
        ("allow tcp to ports 80,", "ports: found ''"),
        ("allow tcp to ports +80", "ports: found '+80'"),
        ("allow from tag a/b", "tag: found 'a/b'"),
        ("allow from cidr 10.0.0.0/33", "CIDR: found '10.0.0.0/33'"),
        ("allow icmp type 256", "ICMP type: found '256'"),
        ("allow icmp type 8 code x", "ICMP code: found 'x'"),
        ("allow icmp type 0008", "ICMP type: found '0008'"),
        ("allow from cidr 10.0.0.0/8 to cidr fd00::/8", "IPv4 and IPv6 in one rule"),
        ("allow icmp from cidr fd00::/8", "IPv4 and IPv6 in one rule"),
        ("allow icmpv6 to cidr 10.0.0.0/8", "IPv4 and IPv6 in one rule"),
    ],
)
def test_word_that_cannot_be_used_is_named(text: str, complaint: str) -> None:
    with pytest.raises(InvalidResource) as caught:
        parse_rule(text.split())
    assert complaint in str(caught.value)


def test_simplest_rule() -> None:
    assert parse_rule(["deny"]) == Rule(Action.DENY)
    assert parse_icmp("type", "08") == 8


@given(rules())
def test_every_rule_survives_words(rule: Rule) -> None:
    words = show_rule(rule).split(" ")
    assert parse_rule(words) == rule
    assert show_rule(parse_rule(words)) == show_rule(rule)


WORDS = ["allow", "deny", "tcp", "icmp", "from", "to", "ports", "tag", "cidr", "type"]


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=10))
def test_no_words_are_a_surprise(words: list[str]) -> None:
    with suppress(RuleSyntaxError, InvalidResource):
        rule = parse_rule(words)
        assert parse_rule(show_rule(rule).split(" ")) == rule
