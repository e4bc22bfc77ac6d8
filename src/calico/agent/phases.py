"""Cut one change into several commits where one does not fit, or must not do.

Two occasions. Where an address moves between tag sets, a packet in flight
looks at the two sets at two moments, and one commit in between could hide the
address from both: so it is added first, and taken out after a grace period.
And where a socket's buffer is too small for a commit, it is cut so that no
step lets more through than the state before or the state after:

1. what nothing refers to yet: new sets with their members, new chains;
2. endpoints that change, or whose profiles use a set in both ways, are given
   the empty list of profiles, which denies; established flows go on;
3. members leave sets that allow, and enter sets that deny;
4. rules, settings, translation: one commit;
5. members enter sets that allow, and leave sets that deny;
6. endpoints get the list that they should have;
7. what nothing refers to any more goes.

Every phase but the fourth may be cut further at any step.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from calico.agent.uses import Uses, named_sets
from calico.ir.delta import Change, Delta, TagSetChange
from calico.ir.match import TagSetId
from calico.ir.origin import EndOfProfiles
from calico.ir.state import LocalEndpoint, PackedAddress, Pipeline, PipelineKey
from calico.model.names import EndpointKey
from calico.model.rule import Action, Direction

_NO_MEMBERS: frozenset[PackedAddress] = frozenset()


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a change.

    Attributes:
        delta: What it does.
        is_whole: It must go in as one commit.
    """

    delta: Delta
    is_whole: bool = False


def split_moves(delta: Delta, uses: Uses) -> tuple[Delta, ...]:
    """Cut a change in two if an address moves from one tag set to another.

    Between the two the kernel needs a grace period. Where the rules that name
    these sets change as well, the state between would be neither the old nor
    the new policy, so that change stays whole.

    Args:
        delta: The change.
        uses: As before the change.
    """
    came: set[PackedAddress] = set()
    went: set[PackedAddress] = set()
    for change in delta.tag_sets.values():
        if change.existed and change.exists:
            came |= change.added
            went |= change.removed
    moved = came & went
    if not moved or _renamed(delta, uses, moved):
        return (delta,)
    first = _only_added(delta, moved)
    rest = replace(
        delta,
        tag_sets={
            key: _without(change, added=moved) for key, change in delta.tag_sets.items()
        },
    )
    return (first, rest)


def _renamed(delta: Delta, uses: Uses, moved: set[PackedAddress]) -> bool:
    """Tell whether rules that name a set concerned change too."""
    if delta.settings is not None:
        return True
    concerned = {
        tag_set
        for tag_set, change in delta.tag_sets.items()
        if moved & change.added or moved & change.removed
    }
    if any(uses.profiles_naming(each) & delta.profiles.keys() for each in concerned):
        return True
    return any(
        change.after is not None and named_sets(change.after).keys() & concerned
        for change in delta.profiles.values()
    )


def _only_added(delta: Delta, moved: set[PackedAddress]) -> Delta:
    return Delta(
        revision=delta.revision,
        problems=delta.problems,
        tag_sets={
            key: TagSetChange(
                existed=True,
                exists=True,
                added=frozenset(moved & change.added),
                removed=_NO_MEMBERS,
            )
            for key, change in delta.tag_sets.items()
            if change.existed and change.exists and moved & change.added
        },
    )


def _without(change: TagSetChange, *, added: set[PackedAddress]) -> TagSetChange:
    if not (change.existed and change.exists):
        return change
    return replace(change, added=frozenset(change.added - added))


def split_delta(delta: Delta, before: Uses, after: Uses) -> tuple[Phase, ...]:
    """Cut a change so that no commit opens more than the whole would.

    Args:
        delta: The change.
        before: Who used what.
        after: Who uses what then.
    """
    polarity = {
        key: before.actions_on(key) | after.actions_on(key)
        for key, change in delta.tag_sets.items()
        if change.existed and change.exists
    }
    both_ways = {key for key, actions in polarity.items() if len(actions) > 1}
    users = {
        profile
        for key in both_ways
        for profile in before.profiles_naming(key) | after.profiles_naming(key)
    }
    closing, opening = _endpoint_phases(delta, before.endpoints_with(users))
    lent = _lent_pipelines(delta, before) if closing.keys() & opening.keys() else {}
    parts = (
        Phase(_preparation(delta, lent)),
        Phase(_part(delta, endpoints=closing)),
        Phase(_part(delta, tag_sets=_narrowing(delta.tag_sets, polarity))),
        Phase(_core(delta), is_whole=True),
        Phase(_part(delta, tag_sets=_widening(delta.tag_sets, polarity))),
        Phase(_part(delta, endpoints=opening)),
        Phase(_clearance(delta, lent)),
    )
    return tuple(part for part in parts if not part.delta.is_empty())


