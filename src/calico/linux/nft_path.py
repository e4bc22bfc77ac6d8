"""Make one packet's way through the kernel out of the events of its trace.

The events come in the order in which things happened. A final verdict, or a
base chain's policy, ends the packet's time in one base chain; what follows
belongs to the next. Kernels tell of the end of a chain in different ways, with
and without a rule (Linux 6.18 tells of a rule with handle 0 that continues);
nothing is decided there, so those events are left out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from calico.linux.nft_forms import HookForm
from calico.linux.nft_names import ChainPlace, RuleName
from calico.linux.nft_trace import TraceEvent, TraceKind, TraceVerdict
from calico.linux.nft_wire import FAMILY_INET
from calico.render.objects import HookPoint, HookType

_FAMILIES = {FAMILY_INET: "inet", 2: "ip", 10: "ip6"}


class PathEnd(Enum):
    """Where a packet was seen last; the value is what people read."""

    LEFT = "left this host"
    DELIVERED = "was delivered to this host"
    DROPPED = "was dropped"
    HELD = "was handed to a program"
    LOST = "was not seen any more"


@dataclass(frozen=True, slots=True)
class PathStep:
    """One rule that the packet met, or a base chain's policy.

    Attributes:
        chain: The chain.
        number: The rule's place in it, from 1; 0 for the policy, and for a
            rule that could not be named.
        comment: Of the rule, or of the verdict map's element: the origin's
            text; empty when there is none.
        verdict: What became of the packet.
        target: The chain that a jump or goto leads to.
    """

    chain: str
    number: int
    comment: str
    verdict: TraceVerdict
    target: str | None = None


@dataclass(frozen=True, slots=True)
class BaseChainPath:
    """The packet's time in one base chain.

    Attributes:
        family: Of the table: `inet`, `ip` or `ip6`.
        table: The table.
        chain: The base chain.
        point: The hook, in nft's word; empty when the chain is gone.
        is_ours: Whether the table is the agent's.
        steps: In order; the last one ended it.
        in_interface: By which the packet came; empty for none.
        out_interface: By which it is to leave; likewise.
    """

    family: str
    table: str
    chain: str
    point: str
    is_ours: bool
    steps: tuple[PathStep, ...]
    in_interface: str = ""
    out_interface: str = ""

    @property
    def verdict(self) -> TraceVerdict:
        """How it ended."""
        return self.steps[-1].verdict

    @property
    def name(self) -> str:
        """The chain as nft(8) is told of it: family, table, chain."""
        return f"{self.family} {self.table} {self.chain}"


@dataclass(frozen=True, slots=True)
class KernelPath:
    """One packet's way through the kernel of one host.

    Attributes:
        chains: The base chains that it passed, in order.
        end: Where it was seen last.
        allowed: What our table decided; `None` when the packet ended before
            our table had come to the end of its judgement.
        origin: The text of what decided in our table: that of the drop, or of
            the last rule with a name that let the packet go on. Empty when
            nothing with a name did.
    """

    chains: tuple[BaseChainPath, ...]
    end: PathEnd
    allowed: bool | None
    origin: str

    @property
    def foreign_drop(self) -> BaseChainPath | None:
        """The chain of another program that dropped the packet, if one did."""
        if self.end is not PathEnd.DROPPED or self.chains[-1].is_ours:
            return None
        return self.chains[-1]

    @property
    def exit_interface(self) -> str:
        """The interface that it left this host by, or would have."""
        found = (each.out_interface for each in reversed(self.chains))
        return next((name for name in found if name), "")


@dataclass(frozen=True, slots=True)
class PathNames:
    """What the numbers in a trace stand for.

    Attributes:
        table: Our table.
        rules: Its rules, by handle.
        hooks: The base chains of all tables.
        interfaces: By index.
        find_comment: Names the element of a verdict map that a packet met,
            given the map and the interfaces that it came and leaves by.
    """

    table: str
    rules: Mapping[int, RuleName]
    hooks: Mapping[ChainPlace, HookForm]
    interfaces: Mapping[int, str]
    find_comment: Callable[[str, str, str], str]


def assemble_path(
    events: Sequence[TraceEvent], names: PathNames, end: PathEnd | None
) -> KernelPath:
    """Make the path out of the events of one packet.

    Args:
        events: In order, without those of the table that traces.
        names: What was read of the ruleset.
        end: Where the packet came out; `None` when it was not seen to.
    """
    chains = tuple(_base_chain(part, names) for part in _split(events))
    end = end or _end_of(chains)
    allowed = _allowed(chains, end, names)
    return KernelPath(chains, end, allowed, _origin(chains, allowed))


def _split(events: Iterable[TraceEvent]) -> Iterator[list[TraceEvent]]:
    part: list[TraceEvent] = []
    for event in events:
        part.append(event)
        if event.verdict.is_final:
            yield part
            part = []
    if part:
        yield part


def _base_chain(part: Sequence[TraceEvent], names: PathNames) -> BaseChainPath:
    first = part[0]
    hook = names.hooks.get((first.family, first.table, first.chain))
    made = BaseChainPath(
        family=_FAMILIES.get(first.family, str(first.family)),
        table=first.table,
        chain=first.chain,
        point="" if hook is None else HookPoint(hook.point).name.lower(),
        is_ours=(first.family, first.table) == (FAMILY_INET, names.table),
        steps=(),
        in_interface=_interface(first.in_index, names),
        out_interface=_interface(first.out_index, names),
    )
    kept = [each for each in part if _decides(each)] or part[-1:]
    return replace(made, steps=tuple(_step(each, made, names) for each in kept))


def _decides(event: TraceEvent) -> bool:
    return event.kind is TraceKind.POLICY or event.handle != 0


def _interface(index: int, names: PathNames) -> str:
    return names.interfaces.get(index, f"interface {index}") if index else ""


def _step(event: TraceEvent, chain: BaseChainPath, names: PathNames) -> PathStep:
    number, comment = 0, ""
    if chain.is_ours and (rule := names.rules.get(event.handle)) is not None:
        number, comment = rule.number, rule.comment
        if not comment and rule.verdict_map is not None:
            ends = chain.in_interface, chain.out_interface
            comment = names.find_comment(rule.verdict_map, *ends)
    return PathStep(event.chain, number, comment, event.verdict, event.target)


def _end_of(chains: Sequence[BaseChainPath]) -> PathEnd:
    last = chains[-1].verdict if chains else TraceVerdict.ACCEPT
    match last:
        case TraceVerdict.DROP:
            return PathEnd.DROPPED
        case TraceVerdict.QUEUE | TraceVerdict.STOLEN:
            return PathEnd.HELD
        case _:
            return PathEnd.LOST


def _allowed(
    chains: Sequence[BaseChainPath], end: PathEnd, names: PathNames
) -> bool | None:
    if any(each.is_ours and each.verdict is TraceVerdict.DROP for each in chains):
        return False
    if not any(place[:2] == (FAMILY_INET, names.table) for place in names.hooks):
        return None
    if end in {PathEnd.LEFT, PathEnd.DELIVERED}:
        return True
    point = chains[-1].point if chains else ""
    passed = {each.chain for each in chains if each.is_ours}
    is_judged = passed >= _ours_at(point, names)
    return True if is_judged and point in _JUDGING_POINTS else None


# What ends before these may still have been judged there.
_JUDGING_POINTS = frozenset({"forward", "input", "output", "postrouting"})


def _ours_at(point: str, names: PathNames) -> set[str]:
    return {
        chain
        for (family, table, chain), hook in names.hooks.items()
        if (family, table) == (FAMILY_INET, names.table)
        and hook.hook_type == HookType.FILTER.value
        and HookPoint(hook.point).name.lower() == point
    }


def _origin(chains: Sequence[BaseChainPath], allowed: bool | None) -> str:  # noqa: FBT001 -- a verdict, not an option
    ours = [each for each in chains if each.is_ours]
    if allowed is False:
        # What dropped it may be a chain that several elements lead to.
        ours = ours[-1:]
    steps = [step for each in ours for step in each.steps]
    return next((step.comment for step in reversed(steps) if step.comment), "")
