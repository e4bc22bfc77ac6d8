"""How to generate rulesets that the kernel has to accept.

Chains come in two layers, so that no jump can make a loop: leaves hold tests
and final verdicts, and roots may also jump, look up verdicts and be base
chains.
"""

from hypothesis import strategies as st

from calico.netset import Ranges
from calico.netset.ranges import normalise
from calico.render.objects import (
    Chain,
    Compare,
    Count,
    CtState,
    CtStateIs,
    Field,
    Hook,
    HookPoint,
    HookType,
    InRanges,
    InSet,
    LimitEach,
    Log,
    LookUpVerdict,
    MapElement,
    Masquerade,
    NftRule,
    Ruleset,
    SetSpec,
    Statement,
    Verdict,
    VerdictKind,
)

LEAVES = ("leaf-0", "leaf-1", "leaf.2")
ROOTS = ("root-0", "root-1", "root-2")
NAT = "nat"

_NUMBERS = (
    Field.L4PROTO,
    Field.IP4_SOURCE,
    Field.IP4_DESTINATION,
    Field.IP6_SOURCE,
    Field.IP6_DESTINATION,
    Field.SOURCE_PORT,
    Field.DESTINATION_PORT,
    Field.ICMP_TYPE,
    Field.ICMP_CODE,
)
_FINAL = tuple(
    Verdict(kind)
    for kind in VerdictKind
    if kind not in (VerdictKind.JUMP, VerdictKind.GOTO)
)

comments = st.one_of(
    st.just(""),
    st.sampled_from(["rule 1 of WEB", "source check of a/b/c", "é" * 200]),
    st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=300),
)
# What stands in no header of its own can be no key of a set.
fields = st.sampled_from([each for each in Field if each is not Field.VXLAN_ID])


@st.composite
def ranges_of(draw: st.DrawFn, field: Field, min_size: int = 1) -> Ranges:
    """Draw ranges, often single values and often at the ends of the space."""
    top = (1 << 8 * field.n_bytes) - 1
    number = st.one_of(
        st.sampled_from([0, 1, 80, top - 1, top]).map(lambda n: min(n, top)),
        st.integers(0, top),
    )
    pairs: list[tuple[int, int]] = []
    for first in draw(st.lists(number, min_size=min_size, max_size=5)):
        last = draw(st.one_of(st.just(first), st.integers(first, top)))
        pairs.append((first, last))
    return normalise(pairs)


@st.composite
def compares(draw: st.DrawFn) -> Compare:
    look_at = draw(st.sampled_from(list(Field)))
    size = draw(st.integers(1, look_at.n_bytes))
    value = draw(st.binary(min_size=size, max_size=size))
    mask = draw(st.none() | st.binary(min_size=size, max_size=size))
    return Compare(look_at, value, mask, is_negated=draw(st.booleans()))


@st.composite
def in_ranges(draw: st.DrawFn) -> InRanges:
    look_at = draw(st.sampled_from(_NUMBERS))
    return InRanges(look_at, draw(ranges_of(look_at)), is_negated=draw(st.booleans()))


def key_of(key: tuple[Field, ...]) -> st.SearchStrategy[bytes]:
    """Draw keys of a set."""
    if len(key) == 1:
        size = key[0].n_bytes
        return st.binary(min_size=size, max_size=size)

    def padded(field: Field) -> st.SearchStrategy[bytes]:
        size = field.n_bytes
        return st.binary(min_size=size, max_size=size).map(
            lambda value: value + bytes(-size % 4)
        )

    return st.tuples(*map(padded, key)).map(b"".join)


@st.composite
def specs(draw: st.DrawFn, name: str) -> SetSpec:
    kind = draw(st.sampled_from(["plain", "plain", "map", "interval", "limits"]))
    if kind == "interval":
        return SetSpec(name, (draw(st.sampled_from(_NUMBERS)),), is_interval=True)
    key = tuple(draw(st.lists(fields, min_size=1, max_size=3)))
    if kind == "limits":
        return SetSpec(name, key, timeout_s=draw(st.sampled_from([1, 60, 86_400])))
    return SetSpec(
        name, key, is_verdict_map=kind == "map", has_counters=draw(st.booleans())
    )


