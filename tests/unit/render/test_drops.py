from collections.abc import Iterator

from hypothesis import given
from strategies import HOST, snapshots

from calico.compiler.host import compile_host
from calico.ir.drop_name import LOG_GROUP, DropName, drop_names
from calico.ir.origin import Fixed, FixedOrigin
from calico.ir.state import DesiredState
from calico.model.network import HostSettings
from calico.model.rule import Direction
from calico.model.snapshot import Snapshot
from calico.render.drops import LIMITS, render_log, render_log_probe, with_log
from calico.render.layout import render_guard, render_state
from calico.render.objects import (
    Compare,
    Count,
    Field,
    LimitEach,
    Log,
    NftRule,
    Ruleset,
    Verdict,
    VerdictKind,
)
from calico.render.rules import render_drop

DROP = Verdict(VerdictKind.DROP)
NAME = DropName(Direction.INBOUND, FixedOrigin(Fixed.INVALID))
IS_UDP = Compare(Field.L4PROTO, b"\x11")


def logs(ruleset: Ruleset) -> Iterator[Log]:
    for chain in ruleset.chains.values():
        for rule in chain.rules:
            for statement in rule.statements:
                if isinstance(statement, Log):
                    yield statement


def test_log_has_the_conditions_of_its_drop_and_neither_counter_nor_comment() -> None:
    drop = render_drop(FixedOrigin(Fixed.INVALID), IS_UDP)
    log, same = with_log(drop, NAME, is_logged=True)
    assert same is drop
    limit = LimitEach((Field.OIFNAME,), "drop-log-in", 10, 20)
    assert log == NftRule((IS_UDP, limit, Log(NAME.prefix, LOG_GROUP)))
    assert log == render_log(NAME, IS_UDP)


def test_without_logging_the_drop_stands_alone() -> None:
    drop = render_drop(FixedOrigin(Fixed.INVALID), IS_UDP)
    assert with_log(drop, NAME, is_logged=False) == (drop,)


def test_each_direction_has_limits_by_its_own_interface() -> None:
    keys = {direction: spec.key for direction, spec in LIMITS.items()}
    assert keys == {
        Direction.OUTBOUND: (Field.IIFNAME,),
        Direction.INBOUND: (Field.OIFNAME,),
    }
    assert all(spec.timeout_s for spec in LIMITS.values())


def test_guard_says_that_policy_is_not_yet_programmed() -> None:
    prefixes = {log.prefix for log in logs(render_guard(("cali",)))}
    origin = FixedOrigin(Fixed.NOT_YET_PROGRAMMED)
    assert {DropName(each, origin).prefix for each in Direction} <= prefixes
    for place in (Fixed.UNKNOWN_INTERFACE, Fixed.NO_INBOUND, Fixed.NO_OUTBOUND):
        for direction in Direction:
            assert DropName(direction, FixedOrigin(place)).prefix not in prefixes


def test_setting_takes_every_log_out() -> None:
    settings = HostSettings(drop_log=False)
    assert not list(logs(render_state(DesiredState(settings=settings))))
    assert not list(logs(render_guard(("cali",), drop_log=False)))


def test_probe_has_all_that_a_log_needs() -> None:
    probe = render_log_probe()
    (chain,) = probe.chains.values()
    assert chain.hook is None
    kinds = [type(each) for each in chain.rules[0].statements]
    assert kinds == [LimitEach, Log, Verdict]


@given(snapshots())
def test_every_drop_is_logged_just_before_under_a_name_of_the_state(
    snapshot: Snapshot,
) -> None:
    state = compile_host(snapshot, HOST)
    known = {name.prefix for name in drop_names(state)}
    ruleset = render_state(state)
    assert {log.prefix for log in logs(ruleset)} <= known
    for chain in ruleset.chains.values():
        for before, rule in zip((None, *chain.rules), chain.rules, strict=False):
            if rule.statements[-1] != DROP:
                continue
            conditions = [s for s in rule.statements[:-1] if s != Count()]
            if state.settings.drop_log:
                assert before is not None
                *same, limit, log = before.statements
                assert same == conditions
                assert isinstance(limit, LimitEach)
                assert isinstance(log, Log)
            else:
                assert before is None or not isinstance(before.statements[-1], Log)
