from calico.render.objects import (
    Chain,
    Field,
    MapElement,
    NftRule,
    Ruleset,
    SetSpec,
    Verdict,
    VerdictKind,
)
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
    diff_rulesets,
)

PLAIN = SetSpec("plain", (Field.IP4_SOURCE,))
RANGES = SetSpec("ranges", (Field.IP4_SOURCE,), is_interval=True)
MAP = SetSpec("map", (Field.IIFNAME,), is_verdict_map=True)
ACCEPT = Verdict(VerdictKind.ACCEPT)
DROP = Verdict(VerdictKind.DROP)
ALLOWING = NftRule((ACCEPT,))
DENYING = NftRule((DROP,))


def chains(*made: Chain) -> Ruleset:
    return Ruleset(chains={chain.name: chain for chain in made})


def test_equal_rulesets_need_no_step() -> None:
    ruleset = Ruleset(
        chains={"a": Chain("a", (ALLOWING,))},
        sets={s.name: s for s in (PLAIN, RANGES, MAP)},
        members={"plain": {b"1234"}},
        ranges={"ranges": ((1, 2),)},
        elements={"map": {b"x": MapElement(DROP)}},
    )
    assert diff_rulesets(ruleset, ruleset) == ()


def test_new_set_and_chain_come_before_the_rules_that_use_them() -> None:
    after = Ruleset(
        chains={"a": Chain("a", (ALLOWING,))},
        sets={"plain": PLAIN},
        members={"plain": {b"1234"}},
    )
    assert diff_rulesets(Ruleset(), after) == (
        AddSet(PLAIN),
        AddChain(Chain("a", (ALLOWING,))),
        AddMembers(PLAIN, (b"1234",)),
        AddRule("a", ALLOWING),
    )


def test_changed_chain_is_flushed_and_filled() -> None:
    before, after = chains(Chain("a", (ALLOWING,))), chains(Chain("a", (DENYING,)))
    steps = diff_rulesets(before, after)
    assert steps == (FlushChain("a"), AddRule("a", DENYING))


def test_removed_chain_is_emptied_before_it_goes() -> None:
    steps = diff_rulesets(chains(Chain("a", (ALLOWING,))), Ruleset())
    assert steps == (FlushChain("a"), DeleteChain("a"))


def test_removed_map_is_emptied_before_chains_go() -> None:
    before = Ruleset(
        chains={"a": Chain("a", ())},
        sets={"map": MAP, "plain": PLAIN},
        elements={"map": {b"x": MapElement(Verdict(VerdictKind.GOTO, "a"))}},
    )
    assert diff_rulesets(before, Ruleset()) == (
        FlushSet("map"),
        FlushChain("a"),
        DeleteChain("a"),
        DeleteSet("map"),
        DeleteSet("plain"),
    )


def test_members_change_by_difference() -> None:
    before = Ruleset(sets={"plain": PLAIN}, members={"plain": {b"aaaa", b"bbbb"}})
    after = Ruleset(sets={"plain": PLAIN}, members={"plain": {b"bbbb", b"cccc"}})
    assert diff_rulesets(before, after) == (
        DeleteMembers(PLAIN, (b"aaaa",)),
        AddMembers(PLAIN, (b"cccc",)),
    )


def test_changed_map_element_is_replaced() -> None:
    old, new = MapElement(DROP, "old"), MapElement(DROP, "new")
    kept = MapElement(ACCEPT)
    before = Ruleset(sets={"map": MAP}, elements={"map": {b"x": old, b"k": kept}})
    after = Ruleset(sets={"map": MAP}, elements={"map": {b"x": new, b"k": kept}})
    assert diff_rulesets(before, after) == (
        DeleteElements(MAP, ((b"x", old),)),
        AddElements(MAP, ((b"x", new),)),
    )


def test_changed_ranges_are_refilled() -> None:
    before = Ruleset(sets={"ranges": RANGES}, ranges={"ranges": ((1, 2),)})
    after = Ruleset(sets={"ranges": RANGES}, ranges={"ranges": ((1, 3),)})
    assert diff_rulesets(before, after) == (
        FlushSet("ranges"),
        AddRanges(RANGES, ((1, 3),)),
    )


def test_first_ranges_need_no_flush_and_last_leave_nothing() -> None:
    empty = Ruleset(sets={"ranges": RANGES})
    full = Ruleset(sets={"ranges": RANGES}, ranges={"ranges": ((1, 3),)})
    assert diff_rulesets(empty, full) == (AddRanges(RANGES, ((1, 3),)),)
    assert diff_rulesets(full, empty) == (FlushSet("ranges"),)
