from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest
from strategies import HOST, endpoint_key

from calico.compiler.host import compile_host
from calico.ir.origin import (
    EndOfProfiles,
    Fault,
    FaultOrigin,
    Fixed,
    FixedOrigin,
    InactiveEndpoint,
    Origin,
    RuleOrigin,
    SourceCheck,
)
from calico.ir.packet import ConnectionState, Elsewhere, Packet, Place
from calico.ir.routing import Carrier
from calico.ir.state import DesiredState
from calico.ir.tunnel import UDP, VXLAN_ID, VXLAN_PORT, TunnelGuard
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import InterfaceName, ProfileId, Revision, TagName
from calico.model.rule import (
    Action,
    Direction,
    Peer,
    PortRange,
    ProfileRules,
    Protocol,
    Rule,
)
from calico.model.snapshot import SettingKey, Snapshot, Undecodable
from calico.verdict.evaluate import evaluate
from calico.verdict.trace import Miss, Stage, Trial

WEB, DB, OPEN, GONE, SHUT = (
    ProfileId(name) for name in ("WEB", "DB", "OPEN", "GONE", "SHUT")
)
IN, OUT = Direction.INBOUND, Direction.OUTBOUND
W, D, OFF, BARE, UNKNOWN = (endpoint_key(number) for number in (0, 1, 2, 3, 9))
OWN_HOST, OUTSIDE = Elsewhere.OWN_HOST, Elsewhere.OUTSIDE
MAC = bytes.fromhex("020000000001")
LINK_LOCAL = "fe80::ff:fe00:1"
NEW, ESTABLISHED, RELATED, INVALID = ConnectionState

RULES = {
    WEB: ProfileRules(
        inbound=(
            Rule(
                Action.ALLOW,
                Protocol.TCP,
                destination=Peer((PortRange(80, 80),)),
            ),
            Rule(Action.ALLOW, Protocol.ICMP, 8),
        ),
        outbound=(
            Rule(Action.DENY, Protocol.UDP, destination=Peer((PortRange(99, 99),))),
        ),
    ),
    DB: ProfileRules(
        inbound=(
            Rule(Action.ALLOW, Protocol.ICMPV6),
            Rule(Action.ALLOW, Protocol.TCP, source=Peer(tag=TagName("web"))),
            Rule(Action.DENY, Protocol.UDP),
        ),
    ),
    OPEN: ProfileRules((Rule(Action.ALLOW),), (Rule(Action.ALLOW),)),
}


def endpoint(
    number: int, profiles: tuple[ProfileId, ...], mac: bytes | None = None
) -> WorkloadEndpoint:
    return WorkloadEndpoint(
        endpoint_key(number),
        EndpointState.INACTIVE if number == 2 else EndpointState.ACTIVE,
        InterfaceName(f"cali{number}"),
        mac,
        profiles,
        (ip_address(f"10.0.0.{number}"), ip_address(f"fd00::{number}")),
    )


ENDPOINTS = (
    endpoint(0, (WEB, OPEN), MAC),
    endpoint(1, (DB, GONE)),
    endpoint(2, (OPEN,)),
    endpoint(3, ()),
)
SNAPSHOT = Snapshot(
    Revision(1),
    tags={WEB: (TagName("web"),)},
    rules=RULES,
    endpoints={each.key: each for each in ENDPOINTS},
    settings={SettingKey("DefaultEndpointToHostAction"): "RETURN"},
)
STATE = compile_host(SNAPSHOT, HOST)
DROP_TO_HOST = compile_host(replace(SNAPSHOT, settings={}), HOST)


def packet(
    enters: Place,
    leaves: Place,
    source: str = "10.0.0.0",
    destination: str = "10.0.0.1",
    protocol: int = 6,
) -> Packet:
    mac = MAC if enters == W else b""
    return Packet(
        enters,
        leaves,
        ip_address(source),
        ip_address(destination),
        protocol,
        source_mac=mac,
        source_port=4000,
        destination_port=80,
    )


def rule(profile: ProfileId, direction: Direction, number: int) -> RuleOrigin:
    return RuleOrigin(profile, direction, number)


def fixed(place: Fixed) -> FixedOrigin:
    return FixedOrigin(place)


