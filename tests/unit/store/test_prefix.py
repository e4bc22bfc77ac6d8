"""Prefixes as ranges: a key is in the range if and only if it has the prefix."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.store.prefix import range_end

# Characters at the edges, so that neighbours are drawn often.
_CHARS = "a/0b\x01\x7f\ud7ff\ue000\U0010fffe\U0010ffff"
_texts = st.text(alphabet=st.sampled_from(_CHARS), max_size=4)


@given(prefix=_texts, key=_texts)
def test_range_holds_exactly_the_keys_with_the_prefix(prefix: str, key: str) -> None:
    end = range_end(prefix)
    in_range = key.encode() >= prefix.encode() and (
        end is None or key.encode() < end.encode()
    )
    assert in_range == key.startswith(prefix)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        ("", None),
        ("\U0010ffff", None),
        ("/a/", "/a0"),
        ("a\U0010ffff", "b"),
        ("\ud7ff", "\ue000"),
    ],
)
def test_end_of_range(prefix: str, end: str | None) -> None:
    assert range_end(prefix) == end
