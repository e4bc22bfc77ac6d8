import pytest
from analysed import states_of
from policies import endpoint, profile, snapshot

from calico.analysis.shadow import Scope, Shadowed, Shadows, find_shadows
from calico.compiler.rules import compile_profile
from calico.ir.origin import Fault, FaultOrigin, RuleOrigin
from calico.model.names import ProfileId
from calico.model.rule import (
    Action,
    Direction,
    Peer,
    PortRange,
    ProfileRules,
    Protocol,
    Rule,
)
from calico.model.snapshot import Snapshot, Undecodable

WEB, OPS = ProfileId("WEB"), ProfileId("OPS")
IN = Direction.INBOUND


def rule(number: int, name: ProfileId = WEB, direction: Direction = IN) -> RuleOrigin:
    return RuleOrigin(name, direction, number)


def shadows(cluster: Snapshot, name: ProfileId = WEB, **bound: int) -> Shadows:
    rules = cluster.rules[name]
    assert isinstance(rules, ProfileRules)
    return find_shadows(compile_profile(name, rules), states_of(cluster), **bound)


def unused(*inbound: str) -> Snapshot:
    return snapshot([], {"WEB": profile(inbound)})


def claims(found: Shadows) -> dict[int, tuple[Scope, list[str]]]:
    return {
        each.rule.number: (each.scope, [origin.text for origin in each.hidden_by])
        for each in found.shadowed
    }


@pytest.mark.parametrize(
    ("rules", "hidden"),
    [
        (["allow tcp", "deny tcp to ports 80"], {2: [1]}),
        (["allow tcp to ports 80", "deny tcp"], {}),
        (
            [
                "allow tcp to ports 1:80",
                "deny tcp to ports 81",
                "allow tcp to ports 2:81",
            ],
            {3: [1, 2]},
        ),
        (["allow from tag red", "deny from tag red cidr 10.0.0.0/8"], {2: [1]}),
        (["allow from tag red", "deny from tag blue"], {}),
        (["allow from tag red", "deny to tag red"], {}),
        (["allow from cidr 10.0.0.0/8", "deny icmp from cidr 10.1.0.0/16"], {2: [1]}),
        # One family only is hidden.
        (["allow from cidr 0.0.0.0/0", "allow tcp"], {}),
        (
            ["deny from cidr 0.0.0.0/0", "deny from cidr ::/0", "allow tcp"],
            {3: [1, 2]},
        ),
        # An address is in the set on both sides, or on none.
        (
            [
                "allow from tag red to cidr 10.0.0.1",
                "deny from cidr 10.0.0.1 to tag red cidr 10.0.0.1",
            ],
            {2: [1]},
        ),
    ],
)
def test_rule_is_hidden_by_earlier_rules_of_its_profile(
    rules: list[str], hidden: dict[int, list[int]]
) -> None:
    found = shadows(unused(*rules))
    assert found.undecided == ()
    assert claims(found) == {
        number: (Scope.PROFILE, [rule(by).text for by in those])
        for number, those in hidden.items()
    }
    for each in found.shadowed:
        assert each.witness is not None
        assert each.witness.decided_by == each.hidden_by[0]


def test_rule_that_matches_in_no_family_has_reasons_and_no_witness() -> None:
    never = Rule(Action.ALLOW, Protocol.TCP, source=Peer(ports=()))
    cluster = snapshot([], {"WEB": ProfileRules((never,))})
    reason = "source names no port"
    assert shadows(cluster).shadowed == (
        Shadowed(rule(1), Scope.PROFILE, reasons=(reason, reason)),
    )


LISTED = {"OPS": profile(["allow tcp"]), "WEB": profile(["deny tcp", "deny udp"])}


def test_rule_is_hidden_in_the_lists_in_use() -> None:
    ends = [endpoint("a", "OPS WEB", "10.0.0.1")]
    found = shadows(snapshot(ends, LISTED))
    assert claims(found) == {1: (Scope.LISTS, [rule(1, OPS).text])}


def test_rule_that_one_list_asks_is_not_hidden() -> None:
    ends = [endpoint("a", "OPS WEB", "10.0.0.1"), endpoint("b", "WEB", "10.0.0.2")]
    assert shadows(snapshot(ends, LISTED)).shadowed == ()


def test_rule_behind_a_fault_is_hidden_by_it() -> None:
    ends = [endpoint("a", "GONE WEB", "10.0.0.1")]
    fault = FaultOrigin(ProfileId("GONE"), Fault.MISSING)
    found = shadows(snapshot(ends, LISTED))
    expected = (Scope.LISTS, [fault.text])
    assert claims(found) == {1: expected, 2: expected}


def test_rule_of_a_profile_with_broken_tags_is_hidden_by_them() -> None:
    ends = [endpoint("a", "WEB", "10.0.0.1")]
    whole = snapshot(ends, LISTED)
    broken = Snapshot(
        tags={**whole.tags, WEB: Undecodable("/tags", "planted")},
        rules=whole.rules,
        endpoints=whole.endpoints,
    )
    fault = FaultOrigin(WEB, Fault.UNDECODABLE_TAGS)
    assert claims(shadows(broken))[1] == (Scope.LISTS, [fault.text])


def test_claim_that_members_of_today_carry_says_so() -> None:
    ends = [endpoint("a", "WEB", "10.0.0.1"), endpoint("b", "OPS", "10.0.0.2")]
    rules = profile(["deny from cidr 10.0.0.0/8", "allow from tag OPS"])
    cluster = snapshot(ends, {"WEB": rules, "OPS": profile()})
    assert claims(shadows(cluster)) == {2: (Scope.TODAY, [rule(1).text])}
    [found] = shadows(cluster).shadowed
    assert found.witness is not None
    assert found.witness.source_tags == ("OPS",)


def test_tag_without_members_is_a_claim_of_today_without_witness() -> None:
    ends = [endpoint("a", "WEB", "10.0.0.1")]
    cluster = snapshot(ends, {"WEB": profile(["allow from tag nobody"])})
    assert shadows(cluster).shadowed == (Shadowed(rule(1), Scope.TODAY),)


def test_outbound_rules_are_judged_by_the_sender() -> None:
    ends = [endpoint("a", "WEB", "10.0.0.1")]
    rules = profile([], ["allow from cidr 10.0.0.1", "deny tcp", "deny icmpv6"])
    found = shadows(snapshot(ends, {"WEB": rules}))
    out = Direction.OUTBOUND
    assert [(each.rule, each.scope) for each in found.shadowed] == [
        (rule(2, direction=out), Scope.TODAY),
        (rule(3, direction=out), Scope.TODAY),
    ]


COMB = tuple(PortRange(port, port) for port in range(0, 60, 2))
MANY = ProfileRules(
    (
        *(
            Rule(
                Action.ALLOW,
                Protocol.TCP,
                source=Peer(ports=(one,)),
                destination=Peer(ports=(one,)),
            )
            for one in COMB
        ),
        Rule(Action.DENY),
    )
)


@pytest.mark.parametrize("names", ["", "WEB", "OPS WEB"])
def test_beyond_the_bound_nothing_is_claimed(names: str) -> None:
    ends = [endpoint("a", names, "10.0.0.1 fd00::1")]
    cluster = snapshot(ends, {"WEB": MANY, "OPS": profile(["allow udp"])})
    found = shadows(cluster, max_boxes=10)
    assert found.undecided == (rule(31),)
    assert found.shadowed == ()
    assert shadows(cluster) == Shadows((), ())
