"""How the guard of tunnels is spelt."""

from ipaddress import IPv4Address

from calico.ir.drop_name import DropName
from calico.ir.origin import Fixed, FixedOrigin
from calico.ir.routing import Carrier
from calico.ir.tunnel import NO_GUARD, TunnelGuard
from calico.model.rule import Direction
from calico.render.objects import (
    Compare,
    Count,
    Field,
    HookPoint,
    InSet,
    Log,
    Ruleset,
    Verdict,
    VerdictKind,
)
from calico.render.tunnel import TUNNEL_HOSTS, render_guard_of

HOSTS = frozenset({IPv4Address("172.31.0.2"), IPv4Address("172.31.0.3")})
ORIGIN = FixedOrigin(Fixed.FOREIGN_TUNNEL)
STRANGER = InSet((Field.IP4_SOURCE,), "tunnel-hosts", is_negated=True)
TO_A_HOST = InSet((Field.IP4_DESTINATION,), "tunnel-hosts")
END = (Count(), Verdict(VerdictKind.DROP))
V4 = Compare(Field.NFPROTO, b"\x02")
VXLAN = (
    Compare(Field.L4PROTO, b"\x11"),
    Compare(Field.DESTINATION_PORT, b"\x12\xb5"),
    Compare(Field.VXLAN_ID, b"\x00\x10\x00"),
)


def guard(*carriers: Carrier, logs_drops: bool = False) -> TunnelGuard:
    return TunnelGuard(frozenset(carriers), HOSTS, logs_drops)


def test_host_without_tunnels_has_no_chain_for_them() -> None:
    assert render_guard_of(NO_GUARD) == Ruleset()


def test_strangers_are_dropped_where_packets_arrive_and_where_they_pass() -> None:
    made = render_guard_of(guard(Carrier.VXLAN))
    assert made.members == {TUNNEL_HOSTS.name: {each.packed for each in HOSTS}}
    arriving, passing = made.chains["tunnel-input"], made.chains["tunnel-forward"]
    (drop,) = arriving.rules
    assert (drop.statements, drop.comment) == (
        (V4, *VXLAN, STRANGER, *END),
        ORIGIN.text,
    )
    (drop,) = passing.rules
    assert drop.statements == (V4, *VXLAN, STRANGER, TO_A_HOST, *END)
    hooks = [each.hook for each in (arriving, passing)]
    points = [each.point for each in hooks if each is not None]
    assert points == [HookPoint.INPUT, HookPoint.FORWARD]
    # Before what judges workloads, which may accept.
    assert all(each is not None and each.priority < 0 for each in hooks)


def test_each_tunnel_is_guarded_by_a_rule_of_its_own() -> None:
    made = render_guard_of(guard(Carrier.VXLAN, Carrier.IPIP))
    ipip, vxlan = made.chains["tunnel-input"].rules
    assert ipip.statements == (V4, Compare(Field.L4PROTO, b"\x04"), STRANGER, *END)
    assert vxlan.statements[: len(VXLAN) + 1] == (V4, *VXLAN)


def test_drop_is_told_to_the_log_where_drops_are() -> None:
    made = render_guard_of(guard(Carrier.VXLAN, logs_drops=True))
    for chain in made.chains.values():
        log, drop = chain.rules
        told = [each for each in log.statements if isinstance(each, Log)]
        assert [each.prefix for each in told] == [
            DropName(Direction.OUTBOUND, ORIGIN).prefix
        ]
        assert drop.statements[-2:] == END
