"""Write statements as the kernel's expressions.

A field is loaded into registers and then tested there. Attributes come in the
order in which the kernel dumps them and registers under the names that it
dumps, so that what is read back differs from what was written only in counters
and in the names of anonymous sets.

A concatenation occupies consecutive 32-bit registers, each field on a boundary
of its own; the first is also called register 1, sixteen bytes wide.
"""

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import assert_never

from calico.linux.netfilter import attribute, be32, be64, nest, string
from calico.linux.nft_wire import (
    COUNTER_BYTES,
    COUNTER_PACKETS,
    DYNSET_EXPRESSION,
    DYNSET_FLAGS,
    DYNSET_OP,
    DYNSET_SET,
    DYNSET_SREG,
    DYNSET_TIMEOUT,
    DYNSET_UPDATE,
    EXPRESSION_DATA,
    EXPRESSION_NAME,
    IMMEDIATE_DATA,
    IMMEDIATE_DREG,
    LIMIT_BURST,
    LIMIT_FLAGS,
    LIMIT_PACKETS,
    LIMIT_RATE,
    LIMIT_TYPE,
    LIMIT_UNIT,
    LIST_ELEMENT,
    LOG_GROUP,
    LOG_PREFIX,
    LOOKUP_DREG,
    LOOKUP_FLAGS,
    LOOKUP_INVERTED,
    LOOKUP_SET,
    LOOKUP_SET_ID,
    LOOKUP_SREG,
    VERDICT_ACCEPT,
    VERDICT_DROP,
    VERDICT_GOTO,
    VERDICT_JUMP,
    VERDICT_RETURN,
    Data,
    VerdictAttr,
)
from calico.render.objects import (
    Compare,
    Count,
    CtState,
    CtStateIs,
    Field,
    InRanges,
    InSet,
    LimitEach,
    Log,
    LookUpVerdict,
    Masquerade,
    Statement,
    Verdict,
    VerdictKind,
)

_VERDICT_REGISTER = 0
_FIRST_REGISTER = 1
_REGISTER_BYTES = 4
_ATTRIBUTE_BYTES = 4
_REGISTERS_PER_WIDE = 4
_FIRST_NARROW = 8

_META_DREG, _META_KEY = 1, 2
_PAYLOAD_DREG, _PAYLOAD_BASE, _PAYLOAD_OFFSET, _PAYLOAD_LENGTH = 1, 2, 3, 4
_CMP_SREG, _CMP_OP, _CMP_DATA = 1, 2, 3
_RANGE_SREG, _RANGE_OP, _RANGE_FROM, _RANGE_TO = 1, 2, 3, 4
_BITWISE_SREG, _BITWISE_DREG, _BITWISE_LENGTH = 1, 2, 3
_BITWISE_MASK, _BITWISE_XOR, _BITWISE_OP = 4, 5, 6
_CT_DREG, _CT_KEY = 1, 2
_CT_STATE = 0
_EQUAL, _NOT_EQUAL = 0, 1

_META_KEYS = {
    Field.IIFNAME: 6,
    Field.OIFNAME: 7,
    Field.NFPROTO: 15,
    Field.L4PROTO: 16,
}

_LINK, _NETWORK, _TRANSPORT = 0, 1, 2
_PLACES = {
    Field.ETHER_SOURCE: (_LINK, 6),
    Field.IP4_SOURCE: (_NETWORK, 12),
    Field.IP4_DESTINATION: (_NETWORK, 16),
    Field.IP6_SOURCE: (_NETWORK, 8),
    Field.IP6_DESTINATION: (_NETWORK, 24),
    Field.SOURCE_PORT: (_TRANSPORT, 0),
    Field.DESTINATION_PORT: (_TRANSPORT, 2),
    # Of the eight bytes behind UDP's header, five to seven.
    Field.VXLAN_ID: (_TRANSPORT, 12),
    Field.ICMP_TYPE: (_TRANSPORT, 0),
    Field.ICMP_CODE: (_TRANSPORT, 1),
}

_VERDICT_CODES = {
    VerdictKind.ACCEPT: VERDICT_ACCEPT,
    VerdictKind.DROP: VERDICT_DROP,
    VerdictKind.JUMP: VERDICT_JUMP,
    VerdictKind.GOTO: VERDICT_GOTO,
    VerdictKind.RETURN: VERDICT_RETURN,
}
VERDICT_KINDS = {code: kind for kind, code in _VERDICT_CODES.items()}
"""The verdicts that we use, by the kernel's number."""

