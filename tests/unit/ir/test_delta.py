from collections.abc import Set as AbstractSet
from ipaddress import ip_address

import pytest
from hypothesis import given
from strategies import HOST, endpoint_key, snapshots

from calico.compiler.host import compile_host
from calico.ir.delta import Change, Delta, TagSetChange, changes, diff
from calico.ir.match import TagSetId
from calico.ir.routing import Carrier
from calico.ir.state import DesiredState, Route, Translation
from calico.ir.tunnel import TunnelGuard
from calico.model.names import InterfaceName, Revision, TagName
from calico.model.network import HostSettings
from calico.model.snapshot import Snapshot
from calico.netset import AddressSet, Family

WEB = TagSetId(TagName("web"), Family.V4)
NOBODY = frozenset[bytes]()
A, B = b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02"
ROUTE = Route(endpoint_key(0), InterfaceName("cali0"), None)


@given(snapshots(), snapshots())
def test_difference_applied_gives_the_other_state(
    one: Snapshot, other: Snapshot
) -> None:
    before, after = compile_host(one, HOST), compile_host(other, HOST)
    assert diff(before, after).apply(before) == after
    assert diff(before, before).is_empty()


@pytest.mark.parametrize(
    ("before", "after", "added", "removed"),
    [
        (None, {A}, {A}, NOBODY),
        ({A}, None, NOBODY, {A}),
        ({A}, {B}, {B}, {A}),
        (None, NOBODY, NOBODY, NOBODY),
        ({A}, {A}, None, None),
    ],
)
def test_tag_sets_differ_by_member(
    before: AbstractSet[bytes] | None,
    after: AbstractSet[bytes] | None,
    added: AbstractSet[bytes] | None,
    removed: AbstractSet[bytes] | None,
) -> None:
    states = [
        DesiredState(tag_sets={} if members is None else {WEB: members})
        for members in (before, after)
    ]
    made = diff(states[0], states[1])
    if added is None or removed is None:
        assert made.is_empty()
    else:
        existed, exists = before is not None, after is not None
        change = TagSetChange(existed, exists, added, removed)
        assert made.tag_sets == {WEB: change}
    assert made.apply(states[0]) == states[1]


@pytest.mark.parametrize(
    "after",
    [
        DesiredState(settings=HostSettings(workload_dns=False)),
        DesiredState(translation=Translation(pools=AddressSet(Family.V4, ((1, 2),)))),
        DesiredState(guard=TunnelGuard(frozenset({Carrier.VXLAN}))),
        DesiredState(routes={ip_address("10.0.0.1"): ROUTE}),
    ],
)
def test_every_part_counts(after: DesiredState) -> None:
    there, back = diff(DesiredState(), after), diff(after, DesiredState())
    assert not there.is_empty()
    assert there.apply(DesiredState()) == after
    assert back.apply(after) == DesiredState()


def test_revision_and_problems_alone_need_nothing_of_the_kernel() -> None:
    after = DesiredState(revision=Revision(7), problems={"/key": "why"})
    made = diff(DesiredState(), after)
    assert made == Delta(Revision(7), {"/key": "why"})
    assert made.is_empty()
    assert made.apply(DesiredState()) == after


def test_changes_carry_both_values() -> None:
    before, after = (
        {"same": 1, "goes": 2, "turns": 3},
        {"same": 1, "turns": 4, "new": 5},
    )
    assert changes(before, after) == {
        "goes": Change(2, None),
        "turns": Change(3, 4),
        "new": Change(None, 5),
    }
