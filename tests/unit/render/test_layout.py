from ipaddress import IPv4Address, IPv6Address, ip_address

from calico.ir.delta import diff
from calico.ir.match import AddressMatch, CompiledRule, Match, TagSetId
from calico.ir.origin import EndOfProfiles, Fault, FaultOrigin, RuleOrigin
from calico.ir.state import (
    CompiledProfile,
    DesiredState,
    LocalEndpoint,
    Pipeline,
    PipelineKey,
    Translation,
)
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
from calico.model.network import HostSettings
from calico.model.rule import Action, Direction
from calico.netset import AddressSet, Family, PortSet, ProtocolSet
from calico.render.layout import (
    pipeline_chain_name,
    profile_chain_name,
    render_delta,
    render_guard,
    render_state,
)
from calico.render.objects import Count, MapElement, Ruleset, Verdict, VerdictKind
from calico.render.transaction import AddMembers, DeleteMembers, diff_rulesets

WEB, GONE = ProfileId("WEB"), ProfileId("GONE")
MAC = bytes.fromhex("eeeeeeeeeeee")
LINK_LOCAL = IPv6Address("fe80::ecee:eeff:feee:eeee").packed
V4 = IPv4Address("10.0.0.1").packed
V6 = IPv6Address("fd00::1").packed
TAG = TagSetId(TagName("OPS"), Family.V4)
NAME = b"cali1".ljust(16, b"\0")
PADDED_MAC = MAC + b"\0\0"
DROP = Verdict(VerdictKind.DROP)


def key(name: str) -> EndpointKey:
    return EndpointKey(
        HostName("h"), OrchestratorId("namespace"), WorkloadId("w"), EndpointId(name)
    )


def endpoint(
    *,
    is_active: bool = True,
    mac: bytes | None = MAC,
    profiles: tuple[ProfileId, ...] = (WEB,),
    addresses: tuple[bytes, ...] = (V4, V6),
) -> LocalEndpoint:
    return LocalEndpoint(
        key("e1"), InterfaceName("cali1"), mac, is_active, profiles, addresses
    )


def profile(number: int = 1) -> CompiledProfile:
    match = Match(
        Family.V4,
        ProtocolSet.everything(),
        AddressMatch(AddressSet.everything(Family.V4), TAG),
        AddressMatch(AddressSet.everything(Family.V4)),
        PortSet.everything(),
        PortSet.everything(),
    )
    origin = RuleOrigin(WEB, Direction.INBOUND, number)
    rules: dict[tuple[Direction, Family], tuple[CompiledRule, ...]] = {
        (direction, family): () for direction in Direction for family in Family
    }
    rules[Direction.INBOUND, Family.V4] = (CompiledRule(match, Action.ALLOW, origin),)
    return CompiledProfile(WEB, rules)


def pipelines(
    stages: tuple[ProfileId | FaultOrigin, ...], profiles: tuple[ProfileId, ...]
) -> dict[PipelineKey, Pipeline]:
    keys = [PipelineKey(profiles, direction) for direction in Direction]
    return {k: Pipeline(k, stages, EndOfProfiles(profiles, k.direction)) for k in keys}


def state(made: LocalEndpoint | None = None) -> DesiredState:
    made = made or endpoint()
    return DesiredState(
        tag_sets={TAG: frozenset({bytes((10, 0, 0, 9))})},
        profiles={WEB: profile()},
        pipelines=pipelines((WEB,), (WEB,)),
        endpoints={made.key: made},
    )


def test_active_endpoint_has_source_dispatch_and_interface() -> None:
    ruleset = render_state(state())
    assert ruleset.members["interfaces"] == {NAME}
    assert ruleset.members["source4-mac"] == {NAME + PADDED_MAC + V4}
    assert ruleset.members["source6-mac"] == {
        NAME + PADDED_MAC + V6,
        NAME + PADDED_MAC + LINK_LOCAL,
    }
    inbound = PipelineKey((WEB,), Direction.INBOUND)
    goto = Verdict(VerdictKind.GOTO, pipeline_chain_name(inbound, Family.V6))
    assert ruleset.elements["inbound6-dispatch"] == {NAME + V6: MapElement(goto)}
    assert ruleset.elements["source-drops"] == {
        NAME: MapElement(DROP, "source check of namespace/w/e1")
    }


def test_endpoint_without_mac_is_checked_by_interface_and_address() -> None:
    ruleset = render_state(state(endpoint(mac=None)))
    assert ruleset.members["source4"] == {NAME + V4}
    assert ruleset.members["source6"] == {NAME + V6}
    assert "source4-mac" not in ruleset.members


