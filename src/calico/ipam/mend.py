"""Mend what a check has found, where that is safe.

Every change names the revisions of what it was judged on, so what somebody
changes meanwhile is left alone. An address is given back only when two looks
some time apart have found the same allocation without an endpoint: whoever is
at work on an endpoint writes or deletes it within that time. No clock decides
it but the one of whoever looks.

Not here: addresses that several endpoints have, and blocks that cannot be
read. Nothing can be said about them but by people.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from calico.codec.block_json import encode_handle
from calico.codec.keys import (
    IPAM_CONFIG_KEY,
    encode_key,
    ipam_affinity_key,
    ipam_block_key,
    ipam_handle_key,
)
from calico.ipam.blocks import give_back, take
from calico.ipam.check import Finding, Kind, check, counts_of, show_endpoint
from calico.ipam.handles import endpoint_handle
from calico.ipam.ledger import Ledger
from calico.ipam.release import N_PER_STEP, disown, put_back
from calico.ipam.survey import Survey, read_survey
from calico.model.block import Attributes, Handle, make_block
from calico.model.errors import Conflict, InvalidResource
from calico.model.names import EndpointKey
from calico.model.network import Pool
from calico.netset import Network
from calico.store.api import (
    NO_REVISION,
    Compare,
    Delete,
    Note,
    Operation,
    Put,
    Revision,
    Scope,
    Store,
    Transaction,
    View,
)

_MAX_COMPARES = 100
_CHANGED = "it was changed meanwhile; check again"
_NOT_HELPED = {
    Kind.DOUBLE: "take it away from all endpoints but one:"
    " `calicoctl container WORKLOAD ip remove ADDRESS` on the host",
    Kind.UNREADABLE: "it must be repaired by hand, or from a backup",
}
_PHASES = (
    frozenset({Kind.STRAY_MARK, Kind.MISSING_MARK}),
    frozenset({Kind.ORPHAN_HANDLE, Kind.WRONG_HANDLE}),
    frozenset({Kind.UNCOVERED, Kind.OTHER_HANDLE}),
)
_LAST_PHASE = frozenset({Kind.OUTSIDE, Kind.GONE_HOST})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of a finding.

    Attributes:
        finding: The finding.
        left: Why it was left as it is; `None` when it is mended.
    """

    finding: Finding
    left: str | None


