import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.linux.netfilter import attributes, read_be32, read_string
from calico.linux.nft_elements import (
    MAX_COMMENT_BYTES,
    clip_comment,
    decode_comment,
    encode_anonymous_elements,
    encode_anonymous_set,
    encode_bounds,
    encode_comment,
    encode_map_elements,
    encode_members,
    encode_ranges,
    encode_set,
    key_bytes,
)
from calico.linux.nft_sets import join_bounds, merge, read_elements, split_members
from calico.linux.nft_wire import ElementsAttr, SetAttr, SetFlag
from calico.render.objects import (
    Field,
    InRanges,
    MapElement,
    SetSpec,
    Verdict,
    VerdictKind,
)

TAG = SetSpec("tag", (Field.IP4_SOURCE,))
IFNAME_AND_MAC = (Field.IIFNAME, Field.ETHER_SOURCE, Field.IP4_SOURCE)
MAX_MESSAGE_BYTES = 65_535


def lists(bodies: list[bytes]) -> list[bytes]:
    return [dict(attributes(body))[ElementsAttr.ELEMENTS] for body in bodies]


def test_concatenated_key_type_holds_six_bits_a_field() -> None:
    found = dict(attributes(encode_set(SetSpec("s", IFNAME_AND_MAC), 7)))
    assert read_be32(found[SetAttr.KEY_TYPE]) == (41 << 12) | (9 << 6) | 7
    assert (
        read_be32(found[SetAttr.KEY_LENGTH]) == 16 + 8 + 4 == key_bytes(IFNAME_AND_MAC)
    )
    assert read_string(found[SetAttr.NAME]) == "s"
    assert read_be32(found[SetAttr.ID]) == 7
    assert SetAttr.DATA_TYPE not in found


def test_verdict_map_and_interval_set_say_so() -> None:
    of_map = SetSpec("m", (Field.OIFNAME,), is_verdict_map=True, has_counters=True)
    found = dict(attributes(encode_set(of_map, 1)))
    assert read_be32(found[SetAttr.FLAGS]) == SetFlag.MAP
    assert read_be32(found[SetAttr.DATA_TYPE]) == 0xFFFFFF00
    assert b"counter\0" in found[SetAttr.EXPRESSION]
    pools = SetSpec("p", (Field.IP4_DESTINATION,), is_interval=True)
    found = dict(attributes(encode_set(pools, 1)))
    assert read_be32(found[SetAttr.FLAGS]) == SetFlag.INTERVAL
    assert SetAttr.EXPRESSION not in found


@pytest.mark.parametrize("field", list(Field))
def test_members_are_cut_out_as_they_were_joined(field: Field) -> None:
    spec = SetSpec("s", (field,))
    keys = [bytes([n]) * field.n_bytes for n in (0, 1, 255)]
    (elements,) = lists(list(encode_members(spec, keys)))
    assert list(split_members(elements, field.n_bytes)) == keys
    assert [each.key for each in read_elements(elements)] == keys


def test_many_members_are_spread_over_messages_that_fit() -> None:
    keys = [n.to_bytes(4, "big") for n in range(100_000)]
    parts = lists(list(encode_members(TAG, keys)))
    assert len(parts) > 20
    assert max(map(len, parts)) < MAX_MESSAGE_BYTES
    assert [key for part in parts for key in split_members(part, 4)] == keys


def test_no_members_are_no_message() -> None:
    assert list(encode_members(TAG, ())) == []
    assert (
        list(encode_ranges(SetSpec("p", (Field.L4PROTO,), is_interval=True), ())) == []
    )


def test_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="4 bytes"):
        list(encode_members(TAG, (b"\x01\x02\x03\x04", b"\x01")))


def test_elements_that_are_not_alike_are_read_one_by_one() -> None:
    with_comment = MapElement(Verdict(VerdictKind.DROP), "x")
    spec = SetSpec("m", (Field.L4PROTO,), is_verdict_map=True)
    bodies = encode_map_elements(
        spec, [(b"\x01", with_comment), (b"\x02", with_comment)]
    )
    (elements,) = lists(list(bodies))
    assert list(split_members(elements, 1)) == [b"\x01", b"\x02"]


def test_range_to_the_top_has_no_end() -> None:
    elements = b"".join(encode_bounds(1, ((0, 5), (9, 9), (200, 255))))
    assert [(e.key[0], e.is_end) for e in read_elements(elements)] == [
        (0, False),
        (6, True),
        (9, False),
        (10, True),
        (200, False),
    ]


bounds = st.lists(st.integers(0, 255), unique=True).map(sorted)


@given(bounds)
def test_ranges_are_joined_as_they_were_parted(numbers: list[int]) -> None:
    pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
    ranges = merge(pairs)
    elements = list(read_elements(b"".join(encode_bounds(1, ranges))))
    assert join_bounds([(e.key, not e.is_end) for e in elements], 1) == ranges


def test_what_nft_adds_before_the_first_range_does_not_count() -> None:
    assert join_bounds([(b"\x00", False), (b"\x05", True), (b"\x07", False)], 1) == (
        (5, 6),
    )


def test_anonymous_set_is_an_interval_only_with_a_real_range() -> None:
    single = InRanges(Field.DESTINATION_PORT, ((80, 80), (443, 443)))
    wide = InRanges(Field.DESTINATION_PORT, ((80, 80), (443, 450)))
    flags = [
        read_be32(dict(attributes(encode_anonymous_set(each, 1)))[SetAttr.FLAGS])
        for each in (single, wide)
    ]
    assert flags == [3, 7]
    n_elements = [
        len(list(read_elements(lists(list(encode_anonymous_elements(each, 1)))[0])))
        for each in (single, wide)
    ]
    assert n_elements == [2, 4]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_comment_is_read_back_as_clipped(comment: str) -> None:
    clipped = clip_comment(comment)
    assert decode_comment(encode_comment(comment)) == clipped
    assert comment.startswith(clipped)
    assert len(clipped.encode()) <= MAX_COMMENT_BYTES
    assert clip_comment(clipped) == clipped


def test_comment_is_what_nft_writes() -> None:
    assert encode_comment("hello") == b"\x00\x06hello\x00"
    assert encode_comment("") == b""
    assert len(encode_comment("é" * 300)) < 255


def test_comment_is_found_behind_other_user_data() -> None:
    flags = b"\x01\x04" + (1).to_bytes(4, sys.byteorder)
    assert decode_comment(flags + b"\x00\x03hi\x00") == "hi"
    assert decode_comment(flags) == ""
