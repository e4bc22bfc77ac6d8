"""Pipelines and compiled profiles, kept up to date by what a change touches.

A list of profiles is put together anew when it comes into use or when one of
its profiles begins or ceases to be usable; new rules of a profile that stays
usable touch that profile alone.
"""

from collections import Counter
from dataclasses import dataclass, field

from calico.compiler.profiles import (
    ProfileList,
    ProfileSources,
    Stages,
    assemble_stages,
    make_pipelines,
)
from calico.compiler.rules import compile_profile, tag_sets_of
from calico.ir.delta import Change, changes
from calico.ir.match import TagSetId
from calico.ir.origin import Fault
from calico.ir.state import CompiledProfile, Pipeline, PipelineKey
from calico.model.names import ProfileId
from calico.model.rule import Direction, ProfileRules


@dataclass(frozen=True, slots=True)
class PolicyChanges:
    """What changed in the policy of the lists in use.

    Attributes:
        profiles: By name.
        pipelines: By list and direction.
        named: Tag sets that a profile looks at and none did before.
        unnamed: Tag sets that no profile looks at any more.
    """

    profiles: dict[ProfileId, Change[CompiledProfile]]
    pipelines: dict[PipelineKey, Change[Pipeline]]
    named: frozenset[TagSetId] = frozenset()
    unnamed: frozenset[TagSetId] = frozenset()