def _in_set(drawn: tuple[SetSpec, bool]) -> InSet:
    spec, is_negated = drawn
    return InSet(spec.key, spec.name, is_negated)


def _limits_in(spec: SetSpec) -> st.SearchStrategy[Statement]:
    rates = st.integers(1, 1000)
    return st.builds(LimitEach, st.just(spec.key), st.just(spec.name), rates, rates)


def simple(sets: dict[str, SetSpec]) -> st.SearchStrategy[Statement]:
    """Draw statements that refer to no chain."""
    kinds: list[st.SearchStrategy[Statement]] = [
        compares(),
        in_ranges(),
        st.sampled_from(list(CtState)).map(CtStateIs),
        st.just(Count()),
        st.builds(Log, st.text("abc 09", max_size=60), st.integers(0, 65535)),
    ]
    limits = [spec for spec in sets.values() if spec.timeout_s]
    if limits:
        kinds.append(st.sampled_from(limits).flatmap(_limits_in))
    plain = [
        spec for spec in sets.values() if not spec.is_verdict_map and not spec.timeout_s
    ]
    if plain:
        look_ups = st.tuples(st.sampled_from(plain), st.booleans())
        kinds.append(look_ups.map(_in_set))
    return st.one_of(kinds)


def rules(
    tests: st.SearchStrategy[Statement], ends: st.SearchStrategy[Statement]
) -> st.SearchStrategy[tuple[NftRule, ...]]:
    """Draw a chain's rules."""
    statements = st.tuples(st.lists(tests, max_size=3), ends)
    one = st.builds(
        NftRule, statements.map(lambda drawn: (*drawn[0], drawn[1])), comments
    )
    return st.lists(one, max_size=4).map(tuple)


@st.composite
def hooks(draw: st.DrawFn) -> Hook:
    point = draw(st.sampled_from(list(HookPoint)))
    return Hook(HookType.FILTER, point, draw(st.sampled_from([-300, -1, 0, 1, 50])))


@st.composite
def rulesets(draw: st.DrawFn) -> Ruleset:
    """Draw a whole table."""
    names = draw(st.sets(st.sampled_from(["a", "b-1", "tag4-WEB", "d"])))
    sets = {name: draw(specs(name)) for name in sorted(names)}
    leaves = sorted(draw(st.sets(st.sampled_from(LEAVES))))
    roots = sorted(draw(st.sets(st.sampled_from(ROOTS))))
    tests, final = simple(sets), st.sampled_from(_FINAL)
    chains = {name: Chain(name, draw(rules(tests, final))) for name in leaves}
    ends: list[st.SearchStrategy[Statement]] = [final]
    verdicts: list[st.SearchStrategy[Verdict]] = [final]
    if leaves:
        jumps = st.builds(
            Verdict,
            st.sampled_from([VerdictKind.JUMP, VerdictKind.GOTO]),
            st.sampled_from(leaves),
        )
        ends.append(jumps)
        verdicts.append(jumps)
    maps = [spec for spec in sets.values() if spec.is_verdict_map]
    if maps:
        ends.append(st.sampled_from(maps).map(lambda s: LookUpVerdict(s.key, s.name)))
    for name in roots:
        hook = draw(st.none() | hooks())
        chains[name] = Chain(name, draw(rules(tests, st.one_of(ends))), hook)
    if draw(st.booleans()):
        hook = Hook(HookType.NAT, HookPoint.POSTROUTING, 100)
        nat = draw(rules(tests, st.just(Masquerade())))
        chains[NAT] = Chain(NAT, nat, hook)
    elements = st.builds(MapElement, st.one_of(verdicts), comments)
    plain = [
        s
        for s in sets.values()
        if not s.is_verdict_map and not s.is_interval and not s.timeout_s
    ]
    return Ruleset(
        chains=chains,
        sets=sets,
        members={
            spec.name: frozenset(draw(st.sets(key_of(spec.key), max_size=6)))
            for spec in plain
        },
        ranges={
            spec.name: draw(ranges_of(spec.key[0], min_size=0))
            for spec in sets.values()
            if spec.is_interval
        },
        elements={
            spec.name: draw(st.dictionaries(key_of(spec.key), elements, max_size=4))
            for spec in maps
        },
    )
