"""Transactions as etcd takes them.

Each one that changes something also puts its note, and what tells others that
something was deleted (`etcd_keys`). A transaction that is decided on a view
compares that nothing of it has changed. For single keys that is their own
revision. For a prefix it is that nothing below it is newer than the view, and
that nothing was deleted: key by key where there are few, and by what every
deletion of ours leaves in its section where there are many.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from calico.model.errors import Conflict
from calico.model.names import Revision
from calico.store.etcd_keys import (
    DELETIONS_PREFIX,
    NOTE_PREFIX,
    STORE_PREFIX,
    ancestors_of,
    encode_note,
    is_hidden,
    section_of,
    sections_of,
)
from calico.store.etcd_wire import (
    RangeAnswer,
    Result,
    compare,
    delete_operation,
    encode_text,
    put_operation,
    range_of,
    range_operation,
    range_request,
)
from calico.store.values import (
    NO_REVISION,
    Compare,
    Delete,
    DeletePrefix,
    KeyValue,
    LeaseId,
    Note,
    Operation,
    Put,
    Scope,
    Transaction,
    View,
)

_MANY = 64


def read_operations(scope: Scope) -> tuple[bytes, ...]:
    """Return the operations that read a scope; `view_of` takes their answers."""
    keys = [range_request(encode_text(key)) for key in scope.keys]
    prefixes = [range_request(*range_of(prefix)) for prefix in scope.prefixes]
    return tuple(range_operation(each) for each in (*keys, *prefixes))


def view_of(answers: Iterable[RangeAnswer], revision: Revision) -> View:
    """Make a view of what was read."""
    found: dict[bytes, KeyValue] = {
        encode_text(item.key): item
        for answer in answers
        for item in answer.items
        if not is_hidden(item.key)
    }
    return View({found[key].key: found[key] for key in sorted(found)}, revision)


def scope_of(transaction: Transaction) -> Scope:
    """Return what a transaction deletes."""
    deletions = transaction.operations
    return Scope(
        tuple(each.key for each in deletions if isinstance(each, Delete)),
        tuple(each.prefix for each in deletions if isinstance(each, DeletePrefix)),
    )


def widened(scope: Scope, transaction: Transaction) -> Scope:
    """Return a scope that also covers what a transaction deletes."""
    deleted = scope_of(transaction)
    keys = (
        key
        for key in deleted.keys
        if key not in scope.keys and not key.startswith(scope.prefixes)
    )
    prefixes = (
        prefix for prefix in deleted.prefixes if not prefix.startswith(scope.prefixes)
    )
    return Scope((*scope.keys, *keys), (*scope.prefixes, *prefixes))


def present_operations(transaction: Transaction, view: View) -> tuple[Operation, ...]:
    """Return a transaction's operations without deletions of nothing."""
    return tuple(each for each in transaction.operations if _has_effect(each, view))


def _has_effect(operation: Operation, view: View) -> bool:
    if isinstance(operation, DeletePrefix):
        return bool(view.below(operation.prefix))
    return isinstance(operation, Put) or view.get(operation.key) is not None


def changing_operations(
    operations: tuple[Operation, ...], note: Note, time_s: float
) -> tuple[bytes, ...]:
    """Return the operations that make a change, its traces included."""
    if not operations:
        return ()
    return (*_operations(operations), *_traces(operations, note, time_s))


def own_compares(compares: Iterable[Compare]) -> tuple[bytes, ...]:
    """Return what a transaction says itself that must hold."""
    return tuple(
        compare(encode_text(each.key), result=Result.EQUAL, modified=each.modified)
        for each in compares
    )


def scope_compares(scope: Scope, view: View) -> tuple[bytes, ...]:
    """Return what must hold for a view to be true still."""
    return tuple(_scope_compares(scope, view))


def read_compared(compares: Iterable[Compare]) -> tuple[bytes, ...]:
    """Return the operations that read what was compared."""
    return tuple(
        range_operation(range_request(encode_text(each.key), keys_only=True))
        for each in compares
    )


def find_conflict(
    compares: Iterable[Compare], answers: Iterable[RangeAnswer]
) -> Conflict | None:
    """Return the first compare that does not hold."""
    for each, answer in zip(compares, answers, strict=False):
        found = answer.items[0].modified if answer.items else NO_REVISION
        if found != each.modified:
            return Conflict(each.key, each.modified, found)
    return None


def first_lease(transaction: Transaction) -> LeaseId | None:
    """Return the first lease that a transaction names."""
    leases = (each.lease for each in transaction.operations if isinstance(each, Put))
    return next((lease for lease in leases if lease is not None), None)


def _operations(operations: tuple[Operation, ...]) -> Iterator[bytes]:
    for operation in operations:
        if isinstance(operation, Put):
            lease = operation.lease or 0
            yield put_operation(operation.key, operation.value, lease)
        else:
            for first, end in _bounds(operation):
                yield delete_operation(first, end)


def _bounds(operation: Operation) -> Iterator[tuple[bytes, bytes]]:
    """Yield the ranges that a deletion is about, and never our own keys."""
    if isinstance(operation, DeletePrefix):
        first, end = range_of(operation.prefix)
        if STORE_PREFIX.startswith(operation.prefix):
            ours = range_of(STORE_PREFIX)
            yield first, ours[0]
            yield ours[1], end
        elif not is_hidden(operation.prefix):
            yield first, end
    elif isinstance(operation, Delete):
        yield encode_text(operation.key), b""


def _traces(
    operations: tuple[Operation, ...], note: Note, time_s: float
) -> Iterator[bytes]:
    deleted = [_place(each) for each in operations if not isinstance(each, Put)]
    text = encode_note(note, time_s)
    for section in sections_of(_place(each) for each in operations):
        yield put_operation(NOTE_PREFIX + section, text)
    for section in sections_of(deleted):
        yield put_operation(DELETIONS_PREFIX + section, b"")


def _place(operation: Operation) -> str:
    return operation.prefix if isinstance(operation, DeletePrefix) else operation.key


def _scope_compares(scope: Scope, view: View) -> Iterator[bytes]:
    for key in scope.keys:
        found = view.get(key)
        yield _is_at(key, NO_REVISION if found is None else found.modified)
    newer = Revision(view.revision + 1)
    for prefix in scope.prefixes:
        yield compare(*range_of(prefix), result=Result.LESS, modified=newer)
    below = {item.key: item for prefix in scope.prefixes for item in view.below(prefix)}
    if len(below) <= _MANY - len(scope.keys):
        for item in below.values():
            yield _is_at(item.key, item.modified)
        return
    for prefix in scope.prefixes:
        within = range_of(DELETIONS_PREFIX + section_of(prefix))
        yield compare(*within, result=Result.LESS, modified=newer)
        for section in ancestors_of(prefix):
            trace = encode_text(DELETIONS_PREFIX + section)
            yield compare(trace, result=Result.LESS, modified=newer)


def _is_at(key: str, modified: Revision) -> bytes:
    return compare(encode_text(key), result=Result.EQUAL, modified=modified)


class Attempt(NamedTuple):
    """A transaction in etcd's form.

    Attributes:
        compares: What must hold.
        success: What is done then.
        failure: What is read otherwise.
    """

    compares: tuple[bytes, ...]
    success: tuple[bytes, ...]
    failure: tuple[bytes, ...]

    @property
    def n_operations(self) -> int:
        """How many operations etcd counts."""
        return max(len(self.compares), len(self.success), len(self.failure))
