import pytest

from calico.model.network import EndpointToHostAction, HostSettings
from calico.render.base import BASE_SETS, INACTIVE_CHAINS, render_base
from calico.render.objects import (
    Chain,
    Compare,
    Count,
    Field,
    HookPoint,
    InRanges,
    InSet,
    LookUpVerdict,
    Statement,
    Verdict,
    VerdictKind,
)

RETURN = EndpointToHostAction.RETURN


def references(chain: Chain) -> set[str]:
    """Chains that `chain` continues in."""
    found: set[str] = set()
    for rule in chain.rules:
        for statement in rule.statements:
            if isinstance(statement, Verdict) and statement.chain is not None:
                found.add(statement.chain)
    return found


def set_names(statement: Statement) -> set[str]:
    match statement:
        case InSet():
            return {statement.set_name}
        case LookUpVerdict():
            return {statement.map_name}
        case _:
            return set()


@pytest.mark.parametrize("action", list(EndpointToHostAction))
def test_every_chain_and_set_that_is_named_exists(action: EndpointToHostAction) -> None:
    base = render_base(HostSettings(endpoint_to_host=action))
    for chain in base.chains.values():
        assert references(chain) <= base.chains.keys()
        for rule in chain.rules:
            for statement in rule.statements:
                assert set_names(statement) <= base.sets.keys()


def test_base_sets_start_empty() -> None:
    base = render_base(HostSettings())
    assert set(base.sets.values()) == set(BASE_SETS)
    assert not base.members
    assert not base.elements


def test_each_prefix_enters_each_judging_chain() -> None:
    base = render_base(HostSettings(interface_prefixes=("cali", "tap")))
    for name, look_at in (
        ("source-check", Field.IIFNAME),
        ("forward-from", Field.IIFNAME),
        ("forward-to", Field.OIFNAME),
        ("input", Field.IIFNAME),
    ):
        prefixes = [rule.statements[0] for rule in base.chains[name].rules]
        assert prefixes == [Compare(look_at, b"cali"), Compare(look_at, b"tap")]


def test_outbound_is_judged_before_inbound() -> None:
    chains = render_base(HostSettings()).chains
    outbound, inbound = chains["forward-from"].hook, chains["forward-to"].hook
    assert outbound is not None
    assert inbound is not None
    assert outbound.point is inbound.point is HookPoint.FORWARD
    assert outbound.priority < inbound.priority


def test_every_drop_is_counted_and_has_a_comment() -> None:
    drop = Verdict(VerdictKind.DROP)
    n_drops = 0
    led_to = set(INACTIVE_CHAINS.values())
    for chain in render_base(HostSettings()).chains.values():
        for rule in chain.rules:
            # What an element leads to is counted and named by the element.
            if drop in rule.statements and chain.name not in led_to:
                n_drops += 1
                assert Count() in rule.statements
                assert rule.comment
    assert n_drops > 0


@pytest.mark.parametrize(
    ("action", "leads_to"),
    [
        (EndpointToHostAction.DROP, set[str]()),
        (EndpointToHostAction.RETURN, {"outbound4", "outbound6"}),
        (EndpointToHostAction.ACCEPT, {"outbound4", "outbound6"}),
    ],
)
def test_outbound_policy_is_asked_for_the_host_unless_the_action_is_drop(
    action: EndpointToHostAction, leads_to: set[str]
) -> None:
    base = render_base(HostSettings(endpoint_to_host=action))
    to_host = base.chains["to-host"]
    assert references(to_host) == leads_to
    ends_in_drop = Verdict(VerdictKind.DROP) in to_host.rules[-1].statements
    assert ends_in_drop is not bool(leads_to)


def pinhole_ports(settings: HostSettings) -> set[tuple[tuple[int, int], ...]]:
    return {
        statement.ranges
        for rule in render_base(settings).chains["to-host"].rules
        for statement in rule.statements
        if isinstance(statement, InRanges)
        and statement.look_at is Field.DESTINATION_PORT
    }


def test_pinholes_follow_their_settings() -> None:
    dns, dhcp = ((53, 53),), {((67, 67),), ((547, 547),)}
    assert pinhole_ports(HostSettings()) == {dns, *dhcp}
    assert pinhole_ports(HostSettings(workload_dns=False)) == dhcp
    assert pinhole_ports(HostSettings(workload_dhcp=False)) == {dns}