W_TO_D = packet(W, D)
D_TO_W = packet(D, W, "10.0.0.1", "10.0.0.0")
W_OUT = packet(W, OUTSIDE, destination="192.0.2.1")
W_TO_HOST = packet(W, OWN_HOST, destination="192.0.2.1")
BARE_TO_HOST = packet(BARE, OWN_HOST, "10.0.0.3", "192.0.2.1")
INTO_W = packet(OUTSIDE, W, "192.0.2.1", "10.0.0.0")
GONE_FAULT = FaultOrigin(GONE, Fault.MISSING)
ND = replace(packet(W, OWN_HOST, "::", "ff02::1", 58), icmp_type=135)

CASES: list[tuple[str, Packet, bool, Origin]] = [
    # Source check.
    ("known", W_OUT, True, rule(OPEN, OUT, 1)),
    ("wrong MAC", replace(W_OUT, source_mac=b"123456"), False, SourceCheck(W)),
    (
        "MAC not policed",
        replace(BARE_TO_HOST, source_mac=b"123456"),
        False,
        EndOfProfiles((), OUT),
    ),
    (
        "another's address",
        replace(W_OUT, source=ip_address("10.0.0.1")),
        False,
        SourceCheck(W),
    ),
    (
        "spoofed in an established flow",
        replace(W_OUT, source=ip_address("10.0.0.1"), state=ESTABLISHED),
        False,
        SourceCheck(W),
    ),
    ("unknown sender", packet(UNKNOWN, D), False, fixed(Fixed.UNKNOWN_INTERFACE)),
    (
        "inactive sender",
        packet(OFF, D, "10.0.0.2"),
        False,
        InactiveEndpoint(OFF),
    ),
    (
        "unset address to DHCP server",
        replace(
            packet(W, OWN_HOST, "0.0.0.0", "255.255.255.255", 17),  # noqa: S104 -- unset
            source_port=68,
            destination_port=67,
        ),
        True,
        fixed(Fixed.HOST_DHCP),
    ),
    (
        "unset address elsewhere",
        packet(W, OWN_HOST, "0.0.0.0", "255.255.255.255", 17),  # noqa: S104 -- unset
        False,
        SourceCheck(W),
    ),
    ("ND from ::", ND, True, fixed(Fixed.HOST_ND)),
    (
        "MLD report from ::, no pinhole",
        replace(ND, icmp_type=143),
        False,
        fixed(Fixed.NO_OUTBOUND),
    ),
    ("echo from ::", replace(ND, icmp_type=128), False, SourceCheck(W)),
    (
        "own link-local address to the host",
        replace(ND, source=ip_address(LINK_LOCAL)),
        True,
        fixed(Fixed.HOST_ND),
    ),
    (
        "own link-local address beyond the host",
        packet(W, OUTSIDE, LINK_LOCAL, "fd01::1"),
        False,
        fixed(Fixed.NO_OUTBOUND),
    ),
    (
        "somebody's link-local address without a MAC",
        packet(D, OWN_HOST, LINK_LOCAL, "fd01::1"),
        False,
        SourceCheck(D),
    ),
    # To the own host.
    ("policy decides", W_TO_HOST, True, rule(OPEN, OUT, 1)),
    ("no profile", BARE_TO_HOST, False, EndOfProfiles((), OUT)),
    (
        "established",
        replace(BARE_TO_HOST, state=ESTABLISHED),
        True,
        fixed(Fixed.ESTABLISHED),
    ),
    ("invalid", replace(BARE_TO_HOST, state=INVALID), False, fixed(Fixed.INVALID)),
    (
        "DNS pinhole",
        replace(BARE_TO_HOST, protocol=17, destination_port=53),
        True,
        fixed(Fixed.HOST_DNS),
    ),
    (
        "DNS by TCP is none",
        replace(BARE_TO_HOST, destination_port=53),
        False,
        EndOfProfiles((), OUT),
    ),
    # Forwarded.
    ("both sides allow", W_TO_D, True, rule(DB, IN, 2)),
    (
        "inbound denies",
        replace(W_TO_D, protocol=17),
        False,
        rule(DB, IN, 3),
    ),
    (
        "outbound denies first",
        replace(W_TO_D, protocol=17, destination_port=99),
        False,
        rule(WEB, OUT, 1),
    ),
    (
        "fault after no match",
        packet(D, OUTSIDE, "10.0.0.1", "192.0.2.1"),
        False,
        GONE_FAULT,
    ),
    (
        "fault inbound",
        replace(INTO_W, leaves=D, destination=W_TO_D.destination),
        False,
        GONE_FAULT,
    ),
    ("from outside", INTO_W, True, rule(WEB, IN, 1)),
    (
        "end of profiles",
        packet(OUTSIDE, BARE, "192.0.2.1", "10.0.0.3"),
        False,
        EndOfProfiles((), IN),
    ),
    ("reply", replace(D_TO_W, state=ESTABLISHED), True, fixed(Fixed.ESTABLISHED)),
    (
        "related ICMP error",
        replace(D_TO_W, protocol=1, icmp_type=3, state=RELATED),
        True,
        fixed(Fixed.RELATED),
    ),
    (
        "related to a helper's expectation is judged",
        replace(D_TO_W, state=RELATED),
        False,
        GONE_FAULT,
    ),
    (
        "ICMP of the other family is not related",
        replace(D_TO_W, protocol=58, state=RELATED),
        False,
        GONE_FAULT,
    ),
    ("invalid inbound", replace(INTO_W, state=INVALID), False, fixed(Fixed.INVALID)),
    (
        "invalid ICMP is judged",
        replace(INTO_W, protocol=1, icmp_type=8, state=INVALID),
        True,
        rule(WEB, IN, 2),
    ),
    (
        "address that the receiver does not have",
        replace(INTO_W, destination=ip_address("10.0.0.1")),
        False,
        fixed(Fixed.NO_INBOUND),
    ),
    ("unknown receiver", packet(OUTSIDE, UNKNOWN), False, fixed(Fixed.NO_INBOUND)),
    (
        "inactive receiver, established",
        replace(packet(OUTSIDE, OFF, "192.0.2.1", "10.0.0.2"), state=ESTABLISHED),
        False,
        InactiveEndpoint(OFF),
    ),
    # Not judged.
    (
        "own host",
        packet(OWN_HOST, BARE, "192.0.2.1", "10.0.0.3"),
        True,
        fixed(Fixed.OWN_HOST),
    ),
    ("own host to unknown", packet(OWN_HOST, UNKNOWN), True, fixed(Fixed.OWN_HOST)),
    ("own host to inactive", packet(OWN_HOST, OFF), False, InactiveEndpoint(OFF)),
    (
        "passing through, invalid too",
        replace(packet(OUTSIDE, OWN_HOST), state=INVALID),
        True,
        fixed(Fixed.NOT_OURS),
    ),
    (
        "workload to itself",
        packet(BARE, BARE, "10.0.0.3", "10.0.0.3"),
        True,
        fixed(Fixed.SAME_ENDPOINT),
    ),
    (
        "back to the sender, to an address it does not have",
        packet(BARE, BARE, "10.0.0.3", "10.0.0.9"),
        False,
        EndOfProfiles((), OUT),
    ),
    (
        "unknown to itself",
        packet(UNKNOWN, UNKNOWN),
        False,
        fixed(Fixed.UNKNOWN_INTERFACE),
    ),
]


