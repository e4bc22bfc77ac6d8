from analysed import states_of
from policies import endpoint, profile, snapshot

from calico.analysis.boxes import NOTHING
from calico.analysis.uses import alone, uses_of
from calico.compiler.rules import compile_profile
from calico.ir.match import CompiledRule
from calico.ir.origin import EndOfProfiles, Fault, FaultOrigin, RuleOrigin
from calico.model.endpoint import EndpointState
from calico.model.names import HostName, ProfileId
from calico.model.rule import Direction
from calico.netset import Family

WEB, OPS = ProfileId("WEB"), ProfileId("OPS")
IN, V4, V6 = Direction.INBOUND, Family.V4, Family.V6
RULES = {
    "WEB": profile(["deny tcp", "allow from tag OPS"]),
    "OPS": profile(["allow udp"]),
}
PROFILE = compile_profile(WEB, RULES["WEB"])
SECOND: CompiledRule = PROFILE.rules[IN, V4][1]
STATES = states_of(
    snapshot(
        [
            endpoint("a", "OPS WEB", "10.0.0.1 10.0.0.2"),
            endpoint("b", "OPS WEB", "10.0.0.9"),
            endpoint("c", "GONE WEB", "10.0.0.3 fd00::3", host=HostName("h2")),
            endpoint("d", "OPS", "10.0.0.4"),
            endpoint("e", "WEB", "10.0.0.5", state=EndpointState.INACTIVE),
        ],
        RULES,
    )
)


def origins(takers: tuple[tuple[object, object], ...]) -> list[object]:
    return [origin for origin, _ in takers]


def test_uses_are_the_lists_of_active_endpoints() -> None:
    found = list(uses_of(PROFILE, STATES))
    assert [use.profiles for use in found] == [("OPS", "WEB"), ("GONE", "WEB")]
    first, second = found
    assert first.addresses == {
        V4: ((0x0A000001, 0x0A000002), (0x0A000009, 0x0A000009)),
        V6: (),
    }
    assert second.addresses[V6] == ((0xFD00 << 112 | 3, 0xFD00 << 112 | 3),)


def test_rule_is_asked_after_those_before_it_in_the_list() -> None:
    use = next(uses_of(PROFILE, STATES))
    for asked in (
        use.with_any_members(SECOND, IN, V4),
        use.with_members_of_today(SECOND, IN, V4),
    ):
        assert origins(asked.before) == [RuleOrigin(OPS, IN, 1), RuleOrigin(WEB, IN, 1)]


def test_packets_of_today_are_those_of_the_endpoints_and_members() -> None:
    use = next(uses_of(PROFILE, STATES))
    asked = use.with_members_of_today(SECOND, IN, V4)
    members = ((0x0A000001, 0x0A000002), (0x0A000004, 0x0A000004))
    own = use.addresses[V4]
    assert {box[3:] for box in asked.packets} == {((*members, own[1]), own)}
    assert (
        use.with_members_of_today(PROFILE.rules[IN, V6][1], IN, V6).packets == NOTHING
    )


def test_fault_before_a_rule_takes_everything() -> None:
    _, use = uses_of(PROFILE, STATES)
    asked = use.with_any_members(SECOND, IN, V4)
    assert origins(asked.before) == [FaultOrigin(ProfileId("GONE"), Fault.MISSING)]
    assert len(asked.before[0][1]) == 3


def test_profile_alone_is_a_list_of_itself() -> None:
    use = alone(PROFILE)
    asked = use.with_any_members(SECOND, IN, V4)
    assert origins(asked.before) == [RuleOrigin(WEB, IN, 1)]
    assert use.state.pipelines[use.key(IN)].end == EndOfProfiles((WEB,), IN)
    assert use.openness(IN, V4).at_source[0].tag == "OPS"
