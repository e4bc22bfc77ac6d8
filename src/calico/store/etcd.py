"""The datastore in an etcd cluster, shared by all hosts.

Theory of operation. Keys and values are those of the data model, one key per
leaf; revisions are etcd's own. A transaction is one of etcd's, with the
compares that it was decided on (`etcd_txn`), and puts its note beside
(`etcd_keys`). Listings come in pages at one revision, and every read is
linearizable: a member that has lost its quorum answers nothing (`etcd_client`).
Members are tried one after another, a write only once (`etcd_transport`).

Not here: watching (`etcd_watch`), and who may do what (`etcd_roles`).
"""

import os
import random
import time
from collections.abc import Sequence

from calico.model.errors import (
    CalicoError,
    Conflict,
    LeaseExpired,
    StoreCorrupt,
    TransactionTooLarge,
    Unavailable,
)
from calico.model.names import NO_REVISION, Revision
from calico.store.etcd_client import EtcdClient
from calico.store.etcd_compactor import compact_old
from calico.store.etcd_faults import EtcdRefused, no_space
from calico.store.etcd_holes import warnings_about
from calico.store.etcd_keys import (
    ID_KEY,
    STORE_PREFIX,
    is_hidden,
)
from calico.store.etcd_past import read_history, read_last_change, read_last_change_of
from calico.store.etcd_place import EtcdPlace
from calico.store.etcd_txn import (
    Attempt,
    changing_operations,
    find_conflict,
    first_lease,
    own_compares,
    present_operations,
    read_compared,
    read_operations,
    scope_compares,
    scope_of,
    view_of,
    widened,
)
from calico.store.etcd_watch import EtcdWatch
from calico.store.etcd_wire import (
    Result,
    TxnAnswer,
    compare,
    encode_text,
    put_operation,
    range_of,
    range_operation,
    range_request,
    txn_request,
)
from calico.store.values import (
    Compare,
    Decide,
    DeletePrefix,
    HistoryEntry,
    KeyRevision,
    KeyValue,
    LeaseId,
    Listing,
    Operation,
    Scope,
    Survey,
    T,
    Transaction,
    View,
)

_N_TRIES = 100
_N_NAMED = 3
_LONGEST_PAUSE_S = 0.05
_N_WAITS = 8


