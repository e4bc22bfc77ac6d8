import weakref
from ipaddress import ip_address

import pytest

from calico.compiler.membership import CountedSet, Membership
from calico.ir.delta import TagSetChange
from calico.ir.match import TagSetId
from calico.model.names import ProfileId, TagName
from calico.netset import Family

A, B = (ip_address(text).packed for text in ("10.0.0.1", "10.0.0.2"))
A6 = ip_address("fd00::1").packed
P, Q = ProfileId("P"), ProfileId("Q")
RED, BLUE = TagName("red"), TagName("blue")
RED4, RED6 = TagSetId(RED, Family.V4), TagSetId(RED, Family.V6)
NOBODY = frozenset[bytes]()


def moved(
    *added: bytes, removed: tuple[bytes, ...] = ()
) -> dict[TagSetId, TagSetChange]:
    change = TagSetChange(
        existed=True,
        exists=True,
        added=frozenset(added),
        removed=frozenset(removed),
    )
    return {RED4: change}


def collect(membership: Membership) -> dict[TagSetId, TagSetChange]:
    return membership.ask_for(frozenset({RED4}), frozenset())


@pytest.fixture
def membership() -> Membership:
    """Profile P carries red and one endpoint with address A lists it."""
    made = Membership()
    made.set_tags(P, (RED,))
    made.add((P,), (A, A6))
    collect(made)
    return made


def test_member_counts_as_often_as_it_comes() -> None:
    counted = CountedSet()
    assert counted.add(A)
    assert not counted.add(A)
    assert not counted.add(A)
    assert not counted.remove(A)
    assert not counted.remove(A)
    assert counted.members == {A}
    assert counted.remove(A)
    assert counted.members == set()


def test_single_member_goes_at_once() -> None:
    counted = CountedSet()
    counted.add(A)
    assert counted.remove(A)
    assert counted.add(A)


def test_set_that_is_asked_for_comes_whole_and_once(membership: Membership) -> None:
    changes = membership.ask_for(frozenset({RED6}), frozenset())
    assert changes == {
        RED6: TagSetChange(
            existed=False, exists=True, added=frozenset({A6}), removed=NOBODY
        )
    }
    assert membership.ask_for(frozenset({RED6}), frozenset()) == {}
    assert membership.tag_sets() == {RED4: {A}, RED6: {A6}}


def test_tag_that_nobody_carries_is_an_empty_set(membership: Membership) -> None:
    blue = TagSetId(BLUE, Family.V4)
    membership.ask_for(frozenset({blue}), frozenset())
    assert membership.tag_sets()[blue] == NOBODY


def test_endpoint_that_comes_and_goes_is_a_member_meanwhile(
    membership: Membership,
) -> None:
    membership.add((P,), (B,))
    assert collect(membership) == moved(B)
    membership.remove((P,), (B,))
    assert collect(membership) == moved(removed=(B,))


def test_what_ends_where_it_began_is_no_change(membership: Membership) -> None:
    membership.add((P,), (B,))
    membership.remove((P,), (B,))
    membership.remove((P,), (A,))
    membership.add((P,), (A,))
    assert collect(membership) == {}


def test_shared_address_stays_until_the_last_owner_goes(
    membership: Membership,
) -> None:
    membership.add((P,), (A,))
    membership.add((P, Q), (A,))
    membership.remove((P,), (A,))
    membership.remove((P,), (A,))
    assert collect(membership) == {}
    membership.remove((P, Q), (A,))
    assert collect(membership) == moved(removed=(A,))


def test_tag_on_two_profiles_of_a_list_counts_once(membership: Membership) -> None:
    membership.add((P, Q), (B,))
    membership.set_tags(Q, (RED, BLUE))
    assert collect(membership) == moved(B)
    membership.set_tags(P, ())
    assert collect(membership) == moved(removed=(A,))
    membership.set_tags(Q, ())
    assert collect(membership) == moved(removed=(B,))


def test_tag_that_comes_later_brings_all_members(membership: Membership) -> None:
    membership.add((Q,), (A, B, A6))
    assert collect(membership) == {}
    membership.set_tags(Q, (RED,))
    assert collect(membership) == moved(B)


def test_equal_tags_in_another_order_change_nothing(membership: Membership) -> None:
    membership.set_tags(P, (BLUE, RED))
    membership.set_tags(P, (RED, BLUE, RED))
    assert collect(membership) == {}


def test_tags_of_a_profile_that_nobody_lists_wait_for_its_endpoints() -> None:
    made = Membership()
    collect(made)
    made.set_tags(P, (RED,))
    made.add((P,), (A,))
    assert collect(made) == moved(A)


def test_set_that_nobody_needs_takes_its_members_as_last_told(
    membership: Membership,
) -> None:
    membership.add((P,), (B,))
    membership.remove((P,), (A,))
    assert membership.tag_sets() == {RED4: {A}}
    changes = membership.ask_for(frozenset(), frozenset({RED4, RED6}))
    assert changes == {
        RED4: TagSetChange(
            existed=True, exists=False, added=NOBODY, removed=frozenset({A})
        )
    }
    assert membership.tag_sets() == {}


class Watched(str):
    """A name that can be seen to be forgotten."""

    __slots__ = ("__weakref__",)


def test_nothing_is_left_of_a_profile_and_tag_that_have_gone() -> None:
    membership = Membership()
    profile, tag = Watched("P"), Watched("red")
    seen = [weakref.ref(profile), weakref.ref(tag)]
    membership.set_tags(ProfileId(profile), (TagName(tag),))
    membership.set_tags(ProfileId(profile), ())
    del profile, tag
    assert [each() for each in seen] == [None, None]
