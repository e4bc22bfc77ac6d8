from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from strategies import HOST, OTHER, endpoint_key, snapshot_of

from calico.compiler.host import compile_host
from calico.compiler.incremental import HostCompiler
from calico.compiler.tunnel import compile_guard
from calico.ir.delta import Change, TagSetChange, diff
from calico.ir.match import TagSetId
from calico.ir.origin import Fault, FaultOrigin
from calico.ir.routing import Carrier, RoutedPool, RoutingState
from calico.ir.state import DesiredState, PipelineKey
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import (
    EndpointKey,
    InterfaceName,
    ProfileId,
    Revision,
    TagName,
)
from calico.model.network import Pool
from calico.model.rule import Action, Direction, Peer, ProfileRules, Rule
from calico.model.snapshot import (
    PoolKey,
    ProfileLabelsKey,
    ProfileRulesKey,
    ProfileTagsKey,
    ReadyKey,
    ReservedKey,
    Resource,
    ResourceKey,
    SettingKey,
    Undecodable,
)
from calico.netset import Family

P, RED = ProfileId("P"), TagName("red")
TAGS, RULES, LABELS = ProfileTagsKey(P), ProfileRulesKey(P), ProfileLabelsKey(P)
POOL = PoolKey(ip_network("10.0.0.0/8"))
PREFIX = SettingKey("InterfacePrefix")
BROKEN = Undecodable("/broken", "why")
FROM_RED = ProfileRules((Rule(Action.ALLOW, source=Peer(tag=RED)),))
ANY = ProfileRules((Rule(Action.ALLOW),))
NOBODY = frozenset[bytes]()


def endpoint(key: EndpointKey, address: str) -> WorkloadEndpoint:
    return WorkloadEndpoint(
        key,
        EndpointState.ACTIVE,
        InterfaceName(f"cali{key.workload}"),
        None,
        (P,),
        (ip_address(address),),
    )


LOCAL = endpoint(endpoint_key(0), "10.0.0.1")
REMOTE = endpoint(endpoint_key(0, OTHER), "10.0.0.2")
OFF = replace(LOCAL, state=EndpointState.INACTIVE)

STORY: list[tuple[ResourceKey, Resource | None]] = [
    (LOCAL.key, LOCAL),
    (TAGS, (RED,)),
    (RULES, FROM_RED),
    (REMOTE.key, REMOTE),
    (LABELS, {"role": "web"}),
    (POOL, Pool(POOL.cidr, masquerade=True)),
    (PREFIX, "tap"),
    (PREFIX, "tap,cali"),
    (TAGS, BROKEN),
    (TAGS, ()),
    (TAGS, (RED,)),
    (RULES, BROKEN),
    (RULES, ANY),
    (RULES, None),
    (TAGS, None),
    (LABELS, None),
    (RULES, FROM_RED),
    (REMOTE.key, BROKEN),
    (REMOTE.key, None),
    (LOCAL.key, OFF),
    (LOCAL.key, LOCAL),
    (LOCAL.key, BROKEN),
    (LOCAL.key, None),
    (POOL, BROKEN),
    (POOL, None),
    (PREFIX, BROKEN),
    (PREFIX, None),
]


@pytest.mark.parametrize("n_together", [1, 2, 5, len(STORY)])
@pytest.mark.parametrize("step", [1, -1])
def test_story_gives_the_same_however_it_is_cut(n_together: int, step: int) -> None:
    compiler, applied = HostCompiler(HOST), DesiredState()
    held: dict[ResourceKey, Resource] = {}
    for number, (key, value) in enumerate(STORY[::step], start=1):
        compiler.set_resource(key, value, Revision(number))
        held.pop(key, None)
        if value is not None:
            held[key] = value
        assert set(compiler.keys()) == held.keys()
        if number % n_together == 0 or number == len(STORY):
            full = compile_host(snapshot_of(held, number), HOST)
            delta = compiler.turn()
            assert delta == diff(applied, full)
            applied = delta.apply(applied)
            assert applied == full == compiler.state()


@pytest.fixture
def compiler() -> HostCompiler:
    """A compiler after its first turn, with one local and one remote endpoint."""
    made = HostCompiler(HOST)
    for key, value in STORY[:4]:
        made.set_resource(key, value, Revision(4))
    made.turn()
    return made


def test_remote_endpoint_costs_its_addresses_and_nothing_else(
    compiler: HostCompiler,
) -> None:
    another = endpoint(endpoint_key(1, OTHER), "10.0.0.3")
    compiler.set_resource(another.key, another, Revision(5))
    delta = compiler.turn()
    assert delta.tag_sets == {
        TagSetId(RED, Family.V4): TagSetChange(
            existed=True,
            exists=True,
            added=frozenset({ip_address("10.0.0.3").packed}),
            removed=NOBODY,
        )
    }
    assert replace(delta, tag_sets={}).is_empty()


