"""Rules as JSON: strict on the way in, one spelling on the way out.

Source:
    calico-containers, docs/etcdStructure.md, "JSON rules configuration".
"""

from calico.codec.json_text import Field, Json, optional
from calico.codec.rule_parts import (
    LAST_ICMP,
    LAST_PORT,
    parse_cidr,
    parse_ports,
    show_ports,
    verify_rule,
)
from calico.model.errors import InvalidResource
from calico.model.names import ProfileId, TagName, parse_tag_name
from calico.model.rule import (
    MAX_RULES,
    Action,
    Cidr,
    Peer,
    PortRange,
    ProfileRules,
    Protocol,
    Rule,
)

_PORTS = 'a port from 0 to 65535, or two as "first:last"'
_ICMP = "an integer from 0 to 255"
_RULES_KEYS = ("id", "inbound_rules", "outbound_rules")
_RULE_KEYS = (
    "action",
    "protocol",
    "icmp_type",
    "icmp_code",
    "src_ports",
    "src_tag",
    "src_net",
    "dst_ports",
    "dst_tag",
    "dst_net",
)


def decode_rules(field: Field, profile: ProfileId) -> ProfileRules:
    """Read both rule lists of a profile.

    Args:
        field: The rules object; a list that is missing is empty.
        profile: Whose rules these are; an `id` in there must say the same.

    Raises:
        InvalidResource: With the path of what cannot be used.
    """
    found = field.fields(_RULES_KEYS)
    if "id" in found and found["id"].value != profile:
        raise found["id"].refuse(f'"{profile}", the profile that the rules are for')
    rules = ProfileRules(
        _decode_list(found.get("inbound_rules")),
        _decode_list(found.get("outbound_rules")),
    )
    n_rules = len(rules.inbound) + len(rules.outbound)
    if n_rules > MAX_RULES:
        raise InvalidResource(field.path, f"{n_rules} rules", f"at most {MAX_RULES}")
    return rules


def _decode_list(field: Field | None) -> tuple[Rule, ...]:
    return () if field is None else tuple(decode_rule(each) for each in field.items())


def decode_rule(field: Field) -> Rule:
    """Read one rule.

    Raises:
        InvalidResource: With the path of what cannot be used.
    """
    found = field.fields(_RULE_KEYS)
    rule = Rule(
        action=optional(found.get("action"), _decode_action) or Action.ALLOW,
        protocol=optional(found.get("protocol"), _decode_protocol),
        icmp_type=optional(found.get("icmp_type"), _decode_icmp),
        icmp_code=optional(found.get("icmp_code"), _decode_icmp),
        source=_decode_peer(found, "src"),
        destination=_decode_peer(found, "dst"),
    )
    verify_rule(rule, field.path)
    return rule


def _decode_action(field: Field) -> Action:
    return Action(field.one_of([each.value for each in Action]))


def _decode_protocol(field: Field) -> Protocol:
    return Protocol(field.one_of([each.value for each in Protocol]))


def _decode_icmp(field: Field) -> int:
    return field.integer(LAST_ICMP, _ICMP)


def _decode_peer(found: dict[str, Field], side: str) -> Peer:
    return Peer(
        ports=optional(found.get(f"{side}_ports"), _decode_ports),
        tag=optional(found.get(f"{side}_tag"), _decode_tag),
        cidr=optional(found.get(f"{side}_net"), _decode_cidr),
    )


def _decode_tag(field: Field) -> TagName:
    return field.parsed_by(parse_tag_name)


def _decode_cidr(field: Field) -> Cidr:
    return field.parsed_by(parse_cidr)


def _decode_ports(field: Field) -> tuple[PortRange, ...] | None:
    # An empty list names no port and so restricts nothing, as in the original.
    return tuple(_decode_port(each) for each in field.items()) or None


def _decode_port(field: Field) -> PortRange:
    if isinstance(field.value, str):
        if field.value.isdigit():
            raise field.refuse(_PORTS, "a single port is a number without quotes")
        return field.parsed_by(parse_ports)
    port = field.integer(LAST_PORT, _PORTS)
    return PortRange(port, port)


def encode_rules(rules: ProfileRules, profile: ProfileId | None = None) -> Json:
    """Write both rule lists, with the profile's name as `id` if it is given."""
    lists: dict[str, Json] = {
        "inbound_rules": [encode_rule(rule) for rule in rules.inbound],
        "outbound_rules": [encode_rule(rule) for rule in rules.outbound],
    }
    return lists if profile is None else {"id": profile, **lists}


def encode_rule(rule: Rule) -> Json:
    """Write one rule; what matches everything is left out."""
    fields: dict[str, Json] = {
        "action": rule.action.value,
        "protocol": rule.protocol and rule.protocol.value,
        "icmp_type": rule.icmp_type,
        "icmp_code": rule.icmp_code,
        **_encode_peer(rule.source, "src"),
        **_encode_peer(rule.destination, "dst"),
    }
    return {key: value for key, value in fields.items() if value is not None}


def _encode_peer(peer: Peer, side: str) -> dict[str, Json]:
    fields: dict[str, Json] = {}
    if peer.ports is not None:
        fields[f"{side}_ports"] = [_encode_port(each) for each in peer.ports]
    if peer.tag is not None:
        fields[f"{side}_tag"] = peer.tag
    if peer.cidr is not None:
        fields[f"{side}_net"] = peer.cidr.text
    return fields


def _encode_port(ports: PortRange) -> Json:
    return ports.first if ports.first == ports.last else show_ports(ports)