NewAnonymousSet = Callable[[InRanges], int]
"""Makes a set for the ranges in the same transaction and returns its number."""

ANONYMOUS_NAME = "__set%d"


def expression(name: str, *parts: bytes) -> bytes:
    """Return one expression as an element of a list."""
    return nest(
        LIST_ELEMENT, string(EXPRESSION_NAME, name), nest(EXPRESSION_DATA, *parts)
    )


COUNTER = expression("counter", be64(COUNTER_BYTES, 0), be64(COUNTER_PACKETS, 0))
"""A counter that starts at nothing."""


def encode_statement(statement: Statement, new_set: NewAnonymousSet) -> bytes:
    """Return the expressions of one statement.

    Args:
        statement: What to write.
        new_set: Called when the statement needs a set without a name.
    """
    match statement:
        case InRanges() if needs_set(statement):
            return _in_several(statement, new_set(statement))
        case _:
            return encode_simple(statement)


def needs_set(statement: InRanges) -> bool:
    """Tell whether the ranges are too many for one comparison."""
    return len(statement.ranges) > 1


@lru_cache(maxsize=16_384)
def encode_simple(statement: Statement) -> bytes:
    """Return the expressions of a statement that needs no set of its own.

    Raises:
        ValueError: There is no range to be in, or more than one.
    """
    match statement:
        case Compare() | InRanges() | InSet() | CtStateIs():
            return _encode_test(statement)
        case LookUpVerdict():
            return load(statement.look_at) + _look_up_verdict(statement.map_name)
        case LimitEach():
            return load(statement.look_at) + _limit_each(statement)
        case Log() | Count() | Masquerade() | Verdict():
            return _encode_effect(statement)
        case _:
            assert_never(statement)


def _encode_effect(statement: Log | Count | Masquerade | Verdict) -> bytes:
    match statement:
        case Log():
            group = attribute(LOG_GROUP, statement.group.to_bytes(2, "big"))
            return expression("log", group, string(LOG_PREFIX, statement.prefix))
        case Count():
            return COUNTER
        case Masquerade():
            return expression("masq")
        case Verdict():
            return expression(
                "immediate",
                be32(IMMEDIATE_DREG, _VERDICT_REGISTER),
                nest(IMMEDIATE_DATA, encode_verdict(statement)),
            )
        case _:
            assert_never(statement)


def _encode_test(statement: Compare | InRanges | InSet | CtStateIs) -> bytes:
    match statement:
        case Compare():
            return _compare(statement)
        case InRanges():
            return _in_one(statement)
        case InSet():
            return load(statement.look_at) + _look_up(
                string(LOOKUP_SET, statement.set_name),
                is_negated=statement.is_negated,
            )
        case CtStateIs():
            return _ct_state(statement.state)
        case _:
            assert_never(statement)


@lru_cache(maxsize=16_384)
def encode_verdict(verdict: Verdict) -> bytes:
    """Return a verdict as a data attribute."""
    parts = [be32(VerdictAttr.CODE, _VERDICT_CODES[verdict.kind])]
    if verdict.chain is not None:
        parts.append(string(VerdictAttr.CHAIN, verdict.chain))
    return nest(Data.VERDICT, *parts)


