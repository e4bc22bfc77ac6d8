"""What policy means, straight from the model: slow, obvious, and independent."""

from collections.abc import Iterator
from ipaddress import IPv6Address

from calico.ir.packet import ConnectionState, Elsewhere, Packet
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import EndpointKey, HostName
from calico.model.rule import Action, Direction, Peer, ProfileRules, Rule
from calico.model.snapshot import SettingKey, Snapshot, Undecodable
from calico.netset import Address

UDP, ICMP, FOREIGN = 17, {4: 1, 6: 58}, {4: "icmpv6", 6: "icmp"}
ND_AND_MLD = {130, 131, 132, 133, 135, 136}
Finding = tuple[bool, str]  # whether the packet goes on, and where that is written


def oracle(s: Snapshot, host: HostName, p: Packet) -> bool:
    """Say whether the host lets the packet pass."""
    return ruling(s, host, p)[0]


def ruling(s: Snapshot, host: HostName, p: Packet) -> tuple[bool, list[str]]:
    """The verdict, and the places that speak about the packet; the last decides."""
    found: list[str] = []
    for goes_on, place in way(s, host, p):
        found += [place] if place else []
        if not goes_on:
            return False, found
    return True, found


def way(s: Snapshot, host: HostName, p: Packet) -> Iterator[Finding]:
    """Yield what is found on the packet's way, up to the first no and beyond."""
    local = usable_endpoints(s, host)
    sender, receiver = local.get(p.enters), local.get(p.leaves)
    is_from, is_to = (isinstance(x, EndpointKey) for x in (p.enters, p.leaves))
    if sender and sender is receiver and p.destination in sender.addresses:
        yield True, "never leaves the workload"
        return
    if is_from:
        yield check_source(sender, p)
        known = by_connection(p) or at_own_host(s, host, p)
        yield known or ask_policy(s, sender, Direction.OUTBOUND, p)
    if receiver and receiver.state is not EndpointState.ACTIVE:
        yield False, f"inactive endpoint {name_of(receiver)}"
    if p.enters is Elsewhere.OWN_HOST and is_to:
        yield True, "the host reaches its own workloads"
    elif is_to:
        yield by_connection(p) or ask_policy(s, receiver, Direction.INBOUND, p)
    elif not is_from:
        yield True, "neither from nor to a workload"


def usable_endpoints(s: Snapshot, host: HostName) -> dict[object, WorkloadEndpoint]:
    """The host's endpoints; of two with one interface the lower key counts."""
    prefixes = ("cali", *setting(s, host, "InterfacePrefix", "cali").split(","))
    found: dict[object, WorkloadEndpoint] = {}
    for key, each in sorted(s.endpoints.items(), key=lambda item: item[0]):
        if isinstance(each, WorkloadEndpoint) and key.host == host:
            is_taken = each.interface in {other.interface for other in found.values()}
            if each.interface.startswith(prefixes) and not is_taken:
                found[key] = each
    return found


def setting(s: Snapshot, host: HostName, name: str, default: str) -> str:
    """The text of a parameter: the host's, else the global one."""
    everywhere = s.settings.get(SettingKey(name), default)
    return str(s.settings.get(SettingKey(name, host), everywhere))


def name_of(endpoint: WorkloadEndpoint) -> str:
    """Name an endpoint of this host."""
    key = endpoint.key
    return f"{key.orchestrator}/{key.workload}/{key.endpoint}"


def check_source(sender: WorkloadEndpoint | None, p: Packet) -> Finding:
    """Whether the sender is known and active, and the source its own, or unset."""
    if sender is None:
        return False, "unknown workload interface"
    if sender.state is not EndpointState.ACTIVE:
        return False, f"inactive endpoint {name_of(sender)}"
    own: list[Address] = list(sender.addresses)
    if mac := sender.mac:
        middle = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
        own.append(IPv6Address(b"\xfe\x80" + bytes(6) + middle))
    if p.source in own and sender.mac in {None, p.source_mac}:
        return True, ""
    version = p.source.version if p.source.is_unspecified else None
    if (version, p.protocol, p.destination_port) == (4, UDP, 67):
        return True, "DHCP request from an unset address"
    if (version, p.protocol) == (6, ICMP[6]) and p.icmp_type in {*ND_AND_MLD, 143}:
        return True, "neighbour discovery from the unspecified address"
    return False, f"source check of {name_of(sender)}"


