"""The rule in a command line, with the original's lines about a bad one."""

from collections.abc import Callable, Mapping, Sequence

from calico.cli.profiles import BAD_TAG_NAME
from calico.cli.refusal import Refused, paragraph
from calico.codec.rule_parts import LAST_PORT, parse_cidr, parse_ports
from calico.codec.words import build_rule, parse_icmp, split_rule
from calico.model.errors import InvalidResource
from calico.model.names import parse_tag_name
from calico.model.rule import Protocol, Rule
from calico.netset import Family, family_of

_BAD_CIDR = "Invalid CIDR specified."
_BAD_VERSIONS = "Invalid or unmatching IP versions for SRCCIDR/DSTCIDR."
_BAD_ICMP = "Invalid ICMP type or ICMP code specified."
_BAD_PORTS = "Invalid SRCPORTS or DSTPORTS specified."


def read_rule(words: Sequence[str]) -> Rule:
    """Read the rule of a command line.

    Args:
        words: Words that the grammar has let through as a rule.

    Raises:
        Refused: Some of them cannot be used; every fault is named, each part in
            the original's words, and the first one exactly.
    """
    parts = split_rule(words)
    try:
        return build_rule(parts)
    except InvalidResource as error:
        raise Refused(*_complaints(parts), f"  {error}") from None


def _complaints(parts: Mapping[str, str]) -> list[str]:
    """Name each fault in the words and the order of the original."""
    lines: list[str] = []
    cidrs = [parts[name] for name in ("SRCCIDR", "DSTCIDR") if name in parts]
    if _any_bad(parse_tag_name, parts, "SRCTAG", "DSTTAG"):
        lines.append(BAD_TAG_NAME)
    has_bad_cidr = _any_bad(parse_cidr, parts, "SRCCIDR", "DSTCIDR")
    if has_bad_cidr:
        lines.append(_BAD_CIDR)
    if _any_bad(_parse_icmp, parts, "ICMPTYPE", "ICMPCODE"):
        lines.append(_BAD_ICMP)
    if _any_bad(_parse_numbers, parts, "SRCPORTS", "DSTPORTS"):
        lines.append(_BAD_PORTS)
    if has_bad_cidr or _is_mixed(parts.get("PROTOCOL"), cidrs):
        lines.append(_BAD_VERSIONS)
    lines += [
        paragraph(
            f"Ports: '{parts[name]}' are invalid; expecting a comma-separated list of"
            " ports and port ranges."
        )
        for name in ("SRCPORTS", "DSTPORTS")
        if _any_bad(_parse_port_list, parts, name)
        and not _any_bad(_parse_numbers, parts, name)
    ]
    return lines


def _any_bad(
    parse: Callable[[str], object], parts: Mapping[str, str], *names: str
) -> bool:
    for name in names:
        try:
            if name in parts:
                parse(parts[name])
        except (InvalidResource, ValueError):
            return True
    return False


def _parse_icmp(text: str) -> int:
    return parse_icmp("type", text)


def _parse_port_list(text: str) -> None:
    for each in text.split(","):
        parse_ports(each)


def _parse_numbers(text: str) -> None:
    """Accept what the original's first look at ports lets through.

    It converts numbers as Python does, so `+80` passes and is refused later,
    with another line.

    Raises:
        ValueError: Its first look refuses this.
    """
    for each in text.split(","):
        numbers = [int(number) for number in each.replace("-", ":").split(":")]
        if len(numbers) > len(("first", "last")) or numbers != sorted(numbers):
            raise ValueError(each)
        if not 0 <= numbers[0] <= numbers[-1] <= LAST_PORT:
            raise ValueError(each)


def _is_mixed(protocol: str | None, cidrs: Sequence[str]) -> bool:
    families = {family_of(parse_cidr(cidr).network) for cidr in cidrs}
    if protocol == Protocol.ICMP.value:
        families.add(Family.V4)
    if protocol == Protocol.ICMPV6.value:
        families.add(Family.V6)
    return len(families) > 1
