import pytest

from calico.linux.netfilter import attributes, read_be32, read_string
from calico.linux.nft_expressions import encode_statement, load
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

F = Field


def no_set(statement: InRanges) -> int:
    raise AssertionError(statement)


def names(expressions: bytes) -> list[str]:
    return [
        read_string(dict(attributes(each))[1]) for _, each in attributes(expressions)
    ]


def fields_of(expressions: bytes, index: int) -> dict[int, bytes]:
    found = [each for _, each in attributes(expressions)]
    return dict(attributes(dict(attributes(found[index]))[2]))


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (Compare(F.IIFNAME, b"cali"), ["meta", "cmp"]),
        (Compare(F.IP4_SOURCE, bytes(4), b"\xff\0\0\0"), ["payload", "bitwise", "cmp"]),
        (InRanges(F.SOURCE_PORT, ((80, 80),)), ["payload", "cmp"]),
        (InRanges(F.SOURCE_PORT, ((80, 81),)), ["payload", "range"]),
        (InSet((F.IIFNAME, F.IP4_SOURCE), "s"), ["meta", "payload", "lookup"]),
        (LookUpVerdict((F.OIFNAME,), "m"), ["meta", "lookup"]),
        (CtStateIs(CtState.NEW), ["ct", "bitwise", "cmp"]),
        (LimitEach((F.IIFNAME,), "s", 10, 20), ["meta", "dynset"]),
        (Log("calico", 1), ["log"]),
        (Count(), ["counter"]),
        (Masquerade(), ["masq"]),
        (Verdict(VerdictKind.DROP), ["immediate"]),
    ],
)
def test_statement_becomes_these_expressions(
    statement: Statement, expected: list[str]
) -> None:
    assert names(encode_statement(statement, no_set)) == expected


def test_several_ranges_ask_for_a_set() -> None:
    asked: list[InRanges] = []

    def new_set(statement: InRanges) -> int:
        asked.append(statement)
        return 42

    statement = InRanges(F.SOURCE_PORT, ((1, 1), (5, 9)), is_negated=True)
    encoded = encode_statement(statement, new_set)
    assert asked == [statement]
    assert names(encoded) == ["payload", "lookup"]
    look_up = fields_of(encoded, 1)
    assert read_be32(look_up[4]) == 42
    assert read_be32(look_up[5]) == 1


def test_no_range_is_refused() -> None:
    with pytest.raises(ValueError, match="one range"):
        encode_statement(InRanges(F.SOURCE_PORT, ()), no_set)


def test_concatenation_fills_registers_in_a_row() -> None:
    key = (F.IIFNAME, F.ETHER_SOURCE, F.IP4_SOURCE, F.DESTINATION_PORT, F.IP6_SOURCE)
    registers = [read_be32(fields_of(load(key), 0)[1])]
    registers += [read_be32(fields_of(load(key), n)[1]) for n in range(1, 5)]
    # 16 bytes, then 8, 4, 4 and 16; a full register has its own name.
    assert registers == [1, 2, 14, 15, 3]


def test_compare_looks_at_the_right_bytes() -> None:
    expected = {
        F.ETHER_SOURCE: (0, 6, 6),
        F.IP4_SOURCE: (1, 12, 4),
        F.IP4_DESTINATION: (1, 16, 4),
        F.IP6_SOURCE: (1, 8, 16),
        F.IP6_DESTINATION: (1, 24, 16),
        F.SOURCE_PORT: (2, 0, 2),
        F.DESTINATION_PORT: (2, 2, 2),
        F.ICMP_TYPE: (2, 0, 1),
        F.ICMP_CODE: (2, 1, 1),
    }
    for field, place in expected.items():
        found = fields_of(load((field,)), 0)
        assert tuple(read_be32(found[n]) for n in (2, 3, 4)) == place


def test_jump_names_its_chain_and_code() -> None:
    verdict = Verdict(VerdictKind.JUMP, "li_1")
    data = fields_of(encode_statement(verdict, no_set), 0)[2]
    content = dict(attributes(dict(attributes(data))[2]))
    assert read_be32(content[1]) == 2**32 - 3
    assert read_string(content[2]) == "li_1"
