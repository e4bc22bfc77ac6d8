"""Flows as connection tracking knows them: for the judge, and in words."""

from calico.linux.conntrack_wire import Flow
from calico.netset import Address
from calico.verdict import cut

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}


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


def describe_flow(flow: Flow) -> str:
    """Say which flow it is: protocol, addresses, ports."""
    protocol = _PROTOCOLS.get(flow.protocol, f"protocol {flow.protocol}")
    source = _end(flow.original.source, flow.original.source_port)
    destination = _end(flow.reply.source, flow.reply.source_port)
    return f"{protocol} {source} > {destination}"


def _end(address: Address, port: int) -> str:
    if not port:
        return str(address)
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"  # noqa: PLR2004 -- IPv4
