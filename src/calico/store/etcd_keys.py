"""Our own keys in an etcd, which nobody is shown.

etcd counts revisions and keeps old ones, but neither says why a change was
made nor what was deleted last. So every transaction of ours also puts a key
with its note, one for each section of the datastore that it touches; one that
deletes puts another key. From these follows what changed last in a section,
without looking at all of it.

A section is what keys have in common up to the third slash below `/calico/`,
up to the second one elsewhere. Sections may hold each other; a question about
a prefix looks at every section that may have a key in common with it.

Not here: reading and writing them (`etcd`).
"""

import json
from collections.abc import Iterable

from calico.model.errors import InvalidResource
from calico.store.values import Note

STORE_PREFIX = "/calico/store/v1/"
ID_KEY = STORE_PREFIX + "id"
COMPACTOR_KEY = STORE_PREFIX + "compactor"
NOTE_PREFIX = STORE_PREFIX + "note"
DELETIONS_PREFIX = STORE_PREFIX + "deletions"

_TOP = "/calico/"
_DEEP = 4


def is_hidden(key: str) -> bool:
    """Report whether a key is ours alone."""
    return key.startswith(STORE_PREFIX)


def section_of(key_or_prefix: str) -> str:
    """Return the section that a key is in; of a prefix, one that holds all of it."""
    is_deep = key_or_prefix.startswith(_TOP)
    parts = key_or_prefix.split("/")[: _DEEP if is_deep else 2 + 1]
    return "/".join((*parts[:-1], "")) or "/"


def ancestors_of(prefix: str) -> tuple[str, ...]:
    """Return the sections above a prefix that may hold some of its keys."""
    above = {"/", _TOP if prefix.startswith(_TOP) else "/", section_of(prefix)}
    return tuple(sorted(above - {section_of(prefix)}))


def sections_of(keys_or_prefixes: Iterable[str]) -> tuple[str, ...]:
    """Return the sections that keys and prefixes are in, sorted."""
    return tuple(sorted({section_of(each) for each in keys_or_prefixes}))


def may_share(section: str, prefix: str) -> bool:
    """Report whether a section can hold a key that starts with a prefix."""
    return section.startswith(prefix) or prefix.startswith(section)


def is_within(section: str, prefix: str) -> bool:
    """Report whether every key of a section starts with a prefix."""
    return section.startswith(prefix)


def is_shown(key: str, prefix: str) -> bool:
    """Report whether a key is below a prefix and not ours alone."""
    return key.startswith(prefix) and not is_hidden(key)


def scanned_prefix(prefix: str) -> str:
    """Return the least prefix that covers another one and our own keys."""
    return _TOP if prefix.startswith(_TOP) else ""


def encode_note(note: Note, time_s: float) -> bytes:
    """Write a note with its time."""
    return json.dumps(
        {
            "time": round(time_s, 3),
            "actor": note.actor,
            "host": note.host,
            "command": note.command,
            "reason": note.reason,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode("utf-8", "surrogatepass")


def decode_note(value: bytes) -> tuple[Note, float]:
    """Read a note and its time.

    Raises:
        InvalidResource: It is none of ours.
    """
    try:
        found = json.loads(value)
        texts = [str(found[name]) for name in ("actor", "host", "command", "reason")]
        return Note(*texts), float(found["time"])
    except (ValueError, KeyError, TypeError):
        raise InvalidResource(NOTE_PREFIX, repr(value[:80]), "a note") from None
