"""Cutting and ordering the steps of one commit."""

from calico.agent.splitting import Present, cut_steps, halves, order_closed
from calico.netset import Family
from calico.render.base import INBOUND, OUTBOUND
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
    AddRule,
    AddSet,
    DeleteChain,
    DeleteMembers,
    FlushChain,
    FlushSet,
)

SET = SetSpec("tag4-A", (Field.IP4_SOURCE,))
RULE = NftRule(())
CHAIN = Chain("profile-in4-A", (RULE,))
DISPATCH = INBOUND[Family.V4]
ELEMENT = MapElement(Verdict(VerdictKind.GOTO, "list-in4-1"))


def test_members_are_cut_and_nothing_else_is() -> None:
    keys = tuple(bytes([n]) for n in range(5))
    steps = (AddSet(SET), AddMembers(SET, keys), AddRule("c", RULE))
    assert cut_steps(steps, 2) == [
        AddSet(SET),
        AddMembers(SET, keys[:2]),
        AddMembers(SET, keys[2:4]),
        AddMembers(SET, keys[4:]),
        AddRule("c", RULE),
    ]


def test_halves_are_the_whole() -> None:
    steps = [DeleteChain("a"), DeleteChain("b"), DeleteChain("c")]
    first, second = halves(steps)
    assert [*first, *second] == steps
    assert first
    assert second


def test_repair_shuts_the_dispatch_before_it_touches_what_is_in_use() -> None:
    present = Present(
        frozenset({"to-workload", "profile-in4-B"}),
        frozenset({DISPATCH.name, "tag4-B"}),
    )
    wanted = Ruleset(elements={DISPATCH.name: {b"key": ELEMENT}})
    old_set = SetSpec("tag4-B", (Field.IP4_SOURCE,))
    steps = (
        FlushChain("to-workload"),
        FlushChain("profile-in4-B"),
        DeleteMembers(old_set, (b"gone",)),
        AddSet(SET),
        AddChain(CHAIN),
        AddMembers(SET, (b"new",)),
        AddElements(DISPATCH, ((b"key", ELEMENT),)),
        AddRule("to-workload", RULE),
        AddRule("profile-in4-A", RULE),
        AddRule("profile-in4-B", RULE),
    )
    order = order_closed(steps, present, wanted)
    assert order.before == [
        AddSet(SET),
        AddChain(CHAIN),
        AddMembers(SET, (b"new",)),
        AddRule("profile-in4-A", RULE),
    ]
    assert order.core == [
        FlushSet(DISPATCH.name),
        FlushChain("to-workload"),
        AddRule("to-workload", RULE),
    ]
    assert order.after == [
        FlushChain("profile-in4-B"),
        DeleteMembers(old_set, (b"gone",)),
        AddRule("profile-in4-B", RULE),
        AddElements(DISPATCH, ((b"key", ELEMENT),)),
    ]


def test_empty_table_has_no_dispatch_to_shut() -> None:
    present = Present(frozenset(), frozenset())
    spec = OUTBOUND[Family.V6]
    order = order_closed((AddSet(spec),), present, Ruleset())
    assert order.core == []
    assert order.before == [AddSet(spec)]
