"""Whose established flows a change may deny."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

from agent_host import rules

from calico.agent.suspects import (
    Suspects,
    find_suspects,
    is_coming_back,
    members_at_risk,
)
from calico.agent.uses import Uses
from calico.compiler.host import compile_host
from calico.ir.delta import diff
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    ProfileId,
    TagName,
    WorkloadId,
)
from calico.model.snapshot import Snapshot

HOST = HostName("here")
ONE, TWO, FAR = (ip_address(f"10.65.0.{n}").packed for n in (1, 2, 3))


def _endpoint(
    number: int, profile: str, host: str = HOST, *, state: str = "active"
) -> WorkloadEndpoint:
    return WorkloadEndpoint(
        key=EndpointKey(
            HostName(host),
            OrchestratorId("o"),
            WorkloadId(f"w{number}"),
            EndpointId(f"e{number}"),
        ),
        state=EndpointState(state),
        interface=InterfaceName(f"cali{number}"),
        mac=None,
        profile_ids=(ProfileId(profile),),
        addresses=(ip_address(f"10.65.0.{number}"),),
    )


def _snapshot(
    inbound: Sequence[str],
    *endpoints: WorkloadEndpoint,
    tags: Sequence[str] = ("T",),
) -> Snapshot:
    return Snapshot(
        tags={ProfileId("FAR"): tuple(TagName(tag) for tag in tags)},
        rules={
            ProfileId("A"): rules(inbound),
            ProfileId("B"): rules(["allow"]),
            ProfileId("FAR"): rules([]),
        },
        endpoints={each.key: each for each in endpoints},
    )


LOCAL = (_endpoint(1, "A"), _endpoint(2, "B"))
ALL = (*LOCAL, _endpoint(3, "FAR", "there"))


def _suspects(one: Snapshot, other: Snapshot) -> Suspects:
    before, after = compile_host(one, HOST), compile_host(other, HOST)
    delta = diff(before, after)
    uses = Uses.of(before)
    early = members_at_risk(delta, uses)
    uses.apply(delta)
    return early | find_suspects(delta, uses)


def test_allow_that_comes_concerns_nobody() -> None:
    one = _snapshot(["allow tcp", "deny udp"], *LOCAL)
    other = _snapshot(["allow icmp", "allow tcp", "allow udp"], *LOCAL)
    assert not _suspects(one, other)


def test_allow_that_goes_concerns_the_profile_s_endpoints() -> None:
    one = _snapshot(["allow tcp", "allow udp"], *LOCAL)
    assert _suspects(one, _snapshot(["allow udp"], *LOCAL)) == Suspects(
        frozenset({ONE})
    )


def test_deny_that_comes_or_moves_up_concerns_the_profile_s_endpoints() -> None:
    one = _snapshot(["allow tcp", "deny udp"], *LOCAL)
    for words in (["deny udp", "allow tcp"], ["allow tcp", "deny udp", "deny icmp"]):
        assert _suspects(one, _snapshot(words, *LOCAL)).judged == {ONE}


def test_member_that_leaves_an_allow_concerns_itself() -> None:
    one = _snapshot(["allow from tag T"], *ALL)
    gone = _snapshot(["allow from tag T"], *ALL, tags=())
    assert _suspects(one, gone).judged == {FAR}
    assert not _suspects(gone, one)


def test_member_that_enters_a_deny_concerns_itself() -> None:
    one = _snapshot(["deny from tag T", "allow"], *ALL)
    gone = _snapshot(["deny from tag T", "allow"], *ALL, tags=())
    assert not _suspects(one, gone)
    assert _suspects(gone, one).judged == {FAR}


def test_profile_that_is_exchanged_concerns_its_endpoint() -> None:
    one = _snapshot(["allow"], *LOCAL)
    other = _snapshot(["allow"], _endpoint(1, "B"), LOCAL[1])
    assert _suspects(one, other).judged == {ONE}


def test_profile_that_goes_concerns_its_endpoints() -> None:
    one = _snapshot(["allow"], *LOCAL)
    rest = {ProfileId("B"): rules(["allow"])}
    other = Snapshot(endpoints=one.endpoints, rules=rest)
    assert ONE in _suspects(one, other).judged


def test_addresses_of_an_endpoint_that_goes_or_sleeps_are_gone() -> None:
    one = _snapshot(["allow"], *LOCAL)
    assert _suspects(one, _snapshot(["allow"], LOCAL[1])).gone == {ONE}
    asleep = _endpoint(1, "A", state="inactive")
    assert _suspects(one, _snapshot(["allow"], asleep, LOCAL[1])).gone == {ONE}


def test_address_that_another_endpoint_has_is_not_gone() -> None:
    one = _snapshot(["allow"], *LOCAL)
    heir = WorkloadEndpoint(
        key=LOCAL[1].key,
        state=EndpointState.ACTIVE,
        interface=LOCAL[1].interface,
        mac=None,
        profile_ids=LOCAL[1].profile_ids,
        addresses=(ip_address("10.65.0.1"), ip_address("10.65.0.2")),
    )
    found = _suspects(one, _snapshot(["allow"], heir))
    assert found.gone == frozenset()
    assert {ONE, TWO} <= found.judged


def _endpoint_at_one(number: int, state: str = "active") -> WorkloadEndpoint:
    made = _endpoint(number, "A", state=state)
    return replace(made, addresses=(ip_address("10.65.0.1"),))


def test_address_that_a_new_endpoint_has_is_judged_anew() -> None:
    one = _snapshot(["allow"], *LOCAL)
    found = _suspects(one, _snapshot(["allow"], _endpoint_at_one(4), LOCAL[1]))
    assert found == Suspects(frozenset({ONE}))


def test_gone_address_comes_back_with_an_active_endpoint_only() -> None:
    before = compile_host(_snapshot(["allow"], LOCAL[1]), HOST)
    for state, comes_back in (("active", True), ("inactive", False)):
        heir = _endpoint_at_one(4, state)
        after = compile_host(_snapshot(["allow"], heir, LOCAL[1]), HOST)
        delta = diff(before, after)
        assert is_coming_back(delta, frozenset({ONE})) == comes_back
        assert not is_coming_back(delta, frozenset({TWO}))
        assert not is_coming_back(delta, frozenset())


def test_uses_follow_deltas() -> None:
    one, other = _snapshot(["allow from tag T"], *ALL), _snapshot(["allow"], ALL[0])
    before, after = compile_host(one, HOST), compile_host(other, HOST)
    uses = Uses.of(before)
    uses.apply(diff(before, after))
    fresh = Uses.of(after)
    tags = {*before.tag_sets, *after.tag_sets}
    assert uses.endpoints() == fresh.endpoints()
    for tag in tags:
        assert uses.actions_on(tag) == fresh.actions_on(tag)
        assert uses.profiles_naming(tag) == fresh.profiles_naming(tag)
    for profile in (*one.rules, *other.rules):
        assert uses.endpoints_with([profile]) == fresh.endpoints_with([profile])