@pytest.mark.parametrize(
    ("given", "allowed", "origin"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_verdict_and_what_decided_it(
    given: Packet, origin: Origin, *, allowed: bool
) -> None:
    trace = evaluate(STATE, given)
    assert (trace.allowed, trace.origin) == (allowed, origin)


def test_drop_to_host_does_not_ask_outbound_policy() -> None:
    trace = evaluate(DROP_TO_HOST, W_TO_HOST)
    assert not trace.allowed
    assert trace.origin == FixedOrigin(Fixed.ENDPOINT_TO_HOST)
    assert [step.stage for step in trace.steps] == [
        Stage.SOURCE_CHECK,
        Stage.PINHOLES,
        Stage.TO_HOST,
    ]
    dns = replace(W_TO_HOST, protocol=17, destination_port=53)
    assert evaluate(DROP_TO_HOST, dns).allowed
    assert evaluate(DROP_TO_HOST, W_OUT).allowed


def test_trace_shows_every_rule_tried_and_what_did_not_match() -> None:
    trace = evaluate(STATE, W_TO_D)
    assert [(step.stage, step.profile, step.outcome) for step in trace.steps] == [
        (Stage.SOURCE_CHECK, None, Action.ALLOW),
        (Stage.OUTBOUND, WEB, None),
        (Stage.OUTBOUND, OPEN, Action.ALLOW),
        (Stage.INBOUND, DB, Action.ALLOW),
    ]

    def tried(trials: tuple[Trial, ...]) -> list[tuple[Origin, Miss | None]]:
        return [(trial.rule.origin, trial.miss) for trial in trials]

    assert tried(trace.steps[1].trials) == [(rule(WEB, OUT, 1), Miss.PROTOCOL)]
    assert tried(trace.steps[3].trials) == [
        (rule(DB, IN, 1), Miss.FAMILY),
        (rule(DB, IN, 2), None),
    ]


def test_undecodable_tags_deny_before_any_rule() -> None:
    broken = replace(SNAPSHOT, tags={OPEN: Undecodable("/tags", "why")})
    trace = evaluate(compile_host(broken, HOST), W_OUT)
    assert trace.origin == FaultOrigin(OPEN, Fault.UNDECODABLE_TAGS)
    assert trace.steps[-1].profile == OPEN


def test_state_with_holes_denies() -> None:
    without_pipelines = replace(STATE, pipelines={})
    trace = evaluate(without_pipelines, W_OUT)
    assert trace.origin == EndOfProfiles((WEB, OPEN), OUT)
    without_profiles = replace(STATE, profiles={})
    trace = evaluate(without_profiles, W_OUT)
    assert trace.origin == FaultOrigin(WEB, Fault.MISSING)


def test_empty_state_lets_only_the_host_and_others_pass() -> None:
    empty = DesiredState()
    assert not evaluate(empty, W_TO_D).allowed
    assert not evaluate(empty, INTO_W).allowed
    assert evaluate(empty, packet(OUTSIDE, OUTSIDE)).allowed


def test_rules_from_elsewhere_are_tried_too() -> None:
    compiled = STATE.profiles[DB]
    strange = replace(compiled.never[0], origin=FixedOrigin(Fixed.HOST_DNS))
    inbound = [
        replace(each, origin=FixedOrigin(Fixed.HOST_DNS))
        for each in compiled.rules[IN, W_TO_D.family]
    ]
    profile = replace(
        compiled,
        rules={**compiled.rules, (IN, W_TO_D.family): tuple(inbound)},
        never=(*compiled.never, strange),
    )
    state = replace(STATE, profiles={**STATE.profiles, DB: profile})
    assert evaluate(state, W_TO_D).origin == FixedOrigin(Fixed.HOST_DNS)


def test_shut_profile_denies_at_its_position() -> None:
    closed = {**SNAPSHOT.endpoints, W: replace(ENDPOINTS[0], profile_ids=(SHUT, OPEN))}
    state = compile_host(replace(SNAPSHOT, endpoints=closed), HOST)
    assert evaluate(state, W_OUT).origin == FaultOrigin(SHUT, Fault.MISSING)


# Packets within packets.

GUARDED = replace(
    STATE,
    guard=TunnelGuard(
        frozenset({Carrier.VXLAN}), frozenset({IPv4Address("172.31.0.2")})
    ),
)


def vxlan(
    enters: Place, leaves: Place, source: str, destination: str, number: int = VXLAN_ID
) -> Packet:
    made = packet(enters, leaves, source, destination, UDP)
    return replace(made, destination_port=VXLAN_PORT, vxlan_id=number)


@pytest.mark.parametrize(
    ("given", "is_dropped"),
    [
        # Only a host of the cluster sends into the tunnel.
        (vxlan(OUTSIDE, OWN_HOST, "172.31.0.9", "172.31.0.1"), True),
        (vxlan(OUTSIDE, OWN_HOST, "172.31.0.2", "172.31.0.1"), False),
        (vxlan(OUTSIDE, OWN_HOST, "172.31.0.9", "172.31.0.1", 77), False),
        (vxlan(OWN_HOST, OUTSIDE, "172.31.0.1", "172.31.0.2"), False),
        # What passes could leave with the address of this host.
        (vxlan(OUTSIDE, OUTSIDE, "172.17.0.2", "172.31.0.2"), True),
        (vxlan(OUTSIDE, OUTSIDE, "172.17.0.2", "192.0.2.1"), False),
        (vxlan(W, OUTSIDE, "10.0.0.0", "172.31.0.2"), True),
        (vxlan(W, OWN_HOST, "10.0.0.0", "172.31.0.1"), True),
        (vxlan(W, OUTSIDE, "10.0.0.0", "192.0.2.1"), False),
    ],
)
def test_tunnel_packet_of_a_stranger_is_dropped(
    given: Packet, *, is_dropped: bool
) -> None:
    trace = evaluate(GUARDED, given)
    origin = FixedOrigin(Fixed.FOREIGN_TUNNEL)
    assert (trace.origin == origin) == is_dropped
    assert trace.allowed != is_dropped
    # Without a tunnel there is nothing to guard.
    assert evaluate(STATE, given).origin != origin


def test_source_is_checked_before_the_tunnel() -> None:
    spoofed = vxlan(W, OUTSIDE, "172.31.0.9", "172.31.0.2")
    assert evaluate(GUARDED, spoofed).origin == SourceCheck(W)
