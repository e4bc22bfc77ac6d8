"""Rules that come from us and not from a profile, as compiled rules.

The renderer prints them and the evaluator judges by them as they stand, so
that what always passes is written once.

Source: the project's decisions on the source check and on pinholes; RFC 4861,
RFC 2710 and RFC 3810 for the ICMPv6 types.
"""

from calico.ir.match import AddressMatch, CompiledRule, IcmpMatch, Match
from calico.ir.origin import Fixed, FixedOrigin
from calico.model.network import HostSettings
from calico.model.rule import Action, Protocol
from calico.netset import AddressSet, Family, PortSet, ProtocolSet

_ND_AND_MLD_TYPES = (130, 131, 132, 133, 135, 136)
_MLD2_REPORT = 143

ICMP_OF = {
    Family.V4: Protocol.ICMP.number,
    Family.V6: Protocol.ICMPV6.number,
}
"""The protocol that connection tracking treats in its own way.

Only packets of this protocol pass as related: ICMP errors about a known flow,
and nothing that a tracking helper expects. And they are never denied for an
invalid state: the kernel calls an echo reply of an unknown flow invalid, and
for us that is a new packet, which policy judges.
"""


def source_exceptions(family: Family) -> tuple[CompiledRule, ...]:
    """What passes the source check of an active endpoint with an unset address."""
    if family is Family.V4:
        return (_udp(family, None, 67, Fixed.DHCP_SOURCE, source=_only(family, 0)),)
    return tuple(
        _icmpv6(icmp_type, Fixed.ND_SOURCE, source=_only(family, 0))
        for icmp_type in (*_ND_AND_MLD_TYPES, _MLD2_REPORT)
    )


def host_pinholes(settings: HostSettings, family: Family) -> tuple[CompiledRule, ...]:
    """What a workload may always send to its own host, once its source is checked."""
    rules: list[CompiledRule] = []
    if settings.workload_dns:
        rules.append(_udp(family, None, 53, Fixed.HOST_DNS))
    if settings.workload_dhcp:
        client, server = (68, 67) if family is Family.V4 else (546, 547)
        rules.append(_udp(family, client, server, Fixed.HOST_DHCP))
    if family is Family.V6:
        rules.extend(_icmpv6(t, Fixed.HOST_ND) for t in _ND_AND_MLD_TYPES)
    return tuple(rules)


def _only(family: Family, address: int) -> AddressMatch:
    return AddressMatch(AddressSet(family, ((address, address),)))


def _any(family: Family) -> AddressMatch:
    return AddressMatch(AddressSet.everything(family))


def _udp(
    family: Family,
    source_port: int | None,
    destination_port: int,
    place: Fixed,
    *,
    source: AddressMatch | None = None,
) -> CompiledRule:
    match = Match(
        family=family,
        protocols=ProtocolSet.of(Protocol.UDP.number),
        source=source or _any(family),
        destination=_any(family),
        source_ports=(
            PortSet.everything() if source_port is None else PortSet.of(source_port)
        ),
        destination_ports=PortSet.of(destination_port),
    )
    return CompiledRule(match, Action.ALLOW, FixedOrigin(place))


def _icmpv6(
    icmp_type: int, place: Fixed, *, source: AddressMatch | None = None
) -> CompiledRule:
    match = Match(
        family=Family.V6,
        protocols=ProtocolSet.of(Protocol.ICMPV6.number),
        source=source or _any(Family.V6),
        destination=_any(Family.V6),
        source_ports=PortSet.everything(),
        destination_ports=PortSet.everything(),
        icmp=IcmpMatch(icmp_type),
    )
    return CompiledRule(match, Action.ALLOW, FixedOrigin(place))