class EtcdStore:
    """A store in etcd; see `calico.store.api.Store`. Use `open_etcd`.

    Args:
        client: Belongs to the store, which closes it.
        store_id: From the store itself.
    """

    def __init__(self, client: EtcdClient, store_id: str) -> None:
        self._client = client
        self._store_id = store_id

    @property
    def store_id(self) -> str:
        """What this store is: random, made when it was created."""
        return self._store_id

    def get(self, key: str) -> KeyValue | None:
        """Return a key with its value, or `None` if it is absent."""
        return None if is_hidden(key) else self._client.get(key)[0]

    def list_prefix(self, prefix: str, at: Revision | None = None) -> Listing:
        """Return everything whose key starts with `prefix`, at one revision."""
        if at == NO_REVISION:
            return Listing((), NO_REVISION)
        items, revision = self._client.list_range(prefix, at)
        return Listing(tuple(kv for kv in items if not is_hidden(kv.key)), revision)

    def survey(self, prefix: str, after: Revision) -> Survey:
        """Count the keys below a prefix, and say which are newer than a revision."""
        wanted = range_request(*range_of(prefix), keys_only=True, after=after)
        hidden = range_request(*range_of(STORE_PREFIX), count_only=True)
        answer = self._client.look(
            (range_operation(wanted), range_operation(hidden)), f"survey {prefix!r}"
        )
        shown, ours = answer.ranges
        n_hidden = ours.n_found if STORE_PREFIX.startswith(prefix) else 0
        modified = (
            KeyRevision(kv.key, kv.modified)
            for kv in shown.items
            if not is_hidden(kv.key)
        )
        return Survey(tuple(modified), shown.n_found - n_hidden, answer.revision)

    def commit(self, transaction: Transaction) -> Revision:
        """Make a transaction's changes, all or none, and durable."""
        deleted = scope_of(transaction)
        if deleted.keys or deleted.prefixes:
            return self.update(deleted, lambda _: (transaction, None))[0]
        if not transaction.operations and not transaction.compares:
            return self._client.get(ID_KEY)[1]
        compared = transaction.compares
        attempt = Attempt(
            own_compares(compared),
            changing_operations(transaction.operations, transaction.note, time.time()),
            read_compared(compared),
        )
        answer = self._transact(attempt, transaction)
        if not answer.succeeded:
            raise self._conflict(compared, answer)
        return answer.revision

    def update(self, scope: Scope, decide: Decide[T]) -> tuple[Revision, T]:
        """Read, decide and write, and again when others were first."""
        seen = now = NO_REVISION
        view = self._read(scope)
        for number in range(_N_TRIES):
            transaction, result = decide(view)
            if transaction is None:
                return view.revision, result
            wider = widened(scope, transaction)
            if wider != scope:
                # What is deleted must have been seen, so that a deletion of
                # nothing is none.
                scope, view = wider, self._read(wider)
                continue
            operations = present_operations(transaction, view)
            if not operations:
                self._check(transaction)
                return view.revision, result
            answer = self._try(scope, view, transaction, operations)
            if answer.succeeded:
                return answer.revision, result
            n_read = len(scope.keys) + len(scope.prefixes)
            if found := find_conflict(transaction.compares, answer.ranges[n_read:]):
                raise found
            seen, now = view.revision, answer.revision
            view = view_of(answer.ranges[:n_read], answer.revision)
            time.sleep(random.uniform(0, longest_pause_s(number)))  # noqa: S311 -- to not meet again
        raise Conflict(_few((*scope.keys, *scope.prefixes)), seen, now)

    def watch(self, prefix: str, after: Revision) -> EtcdWatch:
        """Watch what changes below `prefix` after a revision."""
        return EtcdWatch(self._client.place, self._store_id, prefix, after)

    def last_change(
        self, prefixes: tuple[str, ...], listing: Listing | None = None
    ) -> Revision:
        """Return the newest revision that changed anything below the prefixes."""
        if listing is None:
            return read_last_change(self._client, prefixes)
        return read_last_change_of(self._client, prefixes, listing)

    def history(
        self, prefix: str = "", *, before: Revision | None = None, limit: int = 100
    ) -> tuple[HistoryEntry, ...]:
        """Return the remembered revisions that touched a prefix, newest first."""
        return read_history(self._client, prefix, before, limit)

    def grant(self, ttl_s: float) -> LeaseId:
        """Begin a lease; of whole seconds, and no less than etcd's least."""
        return self._client.grant(ttl_s)

    def keep_alive(self, lease: LeaseId) -> None:
        """Let a lease run its full time again, from now."""
        self._client.keep_alive(lease)

    def revoke(self, lease: LeaseId) -> None:
        """End a lease now and delete its keys."""
        self._client.revoke(lease)

    def compact(self, before: Revision) -> None:
        """Forget what is only needed to show revisions older than `before`."""
        if before > NO_REVISION:
            self._client.compact(before)

    def verify(self) -> None:
        """Ask etcd whether it has found itself damaged: it checks what it keeps."""
        for error in self._client.status().errors:
            if "CORRUPT" in error:
                raise StoreCorrupt(
                    self._client.place.name,
                    "etcd says that a member's data differs from the others'"
                    " (alarm CORRUPT)",
                    ("replace that member, then `etcdctl alarm disarm`",),
                )

    def tidy(self, now_s: float) -> None:
        """Compact what is old, if no other agent has."""
        compact_old(self._client, now_s)

    def warnings(self) -> tuple[str, ...]:
        """Say which known holes the servers have, and which alarms they raise."""
        status = self._client.status()
        said = [f"etcd: {each}" for each in status.errors]
        if any("NOSPACE" in each for each in status.errors):
            said = [str(no_space(self._client.place.name))]
        # Without certificates nobody has a role that could be got round.
        is_trusted = self._client.place.certificate is not None
        return (*said, *(warnings_about(status.version) if is_trusted else ()))

    def close(self) -> None:
        """Free what the store holds; closing twice is allowed."""
        self._client.close()

    def _read(self, scope: Scope) -> View:
        reads = read_operations(scope)
        if not reads:
            return view_of((), self._client.get(ID_KEY)[1])
        names = _few((*scope.keys, *scope.prefixes))
        answer = self._client.look(reads, f"read {names}")
        return view_of(answer.ranges, answer.revision)

    def _try(
        self,
        scope: Scope,
        view: View,
        transaction: Transaction,
        operations: tuple[Operation, ...],
    ) -> TxnAnswer:
        compared = transaction.compares
        attempt = Attempt(
            (*scope_compares(scope, view), *own_compares(compared)),
            changing_operations(operations, transaction.note, time.time()),
            (*read_operations(scope), *read_compared(compared)),
        )
        return self._transact(attempt, transaction)

    def _check(self, transaction: Transaction) -> None:
        if transaction.compares:
            self.commit(Transaction(transaction.compares, (), transaction.note))

    def _transact(self, attempt: Attempt, transaction: Transaction) -> TxnAnswer:
        request = txn_request(*attempt)
        try:
            return self._client.transact(request, _what(transaction))
        except EtcdRefused as error:
            raise self._explain(error, attempt, len(request), transaction) from None

    def _explain(
        self,
        error: EtcdRefused,
        attempt: Attempt,
        n_bytes: int,
        transaction: Transaction,
    ) -> CalicoError:
        lease = first_lease(transaction)
        if error.says("requested lease not found") and lease is not None:
            return LeaseExpired(lease)
        where = self._client.place.name
        if error.says("too many operations"):
            return TransactionTooLarge(
                where,
                f"{attempt.n_operations} operations in one transaction are more than"
                " this etcd takes",
                ("make the change in parts", "raise etcd's --max-txn-ops"),
            )
        if error.says("too large") or error.says("larger than max"):
            return TransactionTooLarge(
                where,
                f"{n_bytes} bytes in one transaction are more than this etcd takes",
                ("make the change in parts", "raise etcd's --max-request-bytes"),
            )
        return self._client.unexpected(error)

    def _conflict(self, compared: tuple[Compare, ...], answer: TxnAnswer) -> Conflict:
        found = find_conflict(compared, answer.ranges)
        if found is None:
            raise RuntimeError("etcd found a difference where there is none")
        return found


