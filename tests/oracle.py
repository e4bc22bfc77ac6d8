"""What policy means, straight from the model: slow, obvious, and independent."""

from ipaddress import IPv6Address

from calico.ir.packet import ConnectionState, Elsewhere, Packet
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import EndpointKey, HostName
from calico.model.rule import Action, Direction, Peer, ProfileRules, Rule
from calico.model.snapshot import SettingKey, Snapshot, Undecodable
from calico.netset import Address

UDP, ICMP, FOREIGN = 17, {4: 1, 6: 58}, {4: "icmpv6", 6: "icmp"}
ND_AND_MLD = {130, 131, 132, 133, 135, 136}


def oracle(s: Snapshot, host: HostName, p: Packet) -> bool:
    """Say whether the host lets the packet pass."""
    local = usable_endpoints(s, host)
    sender, receiver = local.get(p.enters), local.get(p.leaves)
    is_from, is_to = (isinstance(x, EndpointKey) for x in (p.enters, p.leaves))
    if sender and sender is receiver and p.destination in sender.addresses:
        return True  # never leaves the workload
    if (is_from and not is_honest(sender, p)) or (receiver and not is_active(receiver)):
        return False
    if p.enters is Elsewhere.OWN_HOST or not (is_from or is_to):
        return True  # the host reaches its workloads; the rest is not our business
    known = by_connection(p)
    if known is not None or (p.leaves is Elsewhere.OWN_HOST and is_pinhole(s, host, p)):
        return known is not False
    to_host = setting(s, host, "DefaultEndpointToHostAction", "DROP")
    if p.leaves is Elsewhere.OWN_HOST and to_host == "DROP":
        return False
    is_sent = not is_from or is_allowed(s, sender, Direction.OUTBOUND, p)
    return is_sent and (not is_to or is_allowed(s, receiver, Direction.INBOUND, p))


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


def is_active(endpoint: WorkloadEndpoint) -> bool:
    """Whether the endpoint is switched on."""
    return endpoint.state is EndpointState.ACTIVE


def is_honest(sender: WorkloadEndpoint | None, p: Packet) -> bool:
    """Whether the sender is known and active, and the source its own, or unset."""
    if sender is None or not is_active(sender):
        return False
    own: list[Address] = list(sender.addresses)
    if mac := sender.mac:
        middle = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
        own.append(IPv6Address(b"\xfe\x80" + bytes(6) + middle))
    is_dhcp = (p.source.version, p.protocol, p.destination_port) == (4, UDP, 67)
    is_nd = p.protocol == ICMP[6] and p.icmp_type in {*ND_AND_MLD, 143}
    is_unset = p.source.is_unspecified and (
        is_dhcp or (is_nd and p.source.version == 6)
    )
    return is_unset or (p.source in own and sender.mac in {None, p.source_mac})


def by_connection(p: Packet) -> bool | None:
    """What follows from the connection alone, if anything."""
    is_icmp = p.protocol == ICMP[p.source.version]
    is_related = is_icmp and p.state is ConnectionState.RELATED
    is_invalid = not is_icmp and p.state is ConnectionState.INVALID
    is_known = is_related or p.state is ConnectionState.ESTABLISHED
    return True if is_known else False if is_invalid else None


def is_pinhole(s: Snapshot, host: HostName, p: Packet) -> bool:
    """Whether a workload may always send this to its own host."""
    dhcp = {4: (68, 67), 6: (546, 547)}[p.source.version]
    is_dns, is_dhcp = (
        p.destination_port == 53,
        dhcp == (p.source_port, p.destination_port),
    )
    dns_on, dhcp_on = (
        setting(s, host, f"Workload{x}", "true") for x in ("Dns", "Dhcp")
    )
    if p.protocol == UDP:
        return (is_dns and dns_on == "true") or (is_dhcp and dhcp_on == "true")
    return (p.source.version, p.protocol) == (6, 58) and p.icmp_type in ND_AND_MLD


def is_allowed(
    s: Snapshot, who: WorkloadEndpoint | None, side: Direction, p: Packet
) -> bool:
    """Whether the policy of one side's endpoint lets the packet pass."""
    address = p.source if side is Direction.OUTBOUND else p.destination
    names = who.profile_ids if who and address in who.addresses else ()
    if any(isinstance(s.tags.get(name), Undecodable) for name in names):
        return False
    for name in names:
        rules = s.rules.get(name)
        if not isinstance(rules, ProfileRules):
            return False
        for rule in rules.of(side):
            if matches(s, rule, p):
                return rule.action is Action.ALLOW
    return False


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
    carriers = {n for n, t in s.tags.items() if isinstance(t, tuple) and peer.tag in t}
    return (
        (peer.ports is None or is_port)
        and is_in
        and (
            peer.tag is None
            or any(
                isinstance(each, WorkloadEndpoint)
                and address in each.addresses
                and carriers & {*each.profile_ids}
                for each in s.endpoints.values()
            )
        )
    )