@dataclass(slots=True)
class Mender:
    """Mends what it finds, each kind of thing on a look of its own.

    Attributes:
        store: The datastore.
        note: For its history.
        time: What is written down as the time of allocations that were missing.
        wait: Called with the number of leaks between the two looks at them;
            returns when enough time has passed.
    """

    store: Store
    note: Note
    time: str
    wait: Callable[[int], None]
    _outcomes: list[Outcome] = field(default_factory=list[Outcome], init=False)

    def mend(self) -> tuple[Outcome, ...]:
        """Mend what can be mended, and say what was found.

        Raises:
            Unavailable: The datastore cannot be used; what was done is done.
            OutcomeUnknown: It may have made the last change.
        """
        survey = read_survey(self.store)
        for finding in check(survey):
            if reason := _NOT_HELPED.get(finding.kind):
                self._outcomes.append(Outcome(finding, reason))
        for phase in _PHASES:
            self._mend_phase(phase)
        self._mend_leaks()
        self._mend_phase(_LAST_PHASE)
        return tuple(self._outcomes)

    def _mend_phase(self, kinds: frozenset[Kind]) -> None:
        survey = read_survey(self.store)
        for finding in check(survey):
            if finding.kind in kinds:
                self._outcomes.append(self._mend_one(survey, finding))

    def _mend_one(self, survey: Survey, finding: Finding) -> Outcome:
        try:
            match finding.kind:
                case Kind.UNCOVERED | Kind.OTHER_HANDLE:
                    left = self._cover(survey, finding)
                case Kind.ORPHAN_HANDLE | Kind.WRONG_HANDLE:
                    left = self._commit(_count_anew(survey, finding, self.note))
                case _:
                    left = self._commit(_place_anew(survey, finding, self.note))
        except InvalidResource as error:
            left = str(error)
        return Outcome(finding, left)

    def _commit(self, transaction: Transaction | None) -> str | None:
        if transaction is None:
            return _CHANGED
        try:
            self.store.commit(transaction)
        except Conflict:
            return _CHANGED
        return None

    def _cover(self, survey: Survey, finding: Finding) -> str | None:
        """Let an address be allocated to the one endpoint that has it."""
        if len(finding.endpoints) != 1:
            return "several endpoints have it"
        (user,) = finding.endpoints
        change = _Cover(survey, finding, user, self.time, self.note)
        try:
            return self.store.update(change.scope(), change.decide)[1]
        except Conflict:
            return _CHANGED

    def _mend_leaks(self) -> None:
        first = read_survey(self.store)
        seen = {f.address: f for f in check(first) if f.kind is Kind.LEAK}
        if not seen:
            return
        self.wait(len(seen))
        second = read_survey(self.store)
        by_block: dict[Network, list[Finding]] = {}
        for finding in check(second):
            before = seen.get(finding.address) if finding.kind is Kind.LEAK else None
            if before is None or finding.network is None:
                # One that has come since is for the next check.
                continue
            if not _is_same(first, second, before, finding):
                self._outcomes.append(Outcome(finding, _CHANGED))
            else:
                by_block.setdefault(finding.network, []).append(finding)
        # A key that a step of ours has changed may be so in the next one.
        ours: dict[str, Revision] = {}
        for network, findings in by_block.items():
            for first_of_step in range(0, len(findings), N_PER_STEP):
                step = findings[first_of_step : first_of_step + N_PER_STEP]
                self._outcomes += self._free(second, network, step, ours)

    def _free(
        self,
        survey: Survey,
        network: Network,
        leaks: list[Finding],
        ours: dict[str, Revision],
    ) -> Iterator[Outcome]:
        handles = frozenset(f.handle for f in leaks if f.handle is not None)

        def decide(view: View) -> tuple[Transaction | None, set[str]]:
            ledger = Ledger(view, handles)
            block = ledger.block(network)
            if block is None:
                return None, set()
            sound = [f for f in leaks if _still_leaks(survey, view, f, ours)]
            freed = [
                f.address
                for f in sound
                if f.address is not None
                and block.attributes_of(f.address) == f.attributes
            ]
            put_back(ledger, block, freed)
            return ledger.transaction(self.note), set(map(str, freed))

        keys = (ipam_block_key(network), *map(ipam_handle_key, sorted(handles)))
        freed: set[str] = set()
        reason = _CHANGED
        try:
            revision, freed = self.store.update(Scope(keys), decide)
            if freed:
                ours.update(dict.fromkeys(keys, revision))
        except Conflict:
            pass
        except InvalidResource as error:
            reason = str(error)
        for finding in leaks:
            yield Outcome(finding, None if finding.subject in freed else reason)


def _is_same(first: Survey, second: Survey, before: Finding, after: Finding) -> bool:
    """Tell whether two looks have seen the same allocation all the time."""
    if before.attributes != after.attributes or after.network is None:
        return False
    if after.handle is not None:
        key = ipam_handle_key(after.handle)
        return _revision(first.view, key) == _revision(second.view, key)
    # Nothing tells one allocation without a handle from another.
    key = ipam_block_key(after.network)
    return _revision(first.view, key) == _revision(second.view, key)


def _still_leaks(
    survey: Survey, view: View, leak: Finding, ours: Mapping[str, Revision]
) -> bool:
    """Tell whether nobody has touched an allocation since it was judged.

    Whoever writes an endpoint puts the handle of its addresses again, and can
    write none while there is no handle.
    """
    if leak.handle is not None:
        key = ipam_handle_key(leak.handle)
    elif leak.network is not None:
        key = ipam_block_key(leak.network)
    else:
        return False
    found = _revision(view, key)
    return found == _revision(survey.view, key) or found in {ours.get(key), NO_REVISION}


