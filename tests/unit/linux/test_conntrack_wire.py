from ipaddress import ip_address

import pytest

from calico.linux.conntrack_wire import (
    Flow,
    FlowTuple,
    decode_flow,
    encode_deletion,
    encode_tuple,
)
from calico.linux.netfilter import attribute, attributes, be32, nest

A4, B4, C4 = (ip_address(f"192.0.2.{n}") for n in (1, 2, 3))
A6, B6 = ip_address("2001:db8::1"), ip_address("2001:db8::2")

FLOWS = [
    Flow(4, 6, FlowTuple(A4, B4, 40000, 80), FlowTuple(B4, A4, 80, 40000), 7),
    Flow(6, 17, FlowTuple(A6, B6, 40000, 53), FlowTuple(B6, A6, 53, 40000), 8),
    Flow(
        4,
        1,
        FlowTuple(A4, B4, icmp_id=9, icmp_type=8),
        FlowTuple(B4, A4, icmp_id=9),
        flow_id=2**32 - 1,
        zone=5,
    ),
    Flow(
        6,
        58,
        FlowTuple(A6, B6, icmp_id=9, icmp_type=128, icmp_code=1),
        FlowTuple(B6, A6, icmp_id=9, icmp_type=129),
        flow_id=10,
    ),
]


@pytest.mark.parametrize("flow", FLOWS)
def test_deletion_names_the_flow_and_its_first_direction(flow: Flow) -> None:
    body = encode_deletion(flow)
    found = dict(attributes(body[4:]))
    # A dump has the reply too; here the original stands in for it.
    read = decode_flow(body[0], body[4:] + nest(2, found[1]))
    assert read is not None
    assert (read.family, read.protocol, read.original, read.flow_id, read.zone) == (
        flow.family,
        flow.protocol,
        flow.original,
        flow.flow_id,
        flow.zone,
    )


def test_flow_of_another_family_is_passed_over() -> None:
    assert decode_flow(7, be32(12, 1)) is None


def test_translated_flow_concerns_the_real_target() -> None:
    flow = Flow(4, 6, FlowTuple(A4, C4, 1, 2), FlowTuple(B4, A4, 2, 1), 1)
    assert [flow.concerns(each) for each in (A4, B4, C4)] == [True, True, False]


def listed(flow: Flow, *, before: bytes = b"") -> bytes:
    """Return a flow as the kernel lists it, perhaps behind something unknown."""
    zone = attribute(18, flow.zone.to_bytes(2, "big")) if flow.zone else b""
    return b"".join(
        (
            before,
            nest(1, encode_tuple(flow.original, flow.protocol)),
            nest(2, encode_tuple(flow.reply, flow.protocol)),
            zone,
            be32(12, flow.flow_id),
        )
    )


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("before", [b"", be32(99, 1)])
def test_flow_is_read_the_same_in_one_piece_and_by_attributes(
    flow: Flow, before: bytes
) -> None:
    number = 2 if flow.family == 4 else 10
    payload = listed(flow, before=before)
    assert decode_flow(number, payload) == flow
    other = frozenset({C4.packed})
    assert decode_flow(number, payload, other) is None
    for end in (flow.original.source, flow.reply.source):
        assert decode_flow(number, payload, other | {end.packed}) == flow
