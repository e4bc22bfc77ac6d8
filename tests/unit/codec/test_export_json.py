import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.codec.export_json import Export, ExportedItem, decode_export, encode_export
from calico.model.errors import InvalidResource
from calico.model.names import Revision

revisions = st.integers(0, 2**62).map(Revision)
keys = st.text(st.characters(codec="utf-8", exclude_characters="\0")).map(
    lambda rest: f"/calico/{rest}"
)
items = st.builds(ExportedItem, keys, st.binary(max_size=40), revisions)
exports = st.builds(
    Export,
    st.text(st.characters(codec="utf-8")),
    revisions,
    revisions,
    st.lists(items, unique_by=lambda item: item.key).map(
        lambda each: tuple(sorted(each, key=lambda item: item.key.encode()))
    ),
)


@given(exports)
def test_export_is_read_back_to_the_byte(export: Export) -> None:
    lines = list(encode_export(export))
    assert len(lines) == len(export.items) + 2
    assert decode_export("\n".join(lines).encode()) == export


@given(st.binary())
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidResource):
        decode_export(text)


WHOLE = {
    "kind": "calico-datastore",
    "version": 1,
    "store_id": "a",
    "revision": 2,
    "policy_revision": 1,
    "keys": [{"key": "/calico/a", "modified": 1, "text": "x"}],
}
ITEM = {"key": "/calico/a", "modified": 1, "text": "x"}


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"kind": "Policy"}, "$"),
        ({"kind": None}, "$"),
        ({"version": 2}, "$.version"),
        ({"version": None}, "$.version"),
        ({"store_id": 1}, "$.store_id"),
        ({"revision": -1}, "$.revision"),
        ({"policy_revision": True}, "$.policy_revision"),
        ({"keys": None}, "$"),
        ({"keys": {}}, "$.keys"),
        ({"keys": [ITEM, ITEM]}, "$.keys[1]"),
        ({"keys": [{"key": "/calico/a"}]}, "$.keys[0]"),
        ({"keys": [{**ITEM, "key": "/other"}]}, "$.keys[0].key"),
        ({"keys": [{**ITEM, "key": "/calico/\0"}]}, "$.keys[0].key"),
        ({"keys": [{**ITEM, "key": "/calico/\ud800"}]}, "$.keys[0].key"),
        ({"keys": [{**ITEM, "text": "\ud800"}]}, "$.keys[0].text"),
        ({"keys": [{**ITEM, "text": None}]}, "$.keys[0]"),
        ({"keys": [{**ITEM, "text": None, "base64": "?"}]}, "$.keys[0].base64"),
        ({"keys": [{**ITEM, "base64": "eA=="}]}, "$.keys[0]"),
        ({"more": 1}, "$.more"),
    ],
)
def test_field_that_cannot_be_used_is_named(
    changed: dict[str, object], where: str
) -> None:
    assert decode_export(json.dumps(WHOLE).encode()).items[0].value == b"x"
    with pytest.raises(InvalidResource) as caught:
        decode_export(json.dumps({**WHOLE, **changed}).encode())
    assert caught.value.where == where