def _part(
    delta: Delta,
    *,
    tag_sets: Mapping[TagSetId, TagSetChange] | None = None,
    endpoints: Mapping[EndpointKey, Change[LocalEndpoint]] | None = None,
) -> Delta:
    return Delta(
        revision=delta.revision,
        problems=delta.problems,
        tag_sets=tag_sets or {},
        endpoints=endpoints or {},
    )


def _preparation(delta: Delta, lent: Mapping[PipelineKey, Pipeline]) -> Delta:
    new_sets = {k: c for k, c in delta.tag_sets.items() if not c.existed}
    new = {k: c for k, c in delta.pipelines.items() if c.before is None}
    return replace(
        _part(delta, tag_sets=new_sets),
        profiles={k: c for k, c in delta.profiles.items() if c.before is None},
        pipelines={**new, **{k: Change(None, v) for k, v in lent.items()}},
    )


def _clearance(delta: Delta, lent: Mapping[PipelineKey, Pipeline]) -> Delta:
    old_sets = {k: c for k, c in delta.tag_sets.items() if not c.exists}
    old = {k: c for k, c in delta.pipelines.items() if c.after is None}
    return replace(
        _part(delta, tag_sets=old_sets),
        profiles={k: c for k, c in delta.profiles.items() if c.after is None},
        pipelines={**old, **{k: Change(v, None) for k, v in lent.items()}},
    )


def _core(delta: Delta) -> Delta:
    return replace(
        _part(delta),
        settings=delta.settings,
        translation=delta.translation,
        guard=delta.guard,
        routes=delta.routes,
        profiles={k: c for k, c in delta.profiles.items() if c.before and c.after},
        pipelines={k: c for k, c in delta.pipelines.items() if c.before and c.after},
    )


def _endpoint_phases(
    delta: Delta, closed: Iterable[LocalEndpoint]
) -> tuple[
    dict[EndpointKey, Change[LocalEndpoint]], dict[EndpointKey, Change[LocalEndpoint]]
]:
    """Say which endpoints are closed first, and which are opened at the end."""
    closing: dict[EndpointKey, Change[LocalEndpoint]] = {}
    opening: dict[EndpointKey, Change[LocalEndpoint]] = {}
    changes = {each.key: Change(each, each) for each in closed if each.is_active}
    for key, change in {**changes, **delta.endpoints}.items():
        before, after = change.before, change.after
        if before is None:
            opening[key] = change
        elif after is None or not after.is_active:
            closing[key] = change
        elif not before.is_active:
            opening[key] = change
        else:
            shut = replace(before, profiles=())
            closing[key] = Change(before, shut)
            opening[key] = Change(shut, after)
    return closing, opening


def _lent_pipelines(delta: Delta, before: Uses) -> dict[PipelineKey, Pipeline]:
    """Make the pipelines of the empty list, unless they are there or coming."""
    if any(endpoint.is_active for endpoint in before.endpoints_with_lists([()])):
        return {}
    keys = [PipelineKey((), direction) for direction in Direction]
    return {
        key: Pipeline(key, (), EndOfProfiles((), key.direction))
        for key in keys
        if key not in delta.pipelines
    }


def _narrowing(
    changes: Mapping[TagSetId, TagSetChange],
    polarity: Mapping[TagSetId, frozenset[Action]],
) -> dict[TagSetId, TagSetChange]:
    """Keep of each change what can only deny more."""
    return _halves(changes, polarity, Action.ALLOW, Action.DENY)


def _widening(
    changes: Mapping[TagSetId, TagSetChange],
    polarity: Mapping[TagSetId, frozenset[Action]],
) -> dict[TagSetId, TagSetChange]:
    """Keep of each change what can only allow more."""
    return _halves(changes, polarity, Action.DENY, Action.ALLOW)


def _halves(
    changes: Mapping[TagSetId, TagSetChange],
    polarity: Mapping[TagSetId, frozenset[Action]],
    shrinks: Action,
    grows: Action,
) -> dict[TagSetId, TagSetChange]:
    found: dict[TagSetId, TagSetChange] = {}
    for key, actions in polarity.items():
        change = changes[key]
        # A set that is used both ways is used by closed endpoints only; then
        # the order does not matter, and members come and go with `grows`.
        is_mixed = len(actions) > 1
        added = change.added if grows in actions else _NO_MEMBERS
        removed = change.removed if shrinks in actions else _NO_MEMBERS
        if is_mixed and grows is Action.DENY:
            added = removed = _NO_MEMBERS
        if not actions and grows is Action.ALLOW:
            added, removed = change.added, change.removed
        if added or removed:
            found[key] = replace(change, added=added, removed=removed)
    return found
