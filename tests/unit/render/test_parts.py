from calico.render.objects import (
    Chain,
    Field,
    MapElement,
    Ruleset,
    SetSpec,
    Verdict,
    VerdictKind,
)
from calico.render.parts import Parts

PLAIN = SetSpec("plain", (Field.IP4_SOURCE,))
MAP = SetSpec("map", (Field.IIFNAME,), is_verdict_map=True)
DROP = MapElement(Verdict(VerdictKind.DROP))


def test_parts_join_chains_sets_members_and_elements() -> None:
    parts = Parts()
    parts.add(
        Ruleset(
            chains={"a": Chain("a", ())},
            sets={"map": MAP},
            ranges={"r": ((1, 2),)},
            elements={"map": {b"x": DROP}},
        )
    )
    parts.add(Ruleset(sets={"plain": PLAIN}, elements={"map": {b"y": DROP}}))
    parts.put_member(PLAIN, b"1")
    parts.put_member(PLAIN, b"2")
    parts.put_element(MAP, b"z", DROP)
    assert parts.ruleset() == Ruleset(
        chains={"a": Chain("a", ())},
        sets={"map": MAP, "plain": PLAIN},
        members={"plain": {b"1", b"2"}},
        ranges={"r": ((1, 2),)},
        elements={"map": {b"x": DROP, b"y": DROP, b"z": DROP}},
    )


def test_large_member_sets_are_taken_over_and_not_copied() -> None:
    members = {b"1", b"2"}
    parts = Parts()
    parts.add(Ruleset(sets={"plain": PLAIN}, members={"plain": members}))
    assert parts.ruleset().members["plain"] is members
