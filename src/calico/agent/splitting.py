"""Cut steps into pieces that fit, and order them where the state is unknown.

When a change is known as a delta, `phases` cuts it by meaning. When the table
was read back and differs too much for one send, all that is known are steps;
then new flows are shut out until the last piece is in. Established flows go
on throughout, and a table that was only the catch-all drop loses nothing.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeVar

from calico.model.network import HostSettings
from calico.render.base import INBOUND, OUTBOUND, render_base
from calico.render.objects import Ruleset
from calico.render.transaction import (
    AddChain,
    AddElements,
    AddMembers,
    AddRanges,
    AddRule,
    AddSet,
    DeleteChain,
    DeleteElements,
    DeleteMembers,
    DeleteSet,
    FlushChain,
    FlushSet,
    Step,
)

MAX_ELEMENTS = 512
"""The most elements in one piece of a step that is cut."""

_FIXED = render_base(HostSettings())
_FIXED_CHAINS = frozenset(_FIXED.chains) | {"postrouting"}
_FIXED_SETS = frozenset(_FIXED.sets)
_DISPATCH = (*OUTBOUND.values(), *INBOUND.values())
_DISPATCH_NAMES = frozenset(spec.name for spec in _DISPATCH)


def cut_steps(steps: Sequence[Step], max_elements: int = MAX_ELEMENTS) -> list[Step]:
    """Cut the steps that carry many elements, and leave the others."""
    return [piece for step in steps for piece in _pieces(step, max_elements)]


def halves(steps: Sequence[Step]) -> tuple[Sequence[Step], Sequence[Step]]:
    """Cut a sequence of at least two steps in the middle."""
    middle = len(steps) // 2
    return steps[:middle], steps[middle:]


@dataclass(frozen=True, slots=True)
class Present:
    """The names of what a table holds."""

    chains: AbstractSet[str]
    sets: AbstractSet[str]


@dataclass(frozen=True, slots=True)
class ClosedOrder:
    """The steps of a repair, to be committed in this order.

    Attributes:
        before: What nothing refers to yet; may be cut anywhere.
        core: No new flow passes any more, and the chains that every host has
            are right; must be one commit.
        after: Everything else, the dispatch at the end; may be cut anywhere.
    """

    before: list[Step]
    core: list[Step]
    after: list[Step]


def order_closed(
    steps: Sequence[Step], present: Present, wanted: Ruleset
) -> ClosedOrder:
    """Order the steps of a repair so that nothing is open in between.

    Args:
        steps: What turns the table into what is wanted.
        present: What the table holds.
        wanted: What it should hold.
    """
    before: list[Step] = []
    core: list[Step] = [
        FlushSet(spec.name) for spec in _DISPATCH if spec.name in present.sets
    ]
    after: list[Step] = []
    for step in steps:
        if _is_preparation(step, present):
            before.append(step)
        elif _is_core(step):
            core.append(step)
        elif not _is_dispatch(step):
            after.append(step)
    after.extend(
        AddElements(spec, tuple(wanted.elements[spec.name].items()))
        for spec in _DISPATCH
        if wanted.elements.get(spec.name)
    )
    return ClosedOrder(before, core, after)


def _is_preparation(step: Step, present: Present) -> bool:
    match step:
        case AddSet() | AddMembers() | AddRanges():
            return step.spec.name not in present.sets
        case AddChain():
            return step.chain.name not in present.chains | _FIXED_CHAINS
        case AddRule():
            # A fixed chain is seen by packets as soon as it is there.
            return step.chain not in present.chains | _FIXED_CHAINS
        case _:
            return False


def _is_core(step: Step) -> bool:
    match step:
        case AddChain():
            return step.chain.name in _FIXED_CHAINS
        case AddRule():
            return step.chain in _FIXED_CHAINS
        case FlushChain() | DeleteChain():
            return step.name in _FIXED_CHAINS
        case AddSet():
            return step.spec.name in _FIXED_SETS
        case DeleteSet():
            return step.name in _FIXED_SETS
        case _:
            return False


def _is_dispatch(step: Step) -> bool:
    return (
        isinstance(step, AddElements | DeleteElements)
        and step.spec.name in _DISPATCH_NAMES
    )


_T = TypeVar("_T")


def _chunks(values: tuple[_T, ...], most: int) -> Iterator[tuple[_T, ...]]:
    for start in range(0, len(values), most):
        yield values[start : start + most]


def _pieces(step: Step, most: int) -> Iterator[Step]:
    match step:
        case AddMembers(spec, keys):
            yield from (AddMembers(spec, each) for each in _chunks(keys, most))
        case DeleteMembers(spec, keys):
            yield from (DeleteMembers(spec, each) for each in _chunks(keys, most))
        case AddElements(spec, elements):
            yield from (AddElements(spec, each) for each in _chunks(elements, most))
        case DeleteElements(spec, elements):
            yield from (DeleteElements(spec, each) for each in _chunks(elements, most))
        case _:
            yield step
