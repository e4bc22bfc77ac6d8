"""Collect parts of a table into one ruleset."""

from collections.abc import Set as AbstractSet

from calico.netset import Ranges
from calico.render.objects import Chain, MapElement, Ruleset, SetSpec


class Parts:
    """A ruleset in the making; parts never overlap, except in base sets.

    A plain set filled by `put_member` is filled by nothing else.
    """

    def __init__(self) -> None:
        self._chains: dict[str, Chain] = {}
        self._sets: dict[str, SetSpec] = {}
        self._members: dict[str, AbstractSet[bytes]] = {}
        self._collected: dict[str, set[bytes]] = {}
        self._ranges: dict[str, Ranges] = {}
        self._elements: dict[str, dict[bytes, MapElement]] = {}

    def add(self, part: Ruleset) -> None:
        """Take over everything in `part`; large member sets are not copied."""
        self._chains.update(part.chains)
        self._sets.update(part.sets)
        self._members.update(part.members)
        self._ranges.update(part.ranges)
        for name, elements in part.elements.items():
            self._elements.setdefault(name, {}).update(elements)

    def put_member(self, spec: SetSpec, key: bytes) -> None:
        """Put one key into a plain set."""
        self._collected.setdefault(spec.name, set()).add(key)

    def put_element(self, spec: SetSpec, key: bytes, element: MapElement) -> None:
        """Put one element into a verdict map."""
        self._elements.setdefault(spec.name, {})[key] = element

    def ruleset(self) -> Ruleset:
        """Return what was collected."""
        return Ruleset(
            chains=self._chains,
            sets=self._sets,
            members={**self._members, **self._collected},
            ranges=self._ranges,
            elements=self._elements,
        )
