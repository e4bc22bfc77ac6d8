"""What goes into a datastore and what comes out, as values.

The contract that gives them their meaning is `calico.store.api`, which is also
where others import them from.

What is read, and whatever stands for itself, is a named tuple: every command
waits for this module, and a frozen dataclass takes eight times as long to
define. Operations are dataclasses, because two kinds of them with the same
fields must not be equal.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, NewType, TypeVar

from calico.model.names import Revision

LeaseId = NewType("LeaseId", int)

NO_REVISION = Revision(0)
"""Before the first write; in a compare: the key must not exist."""

T = TypeVar("T")


class KeyValue(NamedTuple):
    """A key with its value.

    Attributes:
        key: The key.
        value: The bytes last put.
        created: The revision of the first put since the key was last absent.
        modified: The revision of the last put.
    """

    key: str
    value: bytes
    created: Revision
    modified: Revision


class Listing(NamedTuple):
    """All keys below a prefix at one revision.

    Attributes:
        items: Sorted by key, in the order of UTF-8.
        revision: The revision of the whole store that this shows.
    """

    items: tuple[KeyValue, ...]
    revision: Revision


class KeyRevision(NamedTuple):
    """A key, and when it was last put.

    Attributes:
        key: The key.
        revision: The revision of the last put.
    """

    key: str
    revision: Revision


class Survey(NamedTuple):
    """How much there is below a prefix, and what of it is new.

    Attributes:
        modified: The keys last put after the revision asked about, sorted.
        n_keys: How many keys there are in all.
        revision: The revision of the whole store that this shows.
    """

    modified: tuple[KeyRevision, ...]
    n_keys: int
    revision: Revision


def survey_of(listing: Listing, after: Revision) -> Survey:
    """Make a survey of a listing."""
    modified = (
        KeyRevision(kv.key, kv.modified) for kv in listing.items if kv.modified > after
    )
    return Survey(tuple(modified), len(listing.items), listing.revision)


@dataclass(frozen=True, slots=True)
class Put:
    """Give a key a value; it is a change even if the value is the same.

    Attributes:
        key: Not empty, without NUL.
        value: Any bytes.
        lease: The key dies with this lease; without one, a lease that the key
            had before no longer binds it.
    """

    key: str
    value: bytes
    lease: LeaseId | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key; removing an absent one is no change."""

    key: str


@dataclass(frozen=True, slots=True)
class DeletePrefix:
    """Remove every key that starts with a prefix, which is not empty."""

    prefix: str


Operation = Put | Delete | DeletePrefix


class Compare(NamedTuple):
    """A condition on a transaction.

    Attributes:
        key: The key.
        modified: The revision it must have been last modified at; 0 when it
            must not exist.
    """

    key: str
    modified: Revision


class Note(NamedTuple):
    """Why a transaction was made, for the people who read the history.

    Attributes:
        actor: The user or the part of Calico.
        host: The host it was made on.
        command: The command line, or what stands for it.
        reason: The user's own words, or empty.
    """

    actor: str
    host: str
    command: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Transaction:
    """Changes that are made together, or not at all.

    Attributes:
        compares: All must hold.
        operations: In any order, for no key may be touched by two of them.
        note: Kept with the revision.

    Raises:
        ValueError: A key is not valid, or is touched by two operations. No
            user's input leads here: keys are made by the codec.
    """

    compares: tuple[Compare, ...]
    operations: tuple[Operation, ...]
    note: Note

    def __post_init__(self) -> None:
        keys = [o.key for o in self.operations if not isinstance(o, DeletePrefix)]
        prefixes = tuple(
            o.prefix for o in self.operations if isinstance(o, DeletePrefix)
        )
        for text in (*keys, *prefixes):
            if not text or "\0" in text:
                raise ValueError(f"not a key: {text!r}")
        if len(set(keys)) != len(keys):
            raise ValueError("a key is touched by two operations")
        if prefixes and any(key.startswith(prefixes) for key in keys):
            raise ValueError("a key is touched by two operations, one by prefix")


class Change(NamedTuple):
    """What a revision did to one key.

    Attributes:
        key: The key.
        value: The value put; `None` when it was deleted.
    """

    key: str
    value: bytes | None


class Batch(NamedTuple):
    """One whole revision, as far as it is below the watched prefix.

    Attributes:
        revision: The revision.
        changes: Sorted by key, at least one, each key once.
    """

    revision: Revision
    changes: tuple[Change, ...]


class HistoryEntry(NamedTuple):
    """One remembered revision.

    Attributes:
        revision: The revision.
        time_s: Seconds since the epoch, by the clock of the machine that wrote; 0
            when another program wrote, which leaves no note.
        note: Who made it and why.
        keys: What it put or deleted, sorted.
    """

    revision: Revision
    time_s: float
    note: Note
    keys: tuple[str, ...]


class Scope(NamedTuple):
    """What a change is decided on.

    Attributes:
        keys: Single keys, absent ones included.
        prefixes: Everything below these.
    """

    keys: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()


class View(NamedTuple):
    """What a `Scope` held at one revision.

    Attributes:
        items: By key, in the order of UTF-8; an absent key is absent here.
        revision: The revision of the whole store.
    """

    items: Mapping[str, KeyValue]
    revision: Revision

    def get(self, key: str) -> KeyValue | None:
        """Return the key with its value, or `None` if it is absent."""
        return self.items.get(key)

    def below(self, prefix: str) -> tuple[KeyValue, ...]:
        """Return every item whose key starts with `prefix`, sorted by key."""
        return tuple(kv for key, kv in self.items.items() if key.startswith(prefix))


Decide = Callable[[View], tuple[Transaction | None, T]]
"""Says what to write on seeing a view, and what to tell the caller.

It may be called several times, each time with a newer view, so it has no
effect of its own; it may be called under a lock, so it is quick and uses no
store. An error it raises abandons the change and reaches the caller.
"""
