import struct

import pytest

from calico.linux.netfilter import attribute, be32, be64, nest, string
from calico.linux.nft_codec import generic_header
from calico.linux.nft_trace import (
    TraceEvent,
    TraceKind,
    TraceVerdict,
    decode_event,
)
from calico.linux.nft_wire import TraceAttr, VerdictAttr

INET = 1
NETWORK, TRANSPORT = b"E" * 20, b"T" * 8


def body(kind: int, *rest: bytes) -> bytes:
    return b"".join(
        (
            generic_header(INET),
            string(TraceAttr.TABLE, "calico"),
            string(TraceAttr.CHAIN, "input"),
            be32(TraceAttr.TYPE, kind),
            be32(TraceAttr.ID, 7),
            *rest,
        )
    )


def verdict(code: int, chain: str | None = None) -> bytes:
    target = b"" if chain is None else string(VerdictAttr.CHAIN, chain)
    return nest(TraceAttr.VERDICT, be32(VerdictAttr.CODE, code), target)


def test_rule_is_told_with_handle_headers_and_interfaces() -> None:
    message = body(
        3,
        be64(TraceAttr.HANDLE, 1 << 40),
        verdict(-4, "to-host"),
        be32(TraceAttr.IN_INDEX, 4),
        be32(TraceAttr.OUT_INDEX, 5),
        attribute(TraceAttr.NETWORK_HEADER, NETWORK),
        attribute(TraceAttr.TRANSPORT_HEADER, TRANSPORT),
    )
    assert decode_event(message) == TraceEvent(
        packet=7,
        family=INET,
        table="calico",
        chain="input",
        kind=TraceKind.RULE,
        handle=1 << 40,
        verdict=TraceVerdict.GOTO,
        target="to-host",
        in_index=4,
        out_index=5,
        network_header=NETWORK,
        transport_header=TRANSPORT,
    )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, TraceVerdict.DROP),
        (1, TraceVerdict.ACCEPT),
        (2, TraceVerdict.STOLEN),
        (3, TraceVerdict.QUEUE),
        (5 << 16 | 3, TraceVerdict.QUEUE),
        (1 << 16, TraceVerdict.DROP),
        (-1, TraceVerdict.CONTINUE),
        (-3, TraceVerdict.JUMP),
        (-5, TraceVerdict.RETURN),
    ],
)
def test_verdict_is_read_without_its_argument(
    code: int, expected: TraceVerdict
) -> None:
    event = decode_event(body(3, verdict(code)))
    assert event is not None
    assert event.verdict is expected


@pytest.mark.parametrize(
    ("policy", "expected"), [(0, TraceVerdict.DROP), (1, TraceVerdict.ACCEPT)]
)
def test_policy_is_a_verdict(policy: int, expected: TraceVerdict) -> None:
    event = decode_event(body(1, be32(TraceAttr.POLICY, policy)))
    assert event is not None
    assert (event.kind, event.verdict) == (TraceKind.POLICY, expected)


@pytest.mark.parametrize("message", [body(0), body(9), body(3, verdict(-99))])
def test_unknown_kind_or_verdict_is_left_out(message: bytes) -> None:
    assert decode_event(message) is None


def test_final_are_the_verdicts_that_end_a_base_chain() -> None:
    final = {each for each in TraceVerdict if each.is_final}
    assert {each.value for each in final} == {"accept", "drop", "stolen", "queue"}


def test_number_of_the_packet_is_unsigned() -> None:
    raw = struct.pack(">I", 0xFFFFFFFF)
    message = generic_header(INET) + attribute(TraceAttr.ID, raw)
    rest = be32(TraceAttr.TYPE, 1) + be32(TraceAttr.POLICY, 1)
    event = decode_event(message + rest)
    assert event is not None
    assert event.packet == 0xFFFFFFFF
