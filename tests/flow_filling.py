"""Fill connection tracking with flows that no packet has made."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from itertools import islice

from calico.linux.conntrack_wire import (
    FAMILY_NUMBERS,
    TUPLE_ORIGINAL,
    TUPLE_REPLY,
    Flow,
    FlowTuple,
    encode_tuple,
)
from calico.linux.netfilter import (
    CREATE,
    HEADER,
    REQUEST,
    NetlinkSocket,
    attribute,
    be32,
    nest,
    read_refusal,
)
from calico.linux.nft_codec import generic_header
from calico.netset import Address

# linux/netfilter/nfnetlink_conntrack.h and nf_conntrack_common.h
_NEW = 1 << 8
_EXCLUSIVE = 0x200
_STATUS, _PROTOCOL_INFO, _TIMEOUT, _TCP, _TCP_STATE = 3, 4, 7, 1, 1
_CONFIRMED_AND_ASSURED = 0xE
_TCP_ESTABLISHED = 3
_LIFE_S = 600
_PER_SEND = 500


def tcp_flow(
    source: str | Address, destination: str | Address, source_port: int, port: int
) -> Flow:
    """Make a flow as connection tracking would know it."""
    one, other = ip_address(source), ip_address(destination)
    return Flow(
        one.version,
        6,
        FlowTuple(one, other, source_port, port),
        FlowTuple(other, one, port, source_port),
        flow_id=0,
    )


def insert_flows(flows: Iterable[Flow]) -> int:
    """Put established TCP flows into connection tracking; return how many."""
    netlink = NetlinkSocket.open()
    netlink.widen(send_bytes=4 << 20, receive_bytes=4 << 20)
    remaining, n_flows = iter(flows), 0
    while messages := list(islice(_messages(netlink, remaining), _PER_SEND)):
        netlink.send(b"".join(messages))
        refusals = [read_refusal(each) for each in netlink.answers()]
        assert not any(refusals), refusals
        n_flows += len(messages)
    netlink.close()
    return n_flows


def _messages(netlink: NetlinkSocket, flows: Iterator[Flow]) -> Iterator[bytes]:
    established = attribute(_TCP_STATE, bytes((_TCP_ESTABLISHED,)))
    for flow in flows:
        body = b"".join(
            (
                generic_header(FAMILY_NUMBERS[flow.family]),
                nest(TUPLE_ORIGINAL, encode_tuple(flow.original, flow.protocol)),
                nest(TUPLE_REPLY, encode_tuple(flow.reply, flow.protocol)),
                be32(_STATUS, _CONFIRMED_AND_ASSURED),
                be32(_TIMEOUT, _LIFE_S),
                nest(_PROTOCOL_INFO, nest(_TCP, established)),
            )
        )
        flags = REQUEST | CREATE | _EXCLUSIVE
        size, sequence = HEADER.size + len(body), netlink.next_sequence()
        yield HEADER.pack(size, _NEW, flags, sequence, 0) + body
