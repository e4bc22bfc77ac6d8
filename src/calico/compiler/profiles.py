"""Assemble lists of profiles into pipelines, with a deny for what is broken."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from calico.ir.origin import EndOfProfiles, Fault, FaultOrigin
from calico.ir.state import Pipeline, PipelineKey
from calico.model.names import ProfileId, TagName
from calico.model.rule import Direction, ProfileRules
from calico.model.snapshot import Undecodable

ProfileList = tuple[ProfileId, ...]
"""What an endpoint lists, each name once."""

Stages = tuple[ProfileId | FaultOrigin, ...]


@dataclass(frozen=True, slots=True)
class ProfileSources:
    """What is known of every profile; the maps are read and never changed.

    Attributes:
        tags: As in the snapshot.
        rules: As in the snapshot.
        labels: As in the snapshot.
        refused: The profiles whose rules the kernel does not take.
    """

    tags: Mapping[ProfileId, tuple[TagName, ...] | Undecodable]
    rules: Mapping[ProfileId, ProfileRules | Undecodable]
    labels: Mapping[ProfileId, Mapping[str, str] | Undecodable]
    refused: Mapping[ProfileId, str] = field(default_factory=dict[ProfileId, str])

    def usable_rules(self, profile: ProfileId) -> ProfileRules | Fault:
        """Return the rules of a profile, or why it denies at its position."""
        rules = self.rules.get(profile)
        if rules is None:
            exists = profile in self.tags or profile in self.labels
            return Fault.NO_RULES if exists else Fault.MISSING
        if isinstance(rules, Undecodable):
            return Fault.UNDECODABLE_RULES
        return Fault.REFUSED_BY_KERNEL if profile in self.refused else rules

    def fault_of(self, profile: ProfileId) -> Fault | None:
        """Say what is wrong with a profile, the worst first, if anything."""
        if isinstance(self.tags.get(profile), Undecodable):
            return Fault.UNDECODABLE_TAGS
        rules = self.usable_rules(profile)
        return rules if isinstance(rules, Fault) else None


def assemble_stages(profiles: ProfileList, sources: ProfileSources) -> Stages:
    """Put one list of profiles in order, up to the first fault.

    A deny elsewhere may depend on the tags of a profile, so undecodable tags
    close every list with that profile, whatever stands before it.

    Args:
        profiles: Each name once.
        sources: What is known of the profiles.
    """
    stages: list[ProfileId | FaultOrigin] = []
    for profile in profiles:
        if isinstance(sources.tags.get(profile), Undecodable):
            return (FaultOrigin(profile, Fault.UNDECODABLE_TAGS),)
    for profile in profiles:
        fault = sources.fault_of(profile)
        if fault is not None:
            return (*stages, FaultOrigin(profile, fault))
        stages.append(profile)
    return tuple(stages)


def make_pipelines(
    profiles: ProfileList, stages: Stages, *, logs_drops: bool = False
) -> dict[PipelineKey, Pipeline]:
    """Make the pipelines of both directions of one list."""
    keys = [PipelineKey(profiles, direction) for direction in Direction]
    return {
        key: Pipeline(key, stages, EndOfProfiles(profiles, key.direction), logs_drops)
        for key in keys
    }
