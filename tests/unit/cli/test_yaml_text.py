"""YAML is read as JSON would be, strictly, and each value has a line."""

import json

import pytest

from calico.cli.yaml_text import MAX_DEPTH, find_line, parse_yaml
from calico.codec.json_text import Decoded
from calico.model.errors import InvalidResource

MANY = 10_000_000


def value(text: str) -> Decoded:
    return parse_yaml(text.encode(), max_bytes=MANY).value


def refusal(text: str | bytes, max_bytes: int = MANY) -> str:
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(InvalidResource) as caught:
        parse_yaml(raw, max_bytes=max_bytes)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", 80),
        ("-1", -1),
        ("0", 0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("a:", {"a": None}),
        ("'80'", "80"),
        ('"true"', "true"),
        ("|\n  80\n", "80\n"),
        ("no", "no"),
        ("ON", "ON"),
        ("080", "080"),
        ("0x50", "0x50"),
        ("1_000", "1_000"),
        ("80:59", "80:59"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
        ("2026-01-01", "2026-01-01"),
        ("1" * 19, "1" * 19),
        ("=", "="),
        (".inf", ".inf"),
        ("{a: [1, {b: c}]}", {"a": [1, {"b": "c"}]}),
        ("1: a", {"1": "a"}),
        ("- &x [1]\n- *x", [[1], [1]]),
    ],
)
def test_plain_word_means_what_json_has_it_mean(text: str, expected: Decoded) -> None:
    found = value(text)
    assert (found, type(found)) == (expected, type(expected))


def test_json_is_read_as_json() -> None:
    document: Decoded = {"a": [1, True, None, "x\ty", 1.5, {}], "ä": "\u2028", "e": -3}
    assert value(json.dumps(document)) == document
    assert value(json.dumps(document, ensure_ascii=False)) == document


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a: \xff", "line 1: found byte 0xff at offset 3, expected UTF-8 text"),
        (b"a: 1\nb: \xe4", "line 2: found byte 0xe4 at offset 8"),
        ("", "line 1: found nothing, expected a document"),
        ("# a remark", "line 1: found nothing"),
        ("a: 1\nb: [1", "line "),
        ("a: 1\n\tb: 2", "line 2"),
        (
            "a: b: c",
            "line 1 column 5: found something else, expected YAML (mapping values",
        ),
        ("a: 1\n---\nb: 2", "line 2: found a second document, expected only one"),
        ("a: *b", "line 1: found the alias *b, expected the name of what ends before"),
        ("a: 1\nb: 2\na: 3", "line 3: found the key 'a' twice"),
        ("a: 1\n[b]: 2", "line 2: found a key that is no word"),
        ("a: !!python/object/apply:os.system [ls]", "line 1: found the tag"),
        ("a: 1\nb: !x y", "line 2: found the tag !x, expected no tag"),
        ("a: !!binary aaaa", "line 1: found the tag"),
        ("a: \x07", "found something else, expected YAML ("),
        ("&a a: *a", "line 1: found the alias *a"),
        ("a: &a {b: *a}", "line 1: found the alias *a"),
    ],
)
def test_fault_is_named_with_its_line(text: str | bytes, words: str) -> None:
    assert words in refusal(text)


def test_size_is_bounded() -> None:
    assert (
        refusal("a: 12345", max_bytes=7) == "$: found 8 bytes, expected at most 7 bytes"
    )


def test_aliases_that_explode_are_refused() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "too many values" in refusal("\n".join(levels))


def test_aliases_that_go_deep_are_refused() -> None:
    levels = ["a0: &a0 [x]"]
    levels += [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, MAX_DEPTH)]
    said = refusal("\n".join(levels))
    assert (
        said
        == "line 1: found too many lists and objects in each other, expected at most 32"
    )


@pytest.mark.parametrize("n", [MAX_DEPTH + 1, 500, 2_000])
def test_depth_is_bounded(n: int) -> None:
    assert value("[" * MAX_DEPTH + "x" + "]" * MAX_DEPTH)
    assert "line 1: found too many lists" in refusal("[" * 100 * n + "]" * n)
    assert "too many lists" in refusal("".join(f"{' ' * k}a:\n" for k in range(n)))


YAML = """\
# remark
tests:
  - name: a
    ports: [1,
      2]

  - from: b
    "odd key": {x: 1}
"""
JSON = '{\n\t"tests": [\n\t\t{"name": "a\\tb"},\n\t\t{"from": 1,\n\t\t "to": 2}]}'


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        (YAML, "$", 2),
        (YAML, "$.tests", 2),
        (YAML, "$.tests[0]", 3),
        (YAML, "$.tests[0].name", 3),
        (YAML, "$.tests[0].ports", 4),
        (YAML, "$.tests[0].ports[0]", 4),
        (YAML, "$.tests[0].ports[1]", 5),
        (YAML, "$.tests[1]", 7),
        (YAML, '$.tests[1]["odd key"]', 8),
        (YAML, '$.tests[1]["odd key"].x', 8),
        (YAML, "$.tests[2]", None),
        (YAML, "$.nothing", None),
        (YAML, "line 3", None),
        (JSON, "$.tests[0].name", 3),
        (JSON, "$.tests[1]", 4),
        (JSON, "$.tests[1].to", 5),
        ("a: [", "$", None),
    ],
)
def test_line_of_a_value_is_found(text: str, path: str, line: int | None) -> None:
    assert find_line(text.encode(), path) == line
