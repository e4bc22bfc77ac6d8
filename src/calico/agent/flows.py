"""Flows as connection tracking knows them: for the judge, and for reports."""

from calico.control.cuts import CutFlow, Side
from calico.ir.origin import (
    EndOfProfiles,
    FaultOrigin,
    Origin,
    RuleOrigin,
    endpoint_text,
)
from calico.linux.conntrack_wire import Flow
from calico.verdict import cut
from calico.verdict.trace import Stage, Trace

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
_ICMP = frozenset({1, 58})


def to_be_judged(flow: Flow) -> cut.Flow:
    """Return a flow's first packet, at the target that translation has given it."""
    return cut.Flow(
        source=flow.original.source,
        destination=flow.reply.source,
        protocol=flow.protocol,
        source_port=flow.original.source_port,
        destination_port=flow.reply.source_port,
        icmp_type=flow.original.icmp_type,
        icmp_code=flow.original.icmp_code,
    )


def report_cut(flow: Flow, denial: Trace, at: str) -> CutFlow:
    """Say which flow is cut, and by what.

    Args:
        flow: The flow.
        denial: Why it is denied.
        at: When it is cut.
    """
    one, step = flow.original, denial.steps[-1]
    # Only TCP, UDP and their like have ports; the kernel says 0 for the rest.
    has_ports = bool(one.source_port or flow.reply.source_port)
    is_icmp = flow.protocol in _ICMP
    side = Side.DESTINATION if step.stage is Stage.INBOUND else Side.SOURCE
    profile, direction, number = _rule(denial.origin, side)
    return CutFlow(
        at=at,
        protocol=_PROTOCOLS.get(flow.protocol, f"protocol {flow.protocol}"),
        source=str(one.source),
        destination=str(flow.reply.source),
        source_port=one.source_port if has_ports else None,
        destination_port=flow.reply.source_port if has_ports else None,
        icmp_type=one.icmp_type if is_icmp else None,
        icmp_code=one.icmp_code if is_icmp else None,
        rule=denial.origin.text,
        profile=profile,
        direction=direction,
        number=number,
        endpoint="" if step.endpoint is None else endpoint_text(step.endpoint),
        side=side,
    )


def _rule(origin: Origin, side: Side) -> tuple[str | None, str | None, int | None]:
    """Return profile, direction and number of what denies, as far as it has them."""
    match origin:
        case RuleOrigin():
            return origin.profile, origin.direction.value, origin.number
        case EndOfProfiles():
            return None, origin.direction.value, None
        case FaultOrigin():
            is_inbound = side is Side.DESTINATION
            return origin.profile, "inbound" if is_inbound else "outbound", None
        case _:
            return None, None, None
