"""Whose established flows a change may deny.

A change that can only let more through concerns nobody. Whatever cannot be
told apart cheaply counts as one that can deny: the flows are judged one by one
afterwards, so a suspect too many costs time and cuts nothing.
"""

from dataclasses import dataclass

from calico.agent.uses import Uses
from calico.ir.delta import Change, Delta
from calico.ir.match import CompiledRule
from calico.ir.state import CompiledProfile, LocalEndpoint, PackedAddress
from calico.model.rule import Action


@dataclass(frozen=True, slots=True)
class Suspects:
    """Addresses whose flows have to be looked at.

    Attributes:
        judged: Flows from or to these are judged anew.
        gone: No endpoint of this host has these any more: all their flows go.
    """

    judged: frozenset[PackedAddress] = frozenset()
    gone: frozenset[PackedAddress] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.judged or self.gone)

    def __or__(self, later: "Suspects") -> "Suspects":
        return Suspects(
            self.judged | later.judged, (self.gone - later.judged) | later.gone
        )


def find_suspects(delta: Delta, uses: Uses) -> Suspects:
    """Find out whose flows a change may deny.

    Args:
        delta: The change.
        uses: Who uses what after it.
    """
    judged = set(members_at_risk(delta, uses).judged)
    endpoints: list[LocalEndpoint] = []
    if delta.settings is not None:
        endpoints.extend(uses.endpoints().values())
    tightened = [p for p, change in delta.profiles.items() if _can_deny(change)]
    endpoints.extend(uses.endpoints_with(tightened))
    lists = [
        key.profiles
        for key, pipeline in delta.pipelines.items()
        if pipeline.before is not None and pipeline.after is not None
    ]
    endpoints.extend(uses.endpoints_with_lists(lists))
    for endpoint in endpoints:
        judged.update(addresses_of(endpoint))
    for change in delta.endpoints.values():
        if change.after is not None and change.before is not None:
            judged.update(addresses_of(change.after))
    lost = _lost(delta)
    kept = _kept(lost, uses)
    # What one endpoint loses another may have got, by its own policy.
    return Suspects(frozenset(judged | kept), lost - kept)


def is_coming_back(delta: Delta, gone: frozenset[PackedAddress]) -> bool:
    """Tell whether a change gives an endpoint an address that is gone."""
    return any(
        address in gone
        for change in delta.endpoints.values()
        if gone and change.after is not None and change.after.is_active
        for address in addresses_of(change.after)
    )


def members_at_risk(delta: Delta, uses: Uses) -> Suspects:
    """Find the members whose flows a change of a tag set may deny.

    Args:
        delta: The change.
        uses: Who uses what; to be asked for before and after the change.
    """
    judged: set[PackedAddress] = set()
    for tag_set, change in delta.tag_sets.items():
        if not change.existed:
            # A set that a changed profile begins to name changes nobody's
            # flows by itself: the profile's change says whether it can deny.
            continue
        actions = uses.actions_on(tag_set)
        if Action.ALLOW in actions:
            judged |= change.removed
        if Action.DENY in actions:
            judged |= change.added
    return Suspects(frozenset(judged))


def _lost(delta: Delta) -> frozenset[PackedAddress]:
    """Find what active endpoints had before a change that touches them."""
    return frozenset(
        address
        for change in delta.endpoints.values()
        if change.before is not None and change.before.is_active
        for address in addresses_of(change.before)
    )


def _kept(lost: frozenset[PackedAddress], after: Uses) -> frozenset[PackedAddress]:
    if not lost:
        return frozenset()
    return frozenset(
        address
        for endpoint in after.endpoints().values()
        if endpoint.is_active
        for address in addresses_of(endpoint)
        if address in lost
    )


def addresses_of(endpoint: LocalEndpoint) -> tuple[PackedAddress, ...]:
    """Return every address that an endpoint may send from, its own on the link too."""
    own = endpoint.link_local
    return endpoint.addresses if own is None else (*endpoint.addresses, own)


def _can_deny(change: Change[CompiledProfile]) -> bool:
    if change.before is None:
        # Nothing denied yet could be let through less: an endpoint that lists
        # the profile anew is a change of its own, and a fault denied already.
        return False
    if change.after is None:
        return True
    return any(
        not _only_widens(rules, change.after.rules[where])
        for where, rules in change.before.rules.items()
    )


def _only_widens(
    before: tuple[CompiledRule, ...], after: tuple[CompiledRule, ...]
) -> bool:
    """Tell whether allow rules have come and deny rules have gone, no more."""
    at = 0
    for rule in after:
        found = at
        while found < len(before) and not _is_same(before[found], rule):
            if before[found].action is Action.ALLOW:
                found = len(before)
                break
            found += 1
        if found < len(before):
            at = found + 1
        elif rule.action is Action.DENY:
            return False
    return all(rule.action is Action.DENY for rule in before[at:])


def _is_same(one: CompiledRule, other: CompiledRule) -> bool:
    # The origin holds the rule's number, which decides nothing.
    return one.action is other.action and one.match == other.match
