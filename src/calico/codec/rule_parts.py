"""The parts of a rule that words and JSON spell alike, and how they combine."""

import re
from ipaddress import (
    AddressValueError,
    IPv4Network,
    IPv6Network,
    NetmaskValueError,
    ip_address,
)

from calico.model.errors import InvalidResource
from calico.model.rule import Cidr, Peer, PortRange, Protocol, Rule
from calico.netset import Address, Family, Network, family_of

LAST_PORT = 65535
LAST_ICMP = 255

_PORTS = re.compile(r"([0-9]{1,5})(?:[:-]([0-9]{1,5}))?\Z")
_LENGTH = re.compile(r"/[0-9]{1,3}\Z")


def parse_cidr(text: str) -> Cidr:
    """Read a network; host bits are kept in the text, a bare address gets its length.

    Raises:
        InvalidResource: It is neither an address nor a network with a length.
    """
    spelled = text if "/" in text else f"{text}/{128 if ':' in text else 32}"
    try:
        return Cidr(_parse_network(spelled), spelled)
    except (AddressValueError, NetmaskValueError, ValueError):
        raise InvalidResource(
            "CIDR", repr(text), "a network such as 10.0.0.0/8 or fd00::/8"
        ) from None


def _parse_network(text: str) -> Network:
    # `ipaddress` would also take a netmask, a host mask and a zone.
    if "%" in text or not _LENGTH.search(text):
        raise ValueError(text)
    make = IPv6Network if ":" in text else IPv4Network
    return make(text, strict=False)


def parse_address(text: str) -> Address:
    """Read one address of either family, without a zone.

    Raises:
        InvalidResource: It is none.
    """
    try:
        if "%" not in text:
            return ip_address(text)
    except ValueError:
        pass
    raise InvalidResource("address", repr(text), "an IPv4 or IPv6 address")


def parse_ports(text: str) -> PortRange:
    """Read one port, or a range as `first:last` or `first-last`.

    Raises:
        InvalidResource: It is neither, or is outside 0 to 65535, or its last
            port is below its first.
    """
    found = _PORTS.match(text)
    if found:
        first, last = int(found[1]), int(found[2] or found[1])
        if first <= last <= LAST_PORT:
            return PortRange(first, last)
    raise InvalidResource(
        "ports", repr(text), "a port from 0 to 65535, or two as first:last"
    )


def show_ports(ports: PortRange) -> str:
    """Spell a port, or a range as `first:last`."""
    if ports.first == ports.last:
        return str(ports.first)
    return f"{ports.first}:{ports.last}"


def families_of(rule: Rule) -> frozenset[Family]:
    """Return the families that a rule names by its networks and its protocol."""
    cidrs = (rule.source.cidr, rule.destination.cidr)
    named = {family_of(cidr.network) for cidr in cidrs if cidr is not None}
    if rule.protocol is Protocol.ICMP:
        named.add(Family.V4)
    if rule.protocol is Protocol.ICMPV6:
        named.add(Family.V6)
    return frozenset(named)


def verify_rule(rule: Rule, where: str) -> None:
    """Make sure that the parts of a rule go together.

    Args:
        rule: The rule; each part is valid by itself.
        where: What to call the rule in an error.

    Raises:
        InvalidResource: Some parts exclude each other.
    """
    protocol = rule.protocol.value if rule.protocol else "no protocol"
    has_ports = rule.protocol is not None and rule.protocol.has_ports
    if _names_ports(rule.source, rule.destination) and not has_ports:
        raise InvalidResource(where, f"ports with {protocol}", "tcp or udp with ports")
    is_icmp = rule.protocol is not None and rule.protocol.is_icmp
    if (rule.icmp_type, rule.icmp_code) != (None, None) and not is_icmp:
        raise InvalidResource(
            where, f"an ICMP type or code with {protocol}", "icmp or icmpv6 with it"
        )
    if rule.icmp_code is not None and rule.icmp_type is None:
        raise InvalidResource(where, "an ICMP code alone", "an ICMP type with it")
    if len(families_of(rule)) > 1:
        raise InvalidResource(
            where,
            "IPv4 and IPv6 in one rule",
            "one IP version in both networks and, with ICMP, the protocol"
            " (icmp is IPv4, icmpv6 is IPv6)",
        )


def _names_ports(*peers: Peer) -> bool:
    return any(peer.ports is not None for peer in peers)
