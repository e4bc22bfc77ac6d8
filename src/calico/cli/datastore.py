"""`calicoctl datastore`: the whole datastore as one document, and back."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from calico.cli import output
from calico.cli.call import Call
from calico.cli.input import STANDARD_INPUT, read_input
from calico.cli.refusal import Refused
from calico.cli.usage import show_word
from calico.cli.whole_file import write_whole
from calico.codec.export_json import (
    EXPORTED_PREFIX,
    MAX_EXPORT_BYTES,
    Export,
    ExportedItem,
    decode_export,
    encode_export,
)
from calico.codec.keys import READY_KEY, STATUS_HOST_PREFIX
from calico.model.errors import InvalidResource, TransactionTooLarge
from calico.model.snapshot import Undecodable
from calico.store.api import (
    NO_REVISION,
    Delete,
    DeletePrefix,
    KeyValue,
    Note,
    Operation,
    Put,
    Revision,
    Scope,
    Store,
    Transaction,
    View,
)
from calico.store.resources import decode_item, read_policy

_MAX_SHOWN = 300
_STEP = 50
_STEP_BYTES = 500_000
_SCOPE = Scope(prefixes=(EXPORTED_PREFIX,))


def export(call: Call) -> int:
    """Write everything but what agents report of themselves."""
    made = make_export(call.existing_store)
    name = call.option("-f") or STANDARD_INPUT
    if name == STANDARD_INPUT:
        for text in encode_export(made):
            output.line(text)
        return 0
    # For its owner only: labels may hold what is nobody else's business.
    write_whole(Path(name), encode_export(made), mode=0o600)
    output.line(f"Exported {len(made.items)} keys at revision {made.revision}.")
    return 0


def make_export(store: Store) -> Export:
    """Read everything but what agents report of themselves.

    Raises:
        Unavailable: The datastore cannot be read.
    """
    listing, policy_revision = read_policy(store, EXPORTED_PREFIX)
    items = tuple(
        ExportedItem(item.key, item.value, item.modified)
        for item in listing.items
        if _is_kept(item.key)
    )
    return Export(store.store_id, listing.revision, policy_revision, items)


def import_(call: Call) -> int:
    """Make the datastore what a document says, in one transaction if it can."""
    wanted = read_export(call.option("-f") or STANDARD_INPUT)
    note = call.note()
    is_replacing = call.has_option("--replace")

    def decide(view: View) -> tuple[Transaction | None, int]:
        present = {key: item for key, item in view.items.items() if _is_kept(key)}
        if present and not is_replacing:
            raise Refused(
                f"The datastore holds {len(present)} keys already.",
                "`calicoctl datastore import --replace` puts the document in place of"
                " them; nothing was changed.",
            )
        operations = tuple(_differences(present, wanted))
        made = Transaction((), operations, note) if operations else None
        return made, len(operations)

    kept = [item for item in wanted.items if _is_kept(item.key)]
    try:
        revision, n_changes = call.store.update(_SCOPE, decide)
    except TransactionTooLarge:
        output.complain(
            "This is more than etcd takes in one transaction, so it goes in steps."
            " Agents keep the policy that they have until the last one; if this is"
            " interrupted, run it again with --replace."
        )
        revision, n_changes = _import_in_steps(call.store, wanted, note)
    output.line(f"Imported {len(kept)} keys: {n_changes} changes, revision {revision}.")
    _warn_about_unreadable(wanted)
    return 0


def _import_in_steps(store: Store, wanted: Export, note: Note) -> tuple[Revision, int]:
    """Make the datastore what a document says while `Ready` holds agents back."""
    store.commit(Transaction((), (Put(READY_KEY, b"false"),), note))
    present = {
        item.key: item
        for item in store.list_prefix(EXPORTED_PREFIX).items
        if _is_kept(item.key)
    }
    operations = list(_differences(present, wanted))
    last = [each for each in operations if _is_ready(each)]
    steps = _steps([each for each in operations if not _is_ready(each)])
    revision = NO_REVISION
    for step in (*steps, last):
        if step:
            revision = store.commit(Transaction((), tuple(step), note))
    return revision, len(operations)


def _is_ready(operation: Operation) -> bool:
    return not isinstance(operation, DeletePrefix) and operation.key == READY_KEY


def _steps(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    """Cut operations into parts that any etcd takes."""
    step: list[Operation] = []
    n_bytes = 0
    for operation in operations:
        size = len(operation.value) if isinstance(operation, Put) else 0
        if step and (len(step) == _STEP or n_bytes + size > _STEP_BYTES):
            yield step
            step, n_bytes = [], 0
        step.append(operation)
        n_bytes += size
    yield step


def _differences(
    present: Mapping[str, KeyValue], wanted: Export
) -> Iterator[Operation]:
    items = {item.key: item.value for item in wanted.items if _is_kept(item.key)}
    for key in present.keys() - items.keys():
        yield Delete(key)
    for key, value in items.items():
        if key not in present or present[key].value != value:
            yield Put(key, value)


def _warn_about_unreadable(wanted: Export) -> None:
    for item in wanted.items:
        decoded = decode_item(
            KeyValue(item.key, item.value, item.modified, item.modified)
        )
        if decoded is not None and isinstance(decoded[1], Undecodable):
            name = show_word(item.key[:_MAX_SHOWN])
            output.complain(f"Warning: {name} cannot be used: {decoded[1].reason}")


def _is_kept(key: str) -> bool:
    """Report whether a key is part of a backup: agents report anew by themselves."""
    return not key.startswith(STATUS_HOST_PREFIX)


def read_export(name: str) -> Export:
    """Read a document that `datastore export` wrote.

    Raises:
        Refused: It cannot be read or used.
    """
    if name != STANDARD_INPUT and (not name or Path(name).is_dir()):
        raise Refused(f"{name!r} names no file; nothing was changed.")
    shown, text = read_input(name, max_bytes=MAX_EXPORT_BYTES)
    try:
        return decode_export(text)
    except InvalidResource as error:
        raise Refused(f"{shown}: {error}", "Nothing was changed.") from None
