"""JSON text: what is refused before anybody looks at the meaning."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.codec.json_text import (
    MAX_OBJECT_BYTES,
    Decoded,
    Field,
    dump_json,
    dump_json_for_people,
    optional,
    parse_json,
)
from calico.model.errors import InvalidResource

MALFORMED = [
    (b"", "line 1 column 1: found nothing"),
    (b"{", "line 1 column 2"),
    (b'{"a": }', "line 1 column 7"),
    (b"[1]\n x", "line 2 column 2: found 'x'"),
    (b"\xff", "found byte 0xff at offset 0, expected UTF-8"),
    (b"\xef\xbb\xbf{}", "line 1 column 1"),
    ("[]".encode("utf-16"), "expected UTF-8"),
    (b'{"a": 1, "a": 2}', 'found the key "a" twice'),
    (b'[{"b": {"c": 1, "c": 1}}]', 'found the key "c" twice'),
    (b"[NaN]", "found NaN"),
    (b"[-Infinity]", "found -Infinity"),
    (b"[" * 100_000, "too many nested brackets"),
    (b'{"a":' * 50_000, "too many nested brackets"),
    (b"9" * 5_000, "a number too long to read"),
    (b'"' + b"x" * MAX_OBJECT_BYTES + b'"', "expected at most 524288 bytes"),
    (b'"\x01"', "line 1 column 2"),
    (b"nul", "line 1 column 1"),
]


@pytest.mark.parametrize(("text", "complaint"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_text_is_refused_with_its_place(text: bytes, complaint: str) -> None:
    with pytest.raises(InvalidResource) as caught:
        parse_json(text)
    assert complaint in str(caught.value)


@given(st.binary(max_size=40))
def test_no_bytes_are_a_surprise(text: bytes) -> None:
    with suppress(InvalidResource):
        parse_json(text)


def refusal(text: bytes, read: Callable[[Field], object]) -> str:
    with pytest.raises(InvalidResource) as caught:
        read(parse_json(text))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"true", "$: found true, expected 0 to 9"),
        (b"1.0", "$: found 1.0, expected 0 to 9"),
        (b'"1"', '$: found "1", expected 0 to 9'),
        (b"-1", "$: found -1, expected 0 to 9"),
        (b"10", "$: found 10, expected 0 to 9"),
        (b"null", "$: found null, expected 0 to 9"),
    ],
)
def test_only_an_integer_in_range_is_one(text: bytes, complaint: str) -> None:
    assert refusal(text, lambda f: f.integer(9, "0 to 9")) == complaint


def test_types_are_checked() -> None:
    assert refusal(b"1", Field.text) == "$: found 1, expected a string"
    assert refusal(b"1", Field.boolean) == "$: found 1, expected true or false"
    assert refusal(b"{}", lambda f: list(f.items())) == "$: found {}, expected a list"
    assert refusal(b"[]", Field.members) == "$: found [], expected an object"
    assert refusal(b'"c"', lambda f: f.one_of(["a", "b"])) == (
        '$: found "c", expected "a" or "b"'
    )


def test_good_values_are_returned() -> None:
    assert parse_json(b"9").integer(9, "") == 9
    assert parse_json(b"false").boolean() is False
    assert parse_json(b'"b"').one_of(["a", "b"]) == "b"
    assert parse_json(b'"7"').parsed_by(int) == 7
    assert [f.path for f in parse_json(b"[1, 2]").items()] == ["$[0]", "$[1]"]


def test_path_spells_odd_keys_so_that_they_can_be_read() -> None:
    members = parse_json(b'{"ok_1": 1, "a b": 2}').members()
    assert [f.path for f in members.values()] == ["$.ok_1", '$["a b"]']


def test_null_is_absent_and_unknown_keys_are_named() -> None:
    assert parse_json(b'{"a": null}').fields(["a"]) == {}
    assert refusal(b'{"colour": 1}', lambda f: f.fields(["color", "x"])) == (
        "$.colour: found an unknown key, expected `color`? (known: color, x)"
    )
    assert refusal(b'{"q": null}', lambda f: f.fields(["color", "x"])) == (
        "$.q: found an unknown key, expected one of color, x"
    )


def test_absent_field_is_not_read() -> None:
    assert optional(None, Field.text) is None
    assert optional(Field("$", "x"), Field.text) == "x"


def test_long_values_are_cut_in_the_error() -> None:
    assert len(refusal(b'"' + b"x" * 1000 + b'"', Field.boolean)) < 120


def test_error_about_deep_value_is_an_error_like_others() -> None:
    deep: list[Decoded] = []
    for _ in range(100_000):
        deep = [deep]
    field = Field("$", deep)
    with pytest.raises(InvalidResource, match="many nested brackets"):
        field.boolean()


def test_what_is_too_large_is_not_written() -> None:
    with pytest.raises(InvalidResource, match="at most 524288 bytes"):
        dump_json(["x" * MAX_OBJECT_BYTES])


def test_writing() -> None:
    assert dump_json({"a": ["é", 1, None]}) == b'{"a": ["\\u00e9", 1, null]}'
    assert dump_json_for_people([1]) == "[\n  1\n]"
