"""Print what keeps strangers out of the tunnels of a host.

The chains come before those that judge workloads: what would be unwrapped here
is dropped where it is about to be delivered, and what is on its way to another
host's tunnel where it is forwarded, before it could get this host's address.
"""

from calico.ir.drop_name import DropName
from calico.ir.origin import Fixed, FixedOrigin
from calico.ir.routing import Carrier
from calico.ir.tunnel import IPIP, UDP, VXLAN_ID, VXLAN_PORT, TunnelGuard
from calico.model.rule import Direction
from calico.netset import Family
from calico.render.base import FILTER_PRIORITY, is_family
from calico.render.drops import with_log
from calico.render.objects import (
    Chain,
    Compare,
    Field,
    Hook,
    HookPoint,
    HookType,
    InSet,
    NftRule,
    Ruleset,
    SetSpec,
    Statement,
)
from calico.render.rules import render_drop

TUNNEL_HOSTS = SetSpec("tunnel-hosts", (Field.IP4_SOURCE,))
_ORIGIN = FixedOrigin(Fixed.FOREIGN_TUNNEL)
_NAME = DropName(Direction.OUTBOUND, _ORIGIN)
_HOOKS = {"tunnel-input": HookPoint.INPUT, "tunnel-forward": HookPoint.FORWARD}
_OF_CARRIER: dict[Carrier, tuple[Statement, ...]] = {
    Carrier.NONE: (),
    Carrier.IPIP: (Compare(Field.L4PROTO, bytes((IPIP,))),),
    Carrier.VXLAN: (
        Compare(Field.L4PROTO, bytes((UDP,))),
        Compare(Field.DESTINATION_PORT, VXLAN_PORT.to_bytes(2, "big")),
        Compare(Field.VXLAN_ID, VXLAN_ID.to_bytes(3, "big")),
    ),
}


def render_guard_of(guard: TunnelGuard) -> Ruleset:
    """Print the chains and the set of hosts; nothing when there is no tunnel."""
    if not guard.carriers:
        return Ruleset()
    chains = {
        name: Chain(
            name,
            _rules(guard, point),
            Hook(HookType.FILTER, point, FILTER_PRIORITY - 1),
        )
        for name, point in _HOOKS.items()
    }
    return Ruleset(
        chains=chains,
        sets={TUNNEL_HOSTS.name: TUNNEL_HOSTS},
        members={TUNNEL_HOSTS.name: frozenset(each.packed for each in guard.senders)},
    )


def _rules(guard: TunnelGuard, point: HookPoint) -> tuple[NftRule, ...]:
    name = TUNNEL_HOSTS.name
    stranger = InSet((Field.IP4_SOURCE,), name, is_negated=True)
    to_a_host: tuple[Statement, ...] = (InSet((Field.IP4_DESTINATION,), name),)
    where = to_a_host if point is HookPoint.FORWARD else ()
    return tuple(
        rule
        for carrier in sorted(guard.carriers, key=lambda each: each.value)
        for rule in with_log(
            render_drop(
                _ORIGIN,
                is_family(Family.V4),
                *_OF_CARRIER[carrier],
                stranger,
                *where,
            ),
            _NAME,
            is_logged=guard.logs_drops,
        )
    )
