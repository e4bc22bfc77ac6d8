"""Which flows no rule of a desired state can tell apart.

A rule asks of a port or an address only whether it is in a set. The ends of
all ranges in all rules cut the numbers into cells, and two numbers in one cell
are in the same sets; two addresses without an endpoint are alike if they are
in one cell and in the same tag sets. So one verdict holds for a whole class,
and it is still the evaluator that gives it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from calico.ir.fixed import host_pinholes, source_exceptions
from calico.ir.match import CompiledRule
from calico.ir.state import DesiredState
from calico.netset import Address, Family, Ranges, family_of

Cells = tuple[int, ...]
"""The first number of every cell but the lowest, ascending."""

AddressClass = tuple[object, ...]

_MAX_SETS_ASKED = 64


class FlowClasses:
    """Tells numbers and addresses of flows by what rules can see of them.

    Args:
        state: Whose rules.
    """

    __slots__ = ("_destination_ports", "_networks", "_source_ports", "_tag_sets")

    def __init__(self, state: DesiredState) -> None:
        rules = tuple(_rules_of(state))
        matches = [rule.match for rule in rules]
        self._source_ports = _cells(each.source_ports.ranges for each in matches)
        self._destination_ports = _cells(
            each.destination_ports.ranges for each in matches
        )
        self._networks = {
            family: _cells(
                side.networks.ranges
                for each in matches
                if each.family is family
                for side in (each.source, each.destination)
            )
            for family in Family
        }
        self._tag_sets = tuple(state.tag_sets.items())

    def ports(self, source: int, destination: int) -> tuple[int, int]:
        """Return the cells of a flow's ports."""
        return (
            bisect_right(self._source_ports, source),
            bisect_right(self._destination_ports, destination),
        )

    def address(self, address: Address) -> AddressClass:
        """Return the class of an address that no endpoint of this host has."""
        if len(self._tag_sets) > _MAX_SETS_ASKED:
            # To ask so many sets costs more than to judge the flow.
            return (address,)
        family = family_of(address)
        packed = address.packed
        tagged = tuple(
            number
            for number, (name, members) in enumerate(self._tag_sets)
            if name.family is family and packed in members
        )
        cell = bisect_right(self._networks[family], int(address))
        return (family, cell, *tagged)


def _rules_of(state: DesiredState) -> Iterator[CompiledRule]:
    for profile in state.profiles.values():
        for rules in profile.rules.values():
            yield from rules
    for family in Family:
        yield from source_exceptions(family)
        yield from host_pinholes(state.settings, family)


def _cells(every: Iterable[Ranges]) -> Cells:
    """Find where membership in any of some sets can change."""
    bounds: set[int] = set()
    for ranges in set(every):
        for first, last in ranges:
            bounds |= {first, last + 1}
    return tuple(sorted(bounds))