def by_connection(p: Packet) -> Finding | None:
    """What follows from the connection alone, if anything."""
    is_icmp = p.protocol == ICMP[p.source.version]
    if p.state is ConnectionState.ESTABLISHED:
        return True, "established flow"
    if is_icmp and p.state is ConnectionState.RELATED:
        return True, "ICMP error about a known flow"
    is_invalid = not is_icmp and p.state is ConnectionState.INVALID
    return (False, "connection state invalid") if is_invalid else None


def at_own_host(s: Snapshot, host: HostName, p: Packet) -> Finding | None:
    """What of a workload's traffic to its own host needs no policy, if it is that."""
    if p.leaves is not Elsewhere.OWN_HOST:
        return None
    dhcp = {4: (68, 67), 6: (546, 547)}[p.source.version]
    is_dhcp = dhcp == (p.source_port, p.destination_port)
    for is_it, word in ((p.destination_port == 53, "Dns"), (is_dhcp, "Dhcp")):
        is_on = setting(s, host, f"Workload{word}", "true") == "true"
        if p.protocol == UDP and is_it and is_on:
            return True, f"workload {word.upper()} to the host"
    if (p.source.version, p.protocol) == (6, 58) and p.icmp_type in ND_AND_MLD:
        return True, "neighbour discovery and MLD to the host"
    action = setting(s, host, "DefaultEndpointToHostAction", "DROP")
    return (False, "DefaultEndpointToHostAction is DROP") if action == "DROP" else None


def ask_policy(
    s: Snapshot, who: WorkloadEndpoint | None, side: Direction, p: Packet
) -> Finding:
    """What the profiles of one side's endpoint say, in their order."""
    sent = side is Direction.OUTBOUND
    if who is None or (p.source if sent else p.destination) not in who.addresses:
        word = "endpoint sends from" if sent else "endpoint with"
        return False, f"no {word} this interface and address"
    names = list(dict.fromkeys(who.profile_ids))
    for name in names:
        if isinstance(s.tags.get(name), Undecodable):
            return False, f"profile {name} has undecodable tags"
    for name in names:
        rules = s.rules.get(name)
        if not isinstance(rules, ProfileRules):
            absent = "no rules" if name in {*s.tags, *s.labels} else ""
            fault = "undecodable rules" if rules else absent
            return (
                False,
                f"profile {name} {f'has {fault}' if fault else 'does not exist'}",
            )
        for number, rule in enumerate(rules.of(side), start=1):
            if matches(s, rule, p):
                is_allow = rule.action is Action.ALLOW
                return is_allow, f"profile {name} {side.value} rule {number}"
    return False, f"end of profiles {side.value}: {' '.join(names) or '(none)'}"


def matches(s: Snapshot, rule: Rule, p: Packet) -> bool:
    """Whether every field of the rule fits the packet."""
    protocol, icmp_codes = rule.protocol, {None, p.icmp_code}
    if protocol and protocol.value == FOREIGN[p.source.version]:
        return False
    return (
        (protocol is None or protocol.number == p.protocol)
        and (rule.icmp_type in {None, p.icmp_type} and rule.icmp_code in icmp_codes)
        and fits(s, rule.source, p.source, p.source_port)
        and fits(s, rule.destination, p.destination, p.destination_port)
    )


def fits(s: Snapshot, peer: Peer, address: Address, port: int) -> bool:
    """Whether the `from` or the `to` of a rule fits."""
    is_port = any(r.first <= port <= r.last for r in peer.ports or ())
    is_in = peer.cidr is None or address in peer.cidr.network
    return (peer.ports is None or is_port) and is_in and has_tag(s, peer, address)


def has_tag(s: Snapshot, peer: Peer, address: Address) -> bool:
    """Whether any endpoint with this address carries the tag that is asked for."""
    carriers = {n for n, t in s.tags.items() if isinstance(t, tuple) and peer.tag in t}
    return peer.tag is None or any(
        isinstance(each, WorkloadEndpoint)
        and address in each.addresses
        and carriers & {*each.profile_ids}
        for each in s.endpoints.values()
    )
