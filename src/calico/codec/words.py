"""Rules as the words that users type and read."""

from collections.abc import Mapping, Sequence
from functools import cache

from calico.codec.grammar import (
    Mismatch,
    Node,
    compile_pattern,
    match_words,
    show_expected,
)
from calico.codec.rule_parts import (
    LAST_ICMP,
    parse_cidr,
    parse_ports,
    show_ports,
    verify_rule,
)
from calico.model.errors import InvalidResource, RuleSyntaxError
from calico.model.names import parse_tag_name
from calico.model.rule import Action, Peer, Protocol, Rule

_SOURCE = "[from [tag <SRCTAG>] [cidr <SRCCIDR>]]"
_DESTINATION = "[to [tag <DSTTAG>] [cidr <DSTCIDR>]]"

RULE_PARTS: Mapping[str, str] = {
    "RULE": "(allow|deny) [<MATCH>]",
    "MATCH": "<PORTMATCH> | <ICMPMATCH> | <PLAINMATCH>",
    "PORTMATCH": (
        "(tcp|udp) [from [ports <SRCPORTS>] [tag <SRCTAG>] [cidr <SRCCIDR>]]"
        " [to [ports <DSTPORTS>] [tag <DSTTAG>] [cidr <DSTCIDR>]]"
    ),
    "ICMPMATCH": (
        f"(icmp|icmpv6) [type <ICMPTYPE> [code <ICMPCODE>]] {_SOURCE} {_DESTINATION}"
    ),
    "PLAINMATCH": f"{_SOURCE} {_DESTINATION}",
}
"""The pattern of `<RULE>`, and those of its parts."""

_N_ICMP_DIGITS = 3


@cache
def _pattern() -> Node:
    return compile_pattern("<RULE>", RULE_PARTS)


def split_rule(words: Sequence[str]) -> Mapping[str, str]:
    """Find the parts of a rule, whatever they say.

    Returns:
        The word in each slot of `RULE_PARTS`, and `ACTION` and `PROTOCOL`;
        what the rule does not say is absent.

    Raises:
        RuleSyntaxError: The words form no rule.
    """
    found = match_words(_pattern(), words)
    if isinstance(found, Mismatch):
        offset = sum(len(word) + 1 for word in words[: found.at])
        expected = show_expected(found.expected, found.keywords)
        raise RuleSyntaxError(" ".join(words), offset, expected)
    slots = {
        name: value[0] for name, value in found.values.items() if name not in RULE_PARTS
    }
    protocols = [p.value for p in Protocol if p.value in found.keywords]
    if protocols:
        slots["PROTOCOL"] = protocols[0]
    slots["ACTION"] = words[0]
    return slots


def parse_rule(words: Sequence[str]) -> Rule:
    """Read a rule.

    Raises:
        RuleSyntaxError: The words form no rule.
        InvalidResource: They do, but one of them cannot be used.
    """
    return build_rule(split_rule(words))


def build_rule(parts: Mapping[str, str]) -> Rule:
    """Make a rule of its parts.

    Args:
        parts: As `split_rule` returns them.

    Raises:
        InvalidResource: One of them cannot be used, or some exclude each other.
    """
    protocol = parts.get("PROTOCOL")
    icmp_type, icmp_code = parts.get("ICMPTYPE"), parts.get("ICMPCODE")
    rule = Rule(
        action=Action(parts["ACTION"]),
        protocol=None if protocol is None else Protocol(protocol),
        icmp_type=None if icmp_type is None else parse_icmp("type", icmp_type),
        icmp_code=None if icmp_code is None else parse_icmp("code", icmp_code),
        source=_build_peer(parts, "SRC"),
        destination=_build_peer(parts, "DST"),
    )
    verify_rule(rule, "rule")
    return rule


def _build_peer(parts: Mapping[str, str], side: str) -> Peer:
    ports, tag, cidr = (parts.get(side + name) for name in ("PORTS", "TAG", "CIDR"))
    return Peer(
        ports=None
        if ports is None
        else tuple(parse_ports(each) for each in ports.split(",")),
        tag=None if tag is None else parse_tag_name(tag),
        cidr=None if cidr is None else parse_cidr(cidr),
    )


def parse_icmp(kind: str, text: str) -> int:
    """Read an ICMP type or code.

    Args:
        kind: `type` or `code`, for the error.
        text: The word.

    Raises:
        InvalidResource: It is no integer from 0 to 255.
    """
    is_number = text.isascii() and text.isdigit() and len(text) <= _N_ICMP_DIGITS
    if not is_number or int(text) > LAST_ICMP:
        raise InvalidResource(f"ICMP {kind}", repr(text), "an integer from 0 to 255")
    return int(text)


def show_rule(rule: Rule) -> str:
    """Spell a rule so that `parse_rule` reads it back."""
    words = [rule.action.value]
    if rule.protocol is not None:
        words.append(rule.protocol.value)
    if rule.icmp_type is not None:
        words.append(f"type {rule.icmp_type}")
    if rule.icmp_code is not None:
        words.append(f"code {rule.icmp_code}")
    words += _show_peer("from", rule.source)
    words += _show_peer("to", rule.destination)
    return " ".join(words)


def _show_peer(side: str, peer: Peer) -> list[str]:
    words: list[str] = []
    if peer.ports:
        words.append("ports " + ",".join(show_ports(each) for each in peer.ports))
    if peer.tag is not None:
        words.append(f"tag {peer.tag}")
    if peer.cidr is not None:
        words.append(f"cidr {peer.cidr.text}")
    return [side, *words] if words else []
