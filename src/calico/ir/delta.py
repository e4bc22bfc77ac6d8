"""The difference of two desired states, by key."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from calico.ir.match import TagSetId
from calico.ir.state import (
    CompiledProfile,
    DesiredState,
    LocalEndpoint,
    PackedAddress,
    Pipeline,
    PipelineKey,
    Route,
    Translation,
)
from calico.ir.tunnel import TunnelGuard
from calico.model.names import EndpointKey, ProfileId, Revision
from calico.model.network import HostSettings
from calico.netset import Address

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Change(Generic[V]):
    """One value before and after; `None` means absent, and not both are."""

    before: V | None
    after: V | None


@dataclass(frozen=True, slots=True)
class TagSetChange:
    """What happens to one tag set.

    Attributes:
        existed: The set was there before.
        exists: The set is there afterwards.
        added: Members that come; all of them when the set is new.
        removed: Members that go; all of them when the set goes.
    """

    existed: bool
    exists: bool
    added: AbstractSet[PackedAddress]
    removed: AbstractSet[PackedAddress]


@dataclass(frozen=True, slots=True)
class Delta:
    """What must change, keyed as the desired state is; absent keys stay.

    Attributes:
        revision: The revision of the state afterwards.
        settings: Before and after, when they differ.
        translation: Before and after, when they differ.
        guard: Before and after, when they differ.
        problems: All problems afterwards.
    """

    revision: Revision
    problems: Mapping[str, str]
    settings: Change[HostSettings] | None = None
    translation: Change[Translation] | None = None
    guard: Change[TunnelGuard] | None = None
    tag_sets: Mapping[TagSetId, TagSetChange] = field(
        default_factory=dict[TagSetId, TagSetChange]
    )
    profiles: Mapping[ProfileId, Change[CompiledProfile]] = field(
        default_factory=dict[ProfileId, Change[CompiledProfile]]
    )
    pipelines: Mapping[PipelineKey, Change[Pipeline]] = field(
        default_factory=dict[PipelineKey, Change[Pipeline]]
    )
    endpoints: Mapping[EndpointKey, Change[LocalEndpoint]] = field(
        default_factory=dict[EndpointKey, Change[LocalEndpoint]]
    )
    routes: Mapping[Address, Change[Route]] = field(
        default_factory=dict[Address, Change[Route]]
    )

    def is_empty(self) -> bool:
        """Report whether nothing in the kernel has to change."""
        return not (
            self.settings
            or self.translation
            or self.guard
            or self.tag_sets
            or self.profiles
            or self.pipelines
            or self.endpoints
            or self.routes
        )

    def apply(self, state: DesiredState) -> DesiredState:
        """Return `state` with this difference made; `state` stays as it is."""
        sets: dict[TagSetId, AbstractSet[PackedAddress]] = dict(state.tag_sets)
        for key, change in self.tag_sets.items():
            if change.exists:
                kept = frozenset(sets.get(key, frozenset())) - change.removed
                sets[key] = kept | change.added
            else:
                sets.pop(key, None)
        return DesiredState(
            revision=self.revision,
            settings=_after(self.settings, state.settings),
            tag_sets=sets,
            profiles=_applied(state.profiles, self.profiles),
            pipelines=_applied(state.pipelines, self.pipelines),
            endpoints=_applied(state.endpoints, self.endpoints),
            routes=_applied(state.routes, self.routes),
            translation=_after(self.translation, state.translation),
            guard=_after(self.guard, state.guard),
            problems=self.problems,
        )


def diff(before: DesiredState, after: DesiredState) -> Delta:
    """Compute what turns `before` into `after`."""
    return Delta(
        revision=after.revision,
        problems=after.problems,
        settings=_change(before.settings, after.settings),
        translation=_change(before.translation, after.translation),
        guard=_change(before.guard, after.guard),
        tag_sets=_tag_set_changes(before.tag_sets, after.tag_sets),
        profiles=changes(before.profiles, after.profiles),
        pipelines=changes(before.pipelines, after.pipelines),
        endpoints=changes(before.endpoints, after.endpoints),
        routes=changes(before.routes, after.routes),
    )


def changes(before: Mapping[K, V], after: Mapping[K, V]) -> dict[K, Change[V]]:
    """List the keys of two maps whose values differ, with both values."""
    found: dict[K, Change[V]] = {}
    for key, old in before.items():
        new = after.get(key)
        # The same object is the common case and costs no comparison.
        if new is not old and new != old:
            found[key] = Change(old, new)
    for key, value in after.items():
        if key not in before:
            found[key] = Change(None, value)
    return found


def _tag_set_changes(
    before: Mapping[TagSetId, AbstractSet[PackedAddress]],
    after: Mapping[TagSetId, AbstractSet[PackedAddress]],
) -> dict[TagSetId, TagSetChange]:
    found: dict[TagSetId, TagSetChange] = {}
    nothing: frozenset[PackedAddress] = frozenset()
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old is new or old == new:
            continue
        old_members, new_members = old or nothing, new or nothing
        found[key] = TagSetChange(
            existed=old is not None,
            exists=new is not None,
            added=frozenset(new_members - old_members),
            removed=frozenset(old_members - new_members),
        )
    return found


def _change(before: V, after: V) -> Change[V] | None:
    return None if before == after else Change(before, after)


def _after(change: Change[V] | None, unchanged: V) -> V:
    return unchanged if change is None or change.after is None else change.after


def _applied(values: Mapping[K, V], made: Mapping[K, Change[V]]) -> dict[K, V]:
    result = dict(values)
    for key, change in made.items():
        if change.after is None:
            result.pop(key, None)
        else:
            result[key] = change.after
    return result