@lru_cache(maxsize=256)
def load(fields: tuple[Field, ...]) -> bytes:
    """Return the expressions that put fields into consecutive registers."""
    parts: list[bytes] = []
    at = 0
    for each in fields:
        parts.append(_load_one(each, _register(at)))
        at += -(-each.n_bytes // _REGISTER_BYTES)
    return b"".join(parts)


def _register(at: int) -> int:
    """Name the register that is `at` 32-bit registers after the first."""
    wide, rest = divmod(at, _REGISTERS_PER_WIDE)
    return _FIRST_NARROW + at if rest else _FIRST_REGISTER + wide


def _load_one(look_at: Field, register: int) -> bytes:
    if look_at in _META_KEYS:
        key = be32(_META_KEY, _META_KEYS[look_at])
        return expression("meta", key, be32(_META_DREG, register))
    base, offset = _PLACES[look_at]
    return expression(
        "payload",
        be32(_PAYLOAD_DREG, register),
        be32(_PAYLOAD_BASE, base),
        be32(_PAYLOAD_OFFSET, offset),
        be32(_PAYLOAD_LENGTH, look_at.n_bytes),
    )


def _value(kind: int, value: bytes) -> bytes:
    return nest(kind, attribute(Data.VALUE, value))


def _cmp(value: bytes, *, is_negated: bool) -> bytes:
    return expression(
        "cmp",
        be32(_CMP_SREG, _FIRST_REGISTER),
        be32(_CMP_OP, _NOT_EQUAL if is_negated else _EQUAL),
        _value(_CMP_DATA, value),
    )


def _bitwise(mask: bytes) -> bytes:
    return expression(
        "bitwise",
        be32(_BITWISE_SREG, _FIRST_REGISTER),
        be32(_BITWISE_DREG, _FIRST_REGISTER),
        be32(_BITWISE_LENGTH, len(mask)),
        be32(_BITWISE_OP, 0),
        _value(_BITWISE_MASK, mask),
        _value(_BITWISE_XOR, bytes(len(mask))),
    )


def _compare(statement: Compare) -> bytes:
    masked = b"" if statement.mask is None else _bitwise(statement.mask)
    test = _cmp(statement.value, is_negated=statement.is_negated)
    return load((statement.look_at,)) + masked + test


def _in_one(statement: InRanges) -> bytes:
    if len(statement.ranges) != 1:
        raise ValueError(f"one range expected, not {len(statement.ranges)}")
    size = statement.look_at.n_bytes
    first, last = (end.to_bytes(size, "big") for end in statement.ranges[0])
    if first == last:
        test = _cmp(first, is_negated=statement.is_negated)
    else:
        test = expression(
            "range",
            be32(_RANGE_SREG, _FIRST_REGISTER),
            be32(_RANGE_OP, _NOT_EQUAL if statement.is_negated else _EQUAL),
            _value(_RANGE_FROM, first),
            _value(_RANGE_TO, last),
        )
    return load((statement.look_at,)) + test


def _in_several(statement: InRanges, number: int) -> bytes:
    chosen = string(LOOKUP_SET, ANONYMOUS_NAME) + be32(LOOKUP_SET_ID, number)
    test = _look_up(chosen, is_negated=statement.is_negated)
    return load((statement.look_at,)) + test


def _look_up(chosen: bytes, *, is_negated: bool) -> bytes:
    return expression(
        "lookup",
        chosen,
        be32(LOOKUP_SREG, _FIRST_REGISTER),
        be32(LOOKUP_FLAGS, LOOKUP_INVERTED if is_negated else 0),
    )


def _look_up_verdict(name: str) -> bytes:
    return expression(
        "lookup",
        string(LOOKUP_SET, name),
        be32(LOOKUP_SREG, _FIRST_REGISTER),
        be32(LOOKUP_DREG, _VERDICT_REGISTER),
        be32(LOOKUP_FLAGS, 0),
    )


def _limit_each(statement: LimitEach) -> bytes:
    limit = expression(
        "limit",
        be64(LIMIT_RATE, statement.per_second),
        be64(LIMIT_UNIT, 1),
        be32(LIMIT_BURST, statement.burst),
        be32(LIMIT_TYPE, LIMIT_PACKETS),
        be32(LIMIT_FLAGS, 0),
    )
    return expression(
        "dynset",
        string(DYNSET_SET, statement.set_name),
        be32(DYNSET_OP, DYNSET_UPDATE),
        be32(DYNSET_SREG, _FIRST_REGISTER),
        # Nothing here means what the set says.
        be64(DYNSET_TIMEOUT, 0),
        # One expression is not in a list: same bytes, other number.
        nest(DYNSET_EXPRESSION, limit[_ATTRIBUTE_BYTES:]),
        be32(DYNSET_FLAGS, 0),
    )


def _ct_state(state: CtState) -> bytes:
    # The kernel keeps the state as a number in the host's order.
    bit = state.value.to_bytes(4, sys.byteorder)
    return (
        expression("ct", be32(_CT_DREG, _FIRST_REGISTER), be32(_CT_KEY, _CT_STATE))
        + _bitwise(bit)
        + _cmp(bytes(4), is_negated=True)
    )
