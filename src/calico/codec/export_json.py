"""A datastore as one document: what `datastore export` writes and others read.

Values are kept to the byte, also those that nobody can decode: as text where
they are UTF-8, else in base64.
"""

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from calico.codec.json_text import Field, Json, parse_json
from calico.model.errors import InvalidResource
from calico.model.names import Revision

EXPORTED_PREFIX = "/calico/"
"""What is exported, and what an import may write."""

MAX_EXPORT_BYTES = 512 * 1024 * 1024
"""The largest document that is read."""

_KIND = "calico-datastore"
_VERSION = 1
_LAST = 2**63
_FIELDS = ("kind", "version", "store_id", "revision", "policy_revision", "keys")
_KEY_FIELDS = ("key", "modified", "text", "base64")


class ExportedItem(NamedTuple):
    """One key.

    Attributes:
        key: The key.
        value: Its value.
        modified: The revision of the last put.
    """

    key: str
    value: bytes
    modified: Revision


@dataclass(frozen=True, slots=True)
class Export:
    """A datastore at one revision.

    Attributes:
        store_id: Which datastore it was.
        revision: The revision of the whole.
        policy_revision: The newest revision that changed policy.
        items: Sorted by key, each key once.
    """

    store_id: str
    revision: Revision
    policy_revision: Revision
    items: tuple[ExportedItem, ...]


def encode_export(export: Export) -> Iterator[str]:
    """Write an export, one line per key, so that two can be compared by lines."""
    head: dict[str, Json] = {
        "kind": _KIND,
        "version": _VERSION,
        "store_id": export.store_id,
        "revision": export.revision,
        "policy_revision": export.policy_revision,
    }
    yield json.dumps(head)[:-1] + ', "keys": ['
    last = len(export.items) - 1
    for index, item in enumerate(export.items):
        yield json.dumps(_encode_item(item)) + ("," if index < last else "")
    yield "]}"


def _encode_item(item: ExportedItem) -> dict[str, Json]:
    made: dict[str, Json] = {"key": item.key, "modified": item.modified}
    try:
        made["text"] = item.value.decode("utf-8")
    except UnicodeDecodeError:
        made["base64"] = b64encode(item.value).decode("ascii")
    return made


def decode_export(text: bytes) -> Export:
    """Read an export.

    Raises:
        InvalidResource: It is none, or of another version, and where.
    """
    field = parse_json(text, max_bytes=MAX_EXPORT_BYTES)
    members = field.members()
    kind = members.get("kind")
    if kind is None or kind.value != _KIND:
        raise InvalidResource(
            "$", "another kind of document", "what `calicoctl datastore export` writes"
        )
    version = members.get("version")
    if version is None or version.value != _VERSION:
        found = "no version" if version is None else f"version {version.value!r}"
        raise InvalidResource(
            "$.version",
            found,
            f"version {_VERSION}",
            "use the version of Calico that wrote it",
        )
    found_fields = field.fields(_FIELDS)
    for name in _FIELDS:
        if name not in found_fields:
            raise InvalidResource("$", f"no {name}", "a whole export")
    return Export(
        found_fields["store_id"].text(),
        _revision(found_fields["revision"]),
        _revision(found_fields["policy_revision"]),
        _decode_items(found_fields["keys"].items()),
    )


def _decode_items(fields: Iterator[Field]) -> tuple[ExportedItem, ...]:
    items: dict[str, ExportedItem] = {}
    for field in fields:
        item = _decode_item(field)
        if item.key in items:
            raise InvalidResource(field.path, f"{item.key} again", "each key once")
        items[item.key] = item
    return tuple(sorted(items.values(), key=lambda each: each.key.encode()))


def _decode_item(field: Field) -> ExportedItem:
    found = field.fields(_KEY_FIELDS)
    if "key" not in found or "modified" not in found:
        raise field.refuse("a key, its revision and its value")
    key = found["key"].text()
    try:
        is_key = "\0" not in key and key.encode().startswith(EXPORTED_PREFIX.encode())
    except UnicodeEncodeError:
        is_key = False
    if not is_key:
        raise found["key"].refuse(f"a key that starts with {EXPORTED_PREFIX}")
    return ExportedItem(key, _value(field, found), _revision(found["modified"]))


def _value(field: Field, found: dict[str, Field]) -> bytes:
    given: Sequence[str] = [each for each in ("text", "base64") if each in found]
    if len(given) != 1:
        raise field.refuse("either text or base64")
    text = found[given[0]].text()
    try:
        if given[0] == "text":
            return text.encode("utf-8")
        return b64decode(text, validate=True)
    except (UnicodeEncodeError, Base64Error, ValueError):
        raise found[given[0]].refuse(f"a value as {given[0]}") from None


def _revision(field: Field) -> Revision:
    return Revision(field.integer(_LAST, "a revision"))
