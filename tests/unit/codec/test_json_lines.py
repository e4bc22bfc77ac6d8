"""Lines of paths in JSON texts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.codec.json_lines import line_of
from calico.codec.json_text import Decoded, Field, parse_json

TEXT = b"""{
  "id": "a{,]",
  "inbound_rules": [
    {"action": "allow"},
    {
      "dst_ports": [1,
        [],
        "x\\"y"],
      "a b": {"c": null}
    }
  ]
}
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("$", 1),
        ("$.id", 2),
        ("$.inbound_rules", 3),
        ("$.inbound_rules[0]", 4),
        ("$.inbound_rules[0].action", 4),
        ("$.inbound_rules[1]", 5),
        ("$.inbound_rules[1].dst_ports[0]", 6),
        ("$.inbound_rules[1].dst_ports[1]", 7),
        ("$.inbound_rules[1].dst_ports[2]", 8),
        ('$.inbound_rules[1]["a b"]', 9),
        ('$.inbound_rules[1]["a b"].c', 9),
        ("$.inbound_rules[2]", None),
        ("$.outbound_rules", None),
    ],
)
def test_path_is_found_on_its_line(path: str, line: int | None) -> None:
    assert line_of(TEXT, path) == line


def paths(field: Field) -> list[str]:
    found = [field.path]
    if isinstance(field.value, dict):
        members = list(field.members().values())
    elif isinstance(field.value, list):
        members = list(field.items())
    else:
        return found
    return found + [path for member in members for path in paths(member)]


documents: st.SearchStrategy[Decoded] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(documents)
def test_every_path_is_found_in_order(document: Decoded) -> None:
    text = json.dumps(document, indent=1).encode()
    lines = [line_of(text, path) or 0 for path in paths(parse_json(text))]
    assert lines == sorted(lines)
    assert 0 not in lines


@given(st.binary(max_size=30) | st.text('{}[]",:a\\\n ', max_size=20).map(str.encode))
def test_text_that_is_no_json_is_no_surprise(text: bytes) -> None:
    assert line_of(text, "$.a") in {None, *range(1, 40)}