def open_etcd(place: EtcdPlace, *, may_make: bool) -> EtcdStore:
    """Open the store in an etcd.

    Args:
        place: Which etcd, and who we are there.
        may_make: Begin a store where there is none.

    Raises:
        Unavailable: It cannot be reached, refuses us, or holds no store.
    """
    client = EtcdClient(place)
    try:
        found, _ = client.get(ID_KEY)
        if found is None and not may_make:
            raise _holds_nothing(place)  # noqa: TRY301 -- closed below like others
        value = _make_id(client) if found is None else found.value
        return EtcdStore(client, value.decode("ascii", "replace"))
    except BaseException:
        client.close()
        raise


def _holds_nothing(place: EtcdPlace) -> Unavailable:
    return Unavailable(
        place.name,
        f"holds no Calico data ({ID_KEY} is absent)",
        (
            f"see whether {place.settings.variable} names the right etcd",
            "restore a snapshot of it",
            "begin with an empty one: `calicoctl node`, or any command that adds"
            " something, makes it",
        ),
    )


def _make_id(client: EtcdClient) -> bytes:
    key = encode_text(ID_KEY)
    made = os.urandom(16).hex().encode()
    absent = compare(key, result=Result.EQUAL, modified=0)
    read = range_operation(range_request(key))
    request = txn_request((absent,), (put_operation(ID_KEY, made),), (read,))
    try:
        answer = client.transact(request, f"make {ID_KEY}")
    except EtcdRefused as error:
        raise client.unexpected(error) from None
    return made if answer.succeeded else answer.ranges[0].items[0].value


def _what(transaction: Transaction) -> str:
    """Say what a transaction would do, for an error."""
    names = [
        each.prefix if isinstance(each, DeletePrefix) else each.key
        for each in transaction.operations
    ]
    return f"write {_few(names)}" if names else "compare keys"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
    return ", ".join(names[:_N_NAMED]) + more


def longest_pause_s(n_lost: int) -> float:
    """Say how long to wait at most before the next try of an update.

    Who loses for the first time makes way for the others, for as long as several
    changes take; then for ever less, and in the end not at all. Were it the other
    way round, those that have just won, and begin anew at once, would win for ever.

    Args:
        n_lost: How many tries were lost before the last one.
    """
    return 0.0 if n_lost >= _N_WAITS else _LONGEST_PAUSE_S * 0.75**n_lost