def _revision(view: View, key: str) -> Revision:
    item = view.get(key)
    return NO_REVISION if item is None else item.modified


def _compares(survey: Survey, keys: Iterable[str]) -> tuple[Compare, ...]:
    unique = tuple(dict.fromkeys(keys))[:_MAX_COMPARES]
    return tuple(Compare(key, _revision(survey.view, key)) for key in unique)


def _count_anew(survey: Survey, finding: Finding, note: Note) -> Transaction | None:
    """Make the counts of a handle those of the blocks."""
    handle = finding.handle
    if handle is None:
        return None
    counts = dict(counts_of(survey).get(handle, {}))
    stored = survey.handles.get(handle)
    key = ipam_handle_key(handle)
    networks = (*counts, *(stored.counts if stored is not None else ()))
    operation: Operation = (
        Put(key, encode_handle(Handle(handle, counts))) if counts else Delete(key)
    )
    # Whoever changes a block changes the handle with it, but for one that is
    # missing: so the handle comes first, and blocks as far as there is room.
    keys = (key, *map(ipam_block_key, networks))
    return Transaction(_compares(survey, keys), (operation,), note)


def _place_anew(survey: Survey, finding: Finding, note: Note) -> Transaction | None:
    """Mend the affinity of a block, and its mark."""
    network, host = finding.network, finding.host
    if network is None:
        return None
    block_key = ipam_block_key(network)
    keys = [block_key, *([ipam_affinity_key(host, network)] if host else [])]
    compares = _compares(survey, keys)
    if finding.kind is Kind.STRAY_MARK:
        return Transaction(compares, (Delete(keys[1]),), note)
    if finding.kind is Kind.MISSING_MARK:
        return Transaction(compares, (Put(keys[1], b""),), note)
    ledger = Ledger(survey.view, frozenset())
    block = ledger.block(network)
    if block is None:
        return None
    disown(ledger, block)
    made = ledger.transaction(note)
    return None if made is None else replace(made, compares=compares)


@dataclass(frozen=True, slots=True)
class _Cover:
    """The allocation of an address to the endpoint that has it.

    Attributes:
        survey: Where it was found.
        finding: That it is not allocated, or under another's handle.
        user: The endpoint.
        time: Written down with it.
        note: For the history of the datastore.
    """

    survey: Survey
    finding: Finding
    user: EndpointKey
    time: str
    note: Note

    def _handles(self) -> frozenset[str]:
        other = self.finding.handle
        return frozenset({endpoint_handle(self.user), *([other] if other else [])})

    def scope(self) -> Scope:
        network = self.finding.network
        return Scope(
            (
                *([ipam_block_key(network)] if network is not None else []),
                IPAM_CONFIG_KEY,
                encode_key(self.user),
                *map(ipam_handle_key, sorted(self._handles())),
            )
        )

    def decide(self, view: View) -> tuple[Transaction | None, str | None]:
        finding, address = self.finding, self.finding.address
        place = encode_key(self.user)
        judged = self.survey.endpoints[self.user].modified
        if address is None or finding.network is None:
            return None, _CHANGED
        if _revision(view, place) != judged:
            return None, f"{show_endpoint(self.user)} was changed meanwhile"
        ledger = Ledger(view, self._handles())
        block = ledger.block(finding.network)
        if block is None:
            is_strict = ledger.config().strict_affinity
            block = make_block(finding.network, self.user.host, is_strict=is_strict)
            if self._may_be_affine():
                ledger.claim(block)
            else:
                block = replace(block, affinity=None)
        if block.attributes_of(address) != finding.attributes:
            return None, _CHANGED
        attributes = Attributes(endpoint_handle(self.user), {"time": self.time})
        ledger.put(take(give_back(block, [address]), address, attributes))
        return ledger.transaction(self.note), None

    def _may_be_affine(self) -> bool:
        network = self.finding.network
        pool = None if network is None else self.survey.pool_of(network)
        return isinstance(pool, Pool) and not pool.is_disabled
