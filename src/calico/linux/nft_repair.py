"""Find the steps from what the kernel holds to what it should hold.

Chains, sets and elements that are right are not touched, so a restart under
traffic changes nothing. Everything else in our table goes, whoever put it
there. The table itself is never taken out: packets under way would pass
unfiltered.

The order is that in which the kernel lets go of things. Rules and elements
refer to chains, and rules to sets, so wrong rules go first, then elements, then
chains and sets; what is missing comes in the opposite order.

A table that somebody has put to sleep is woken by `NftSocket.create_table`.
Named counters, quotas and flow tables of others are left where they are: no
rule of ours refers to one, so they do nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from calico.linux.nft_elements import clip_comment
from calico.linux.nft_forms import form_of_hook, form_of_rule, form_of_spec
from calico.linux.nft_read import KernelChain, KernelRule, KernelTable
from calico.render.objects import (
    Chain,
    InSet,
    LimitEach,
    LookUpVerdict,
    MapElement,
    NftRule,
    Ruleset,
    SetSpec,
)
from calico.render.transaction import (
    AddChain,
    AddRule,
    AddSet,
    DeleteChain,
    DeleteSet,
    FlushChain,
    FlushSet,
    Step,
    additions,
    removals,
)

_EMPTY = KernelTable(flags=0)


def repair_steps(kernel: KernelTable | None, desired: Ruleset) -> tuple[Step, ...]:
    """List the steps that make the kernel hold exactly what is desired.

    Args:
        kernel: What was read; `None` is a table without anything in it, which
            has to be made before the steps are committed.
        desired: The whole table.

    Returns:
        Nothing when they are equal.
    """
    repair = _compare(_EMPTY if kernel is None else kernel, desired)
    return (
        *repair.emptied_chains(),
        *repair.removed_elements(),
        *repair.removed_objects(),
        *repair.new_objects(),
        *repair.new_elements(),
        *repair.new_rules(),
    )


@dataclass(frozen=True, slots=True)
class _Repair:
    """What has to go and what has to come.

    Attributes:
        kernel: What there is.
        contents: Its elements, as a ruleset's.
        desired: What there should be, with comments as the kernel can hold them.
        lost_sets: Foreign ones, and those that are of the wrong kind.
        lost_chains: Likewise.
        rewritten: Desired chains whose rules have to be written.
    """

    kernel: KernelTable
    contents: Ruleset
    desired: Ruleset
    lost_sets: tuple[str, ...]
    lost_chains: tuple[str, ...]
    rewritten: tuple[str, ...]

    def emptied_chains(self) -> Iterator[Step]:
        for name in dict.fromkeys((*self.lost_chains, *self.rewritten)):
            if name in self.kernel.chains and self.kernel.chains[name].rules:
                yield FlushChain(name)

    def removed_elements(self) -> Iterator[Step]:
        for name in self.lost_sets:
            if self.kernel.sets[name].is_map:
                yield FlushSet(name)
        for name, spec in self._kept_sets():
            if name in self.kernel.odd:
                yield FlushSet(name)
            else:
                yield from removals(spec, self.contents, self.desired)

    def _kept_sets(self) -> Iterator[tuple[str, SetSpec]]:
        lost = frozenset(self.lost_sets)
        for name, spec in self.desired.sets.items():
            if name in self.kernel.sets and name not in lost:
                yield name, spec

    def removed_objects(self) -> Iterator[Step]:
        for name in self.lost_chains:
            yield DeleteChain(name)
        for name in self.lost_sets:
            yield DeleteSet(name)

    def new_objects(self) -> Iterator[Step]:
        lost_sets, lost_chains = frozenset(self.lost_sets), frozenset(self.lost_chains)
        for name, spec in self.desired.sets.items():
            if name not in self.kernel.sets or name in lost_sets:
                yield AddSet(spec)
        for name, chain in self.desired.chains.items():
            old = self.kernel.chains.get(name)
            # Adding a base chain that exists sets its policy.
            if old is None or name in lost_chains or not old.accepts:
                yield AddChain(chain)

    def new_elements(self) -> Iterator[Step]:
        kept = {name for name, _ in self._kept_sets()} - self.kernel.odd
        for name, spec in self.desired.sets.items():
            before = self.contents if name in kept else Ruleset()
            yield from additions(spec, before, self.desired)

    def new_rules(self) -> Iterator[Step]:
        for name in self.rewritten:
            for rule in self.desired.chains[name].rules:
                yield AddRule(name, rule)


def _compare(kernel: KernelTable, desired: Ruleset) -> _Repair:
    lost_sets = tuple(
        name
        for name, form in kernel.sets.items()
        if name not in desired.sets or form_of_spec(desired.sets[name]) != form
    )
    lost_chains = tuple(
        name
        for name, chain in kernel.chains.items()
        if name not in desired.chains
        or form_of_hook(desired.chains[name].hook) != chain.hook
    )
    rewritten = tuple(
        name
        for name, chain in desired.chains.items()
        if name in lost_chains
        or not _has_rules_of(kernel.chains.get(name), chain)
        or _refers_to(chain, frozenset(lost_sets))
    )
    contents = Ruleset(
        members=kernel.members, ranges=kernel.ranges, elements=kernel.elements
    )
    elements = {name: _clipped(each) for name, each in desired.elements.items()}
    desired = replace(desired, elements=elements)
    return _Repair(kernel, contents, desired, lost_sets, lost_chains, rewritten)


def _has_rules_of(have: KernelChain | None, want: Chain) -> bool:
    rules = () if have is None else have.rules
    return len(rules) == len(want.rules) and all(
        _is_rule(old, new) for old, new in zip(rules, want.rules, strict=True)
    )


def _is_rule(have: KernelRule, want: NftRule) -> bool:
    """Tell whether a rule in the kernel is one of ours."""
    return have.comment == clip_comment(want.comment) and have.form == form_of_rule(
        want
    )


def _refers_to(chain: Chain, names: frozenset[str]) -> bool:
    if not names:
        return False
    for rule in chain.rules:
        for each in rule.statements:
            if isinstance(each, InSet | LimitEach) and each.set_name in names:
                return True
            if isinstance(each, LookUpVerdict) and each.map_name in names:
                return True
    return False


def _clipped(elements: Mapping[bytes, MapElement]) -> dict[bytes, MapElement]:
    """Return elements as they can be in the kernel."""
    return {
        key: MapElement(each.verdict, clip_comment(each.comment))
        for key, each in elements.items()
    }
