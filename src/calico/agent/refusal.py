"""Find the profiles that the kernel refuses, and a state that does without.

A profile that is refused denies at its position, by name, as one that does not
exist does; everything else goes in.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from calico.ir.origin import Fault, FaultOrigin
from calico.ir.state import DesiredState, Pipeline
from calico.model.names import ProfileId

Accepts = Callable[[frozenset[ProfileId]], bool]
"""Tries to commit a state in which these profiles deny by name."""


def find_refused(
    suspects: Sequence[ProfileId], accepts: Accepts
) -> frozenset[ProfileId] | None:
    """Find the profiles without which the kernel takes the rest.

    Args:
        suspects: Those that it may be.
        accepts: Called some twice as often as there are profiles to find,
            times the logarithm of the number of suspects.

    Returns:
        `None` when the kernel does not even take it without all suspects.
    """
    if not accepts(frozenset(suspects)):
        return None
    return _narrow(tuple(suspects), frozenset(), accepts)


def _narrow(
    group: tuple[ProfileId, ...], others: frozenset[ProfileId], accepts: Accepts
) -> frozenset[ProfileId]:
    """Find the guilty of a group, given that all else guilty is in `others`."""
    if not group or accepts(others):
        return frozenset()
    if len(group) == 1:
        return frozenset(group)
    left, right = group[: len(group) // 2], group[len(group) // 2 :]
    guilty = _narrow(left, others | frozenset(right), accepts)
    return guilty | _narrow(right, others | guilty, accepts)


def without_profiles(
    state: DesiredState, refused: frozenset[ProfileId]
) -> DesiredState:
    """Return a state in which these profiles deny at their position."""
    return replace(
        state,
        profiles={k: v for k, v in state.profiles.items() if k not in refused},
        pipelines={
            key: _truncated(pipeline, refused)
            for key, pipeline in state.pipelines.items()
        },
    )


def _truncated(pipeline: Pipeline, refused: frozenset[ProfileId]) -> Pipeline:
    for index, stage in enumerate(pipeline.stages):
        if isinstance(stage, str) and stage in refused:
            fault = FaultOrigin(stage, Fault.REFUSED_BY_KERNEL)
            return replace(pipeline, stages=(*pipeline.stages[:index], fault))
    return pipeline