@dataclass(slots=True)
class PipelineTable:
    """The pipelines of the lists that are in use, and their profiles.

    Attributes:
        sources: What is known of every profile; it changes underneath, and
            `touch` tells.
        profiles: As of the last `take_changes`.
        pipelines: Likewise.
        logs_drops: What these deny is told to the kernel's packet log.
    """

    sources: ProfileSources
    profiles: dict[ProfileId, CompiledProfile] = field(
        default_factory=dict[ProfileId, CompiledProfile]
    )
    pipelines: dict[PipelineKey, Pipeline] = field(
        default_factory=dict[PipelineKey, Pipeline]
    )
    logs_drops: bool = False
    _n_users: Counter[ProfileList] = field(default_factory=Counter[ProfileList])
    _stages: dict[ProfileList, Stages] = field(
        default_factory=dict[ProfileList, Stages]
    )
    _lists_of: dict[ProfileId, set[ProfileList]] = field(
        default_factory=dict[ProfileId, set[ProfileList]]
    )
    _faults: dict[ProfileId, Fault | None] = field(
        default_factory=dict[ProfileId, Fault | None]
    )
    _n_stages: Counter[ProfileId] = field(default_factory=Counter[ProfileId])
    _n_named: Counter[TagSetId] = field(default_factory=Counter[TagSetId])
    _compiled_from: dict[ProfileId, ProfileRules] = field(
        default_factory=dict[ProfileId, ProfileRules]
    )
    _touched: set[ProfileId] = field(default_factory=set[ProfileId])
    _unsettled: set[ProfileList] = field(default_factory=set[ProfileList])

    def use(self, profiles: ProfileList) -> None:
        """Count one more active endpoint with this list."""
        self._n_users[profiles] += 1
        self._unsettled.add(profiles)

    def release(self, profiles: ProfileList) -> None:
        """Count one active endpoint less with this list."""
        self._n_users[profiles] -= 1
        self._unsettled.add(profiles)

    def touch(self, profile: ProfileId) -> None:
        """Tell that something of a profile changed."""
        self._touched.add(profile)

    def log_drops(self, *, logs_drops: bool) -> None:
        """Say whether what is denied is told to the kernel's packet log."""
        if logs_drops is not self.logs_drops:
            self.logs_drops = logs_drops
            self._touched.update(self.profiles)
            self._unsettled.update(self._stages)

    def take_changes(self) -> PolicyChanges:
        """Settle what was touched, and return what changed since the last time."""
        for profile in self._touched & self._faults.keys():
            fault = self.sources.fault_of(profile)
            if fault is not self._faults[profile]:
                self._faults[profile] = fault
                self._unsettled.update(self._lists_of[profile])
        pipelines: dict[PipelineKey, Change[Pipeline]] = {}
        affected = set(self._touched)
        for profiles in self._unsettled:
            pipelines.update(self._settle_list(profiles, affected))
        self._touched.clear()
        self._unsettled.clear()
        made, named_before = self._settle_profiles(affected)
        named = {each for each in named_before if self._n_named[each] > 0}
        for each in named_before - named:
            del self._n_named[each]
        return PolicyChanges(
            profiles=made,
            pipelines=pipelines,
            named=frozenset(named),
            unnamed=frozenset(named_before - named),
        )

    def _settle_list(
        self, profiles: ProfileList, affected: set[ProfileId]
    ) -> dict[PipelineKey, Change[Pipeline]]:
        """Put a list together anew; add to `affected` whose stages changed."""
        old = self._stages.pop(profiles, None)
        if self._n_users[profiles] > 0:
            new = self._stages[profiles] = assemble_stages(profiles, self.sources)
            self._index(profiles)
        else:
            new = None
            del self._n_users[profiles]
            self._unindex(profiles)
        keys = [PipelineKey(profiles, direction) for direction in Direction]
        before = {key: self.pipelines[key] for key in keys if key in self.pipelines}
        is_logged = all(p.logs_drops is self.logs_drops for p in before.values())
        if old == new and is_logged:
            return {}
        affected |= self._count_stages(old or (), -1) | self._count_stages(new or (), 1)
        after = (
            {}
            if new is None
            else make_pipelines(profiles, new, logs_drops=self.logs_drops)
        )
        for key in before:
            del self.pipelines[key]
        self.pipelines.update(after)
        return changes(before, after)

    def _count_stages(self, stages: Stages, step: int) -> set[ProfileId]:
        names = {stage for stage in stages if isinstance(stage, str)}
        for name in names:
            self._n_stages[name] += step
        return names

    def _index(self, profiles: ProfileList) -> None:
        for profile in profiles:
            self._lists_of.setdefault(profile, set()).add(profiles)
            self._faults[profile] = self.sources.fault_of(profile)

    def _unindex(self, profiles: ProfileList) -> None:
        for profile in profiles:
            lists = self._lists_of.get(profile, set())
            lists.discard(profiles)
            if not lists:
                self._lists_of.pop(profile, None)
                self._faults.pop(profile, None)

    def _settle_profiles(
        self, affected: set[ProfileId]
    ) -> tuple[dict[ProfileId, Change[CompiledProfile]], set[TagSetId]]:
        """Compile what is needed and new; return also the tag sets to look at."""
        made: dict[ProfileId, Change[CompiledProfile]] = {}
        tag_sets: set[TagSetId] = set()
        for profile in affected:
            old = self.profiles.pop(profile, None)
            new = self._compile(profile, old)
            if new is not None:
                self.profiles[profile] = new
            if old is new or old == new:
                continue
            made[profile] = Change(old, new)
            for compiled, step in ((old, -1), (new, 1)):
                for tag_set in () if compiled is None else tag_sets_of(compiled):
                    self._n_named[tag_set] += step
                    tag_sets.add(tag_set)
        return made, tag_sets

    def _compile(
        self, profile: ProfileId, old: CompiledProfile | None
    ) -> CompiledProfile | None:
        """Compile a profile that is a stage, unless its rules are the same object."""
        rules = self.sources.usable_rules(profile)
        if self._n_stages[profile] == 0 or isinstance(rules, Fault):
            del self._n_stages[profile]
            self._compiled_from.pop(profile, None)
            return None
        is_same = old is not None and old.logs_drops is self.logs_drops
        if is_same and self._compiled_from[profile] is rules:
            return old
        self._compiled_from[profile] = rules
        return compile_profile(profile, rules, logs_drops=self.logs_drops)