def test_inactive_endpoint_is_closed_both_ways() -> None:
    ruleset = render_state(state(endpoint(is_active=False)))
    comment = "inactive endpoint namespace/w/e1"
    for map_name, chain in (
        ("inactive", "inactive-in"),
        ("source-drops", "inactive-out"),
    ):
        closed = MapElement(Verdict(VerdictKind.GOTO, chain), comment)
        assert ruleset.elements[map_name] == {NAME: closed}
        assert ruleset.chains[chain].rules[-1].statements == (DROP,)
    assert "inbound4-dispatch" not in ruleset.elements
    assert not ruleset.members.get("interfaces")


def test_pipeline_jumps_to_each_profile_and_ends_in_a_named_drop() -> None:
    ruleset = render_state(state())
    inbound = PipelineKey((WEB,), Direction.INBOUND)
    rules = ruleset.chains[pipeline_chain_name(inbound, Family.V4)].rules
    chain = profile_chain_name(WEB, Direction.INBOUND, Family.V4)
    assert rules[0].statements == (Verdict(VerdictKind.JUMP, chain),)
    assert rules[1].statements == (Count(), DROP)
    assert rules[1].comment == "end of profiles inbound: WEB"


def test_fault_ends_the_pipeline() -> None:
    fault = FaultOrigin(GONE, Fault.MISSING)
    profiles = (GONE, WEB)
    lists = pipelines((fault,), profiles)
    ruleset = render_state(DesiredState(pipelines=lists))
    outbound = PipelineKey(profiles, Direction.OUTBOUND)
    rules = ruleset.chains[pipeline_chain_name(outbound, Family.V4)].rules
    assert [rule.comment for rule in rules] == ["profile GONE does not exist"]
    assert rules[0].statements == (Count(), DROP)


def test_lists_that_differ_have_chains_of_their_own() -> None:
    names = {
        pipeline_chain_name(PipelineKey(profiles, direction), family)
        for profiles in ((), (WEB,), (GONE,), (WEB, GONE), (GONE, WEB))
        for direction in Direction
        for family in Family
    }
    assert len(names) == 5 * 2 * 2


def test_masquerade_has_its_chain_only_with_pools_for_it() -> None:
    pools = AddressSet(Family.V4, ((1, 9),))
    assert "postrouting" not in render_state(DesiredState()).chains
    ruleset = render_state(DesiredState(translation=Translation(pools, pools)))
    assert "postrouting" in ruleset.chains
    assert ruleset.ranges == {"masqueraded": ((1, 9),), "pools": ((1, 9),)}


def test_guard_holds_no_pinhole() -> None:
    guard = render_guard(("cali",))
    comments = {rule.comment for rule in guard.chains["to-host"].rules}
    assert "workload DNS to the host" not in comments
    assert guard.chains["source-check"].rules


def patched(ruleset: Ruleset, before: Ruleset, after: Ruleset) -> Ruleset:
    """Apply the printed part of a delta to a printed whole, by hand."""
    sets = {k: v for k, v in ruleset.sets.items() if k not in before.sets}
    kept = {k: v for k, v in ruleset.chains.items() if k not in before.chains}
    members = {k: set(v) for k, v in ruleset.members.items()}
    elements = {k: dict(v) for k, v in ruleset.elements.items()}
    for name, gone in before.members.items():
        members[name] = members.get(name, set()) - gone
    for name, come in after.members.items():
        members[name] = members.get(name, set()) | come
    for name, lost in before.elements.items():
        elements[name] = {k: v for k, v in elements[name].items() if k not in lost}
    for name, won in after.elements.items():
        elements[name] = {**elements.get(name, {}), **won}
    sets |= after.sets
    return Ruleset(
        chains=kept | dict(after.chains),
        sets=sets,
        members={k: v for k, v in members.items() if v and k in sets},
        ranges={**ruleset.ranges, **after.ranges},
        elements={k: v for k, v in elements.items() if v},
    )


def without_empty(ruleset: Ruleset) -> Ruleset:
    return patched(ruleset, Ruleset(), Ruleset())


def test_printed_delta_turns_one_printed_state_into_the_other() -> None:
    other = DesiredState(
        settings=HostSettings(workload_dns=False),
        tag_sets={TAG: frozenset({bytes((10, 0, 0, 8))})},
        profiles={WEB: profile(number=2)},
        pipelines=pipelines((WEB,), (WEB,)),
        endpoints={key("e1"): endpoint(is_active=False)},
        routes={},
    )
    empty = DesiredState()
    for old, new in ((empty, state()), (state(), other), (other, empty)):
        before, after = render_delta(diff(old, new))
        result = patched(render_state(old), before, after)
        assert result == without_empty(render_state(new))


def test_moved_member_costs_its_own_steps_only() -> None:
    moved = DesiredState(
        tag_sets={TAG: frozenset({ip_address("10.0.0.8").packed})},
        profiles={WEB: profile()},
        pipelines=pipelines((WEB,), (WEB,)),
        endpoints={key("e1"): endpoint()},
    )
    steps = diff_rulesets(*render_delta(diff(state(), moved)))
    assert [type(step) for step in steps] == [DeleteMembers, AddMembers]