def test_state_is_that_of_the_last_turn(compiler: HostCompiler) -> None:
    before = compiler.state()
    for key, value in ((LOCAL.key, None), (RULES, None), (REMOTE.key, None)):
        compiler.set_resource(key, value, Revision(9))
    assert compiler.state() == before
    assert compiler.turn().apply(before) == compiler.state() != before


@pytest.mark.parametrize("key", [ReadyKey(), ReservedKey("tiers")])
def test_keys_that_decide_nothing_move_the_revision(
    compiler: HostCompiler, key: ResourceKey
) -> None:
    compiler.set_resource(key, True, Revision(9))  # noqa: FBT003 -- what Ready holds
    delta = compiler.turn()
    assert delta.is_empty()
    assert delta.revision == 9


Q = ProfileId("Q")
FOREIGN = endpoint(endpoint_key(1, OTHER), "10.0.0.3")
ELSEWHERE: list[tuple[ResourceKey, Resource | None]] = [
    (ProfileTagsKey(Q), (TagName("blue"),)),
    (ProfileRulesKey(Q), FROM_RED),
    (ProfileLabelsKey(Q), {"role": "db"}),
    (FOREIGN.key, replace(FOREIGN, profile_ids=(Q,))),
    (FOREIGN.key, replace(FOREIGN, profile_ids=(Q, ProfileId("R")))),
    (FOREIGN.key, None),
    (SettingKey("DefaultEndpointToHostAction", OTHER), "ACCEPT"),
    (ProfileRulesKey(Q), ANY),
    (ProfileTagsKey(Q), None),
    (ProfileLabelsKey(Q), None),
]


def test_change_elsewhere_compiles_nothing(compiler: HostCompiler) -> None:
    before = compiler.state()
    assert before.profiles.keys() == {P}
    assert TagSetId(RED, Family.V4) in before.tag_sets
    for number, (key, value) in enumerate(ELSEWHERE, start=5):
        compiler.set_resource(key, value, Revision(number))
        after = replace(before, revision=Revision(number))
        assert compiler.turn() == diff(before, after)
    after = compiler.state()
    assert all(after.profiles[p] is each for p, each in before.profiles.items())
    assert all(after.pipelines[key] is each for key, each in before.pipelines.items())
    assert all(after.tag_sets[key] is each for key, each in before.tag_sets.items())
    compiler.set_resource(FOREIGN.key, FOREIGN, Revision(100))
    assert compiler.turn().tag_sets.keys() == {TagSetId(RED, Family.V4)}


def test_older_revision_does_not_turn_back_the_newest(compiler: HostCompiler) -> None:
    compiler.set_resource(RULES, ANY, Revision(2))
    assert compiler.turn().revision == 4


def test_equal_rules_keep_the_compiled_profile(compiler: HostCompiler) -> None:
    before = compiler.state().profiles[P]
    again = ProfileRules((Rule(Action.ALLOW, source=Peer(tag=RED)),))
    compiler.set_resource(RULES, again, Revision(5))
    assert compiler.turn().is_empty()
    assert compiler.state().profiles[P] is before


def test_refusal_lasts_until_the_rules_change(compiler: HostCompiler) -> None:
    pipeline = PipelineKey((P,), Direction.INBOUND)
    compiler.refuse(P, "too large")
    compiler.set_resource(RULES, FROM_RED, Revision(5))
    compiler.turn()
    refused = compiler.state()
    fault = FaultOrigin(P, Fault.REFUSED_BY_KERNEL)
    assert refused.pipelines[pipeline].stages == (fault,)
    assert list(refused.problems) == ["profile P"]
    compiler.set_resource(RULES, ANY, Revision(6))
    compiler.turn()
    mended = compiler.state()
    assert mended.pipelines[pipeline].stages == (P,)
    assert mended.problems == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (LOCAL.key, "text"),
        (POOL, ()),
        (PREFIX, ()),
        (TAGS, "text"),
        (RULES, ()),
        (LABELS, ()),
    ],
)
def test_value_of_another_key_is_a_bug_and_raises(
    compiler: HostCompiler, key: ResourceKey, value: Resource
) -> None:
    with pytest.raises(TypeError, match="belongs"):
        compiler.set_resource(key, value, Revision(5))


def test_routing_says_who_may_use_the_tunnels(compiler: HostCompiler) -> None:
    before = compiler.state()
    routing = RoutingState(
        router_id=IPv4Address("172.31.0.1"),
        pools=(RoutedPool(ip_network("10.1.0.0/16"), Carrier.VXLAN),),
        overlay_hosts=(IPv4Address("172.31.0.2"),),
    )
    compiler.set_routing(routing)
    delta = compiler.turn()
    guard = compile_guard(routing, logs_drops=True)
    assert delta.guard == Change(before.guard, guard)
    assert compiler.state() == replace(before, guard=guard) == delta.apply(before)
    # It logs what it drops as policy does.
    compiler.refuse_log()
    assert compiler.turn().guard == Change(guard, replace(guard, logs_drops=False))
    assert compiler.turn().is_empty()
