from collections.abc import Sequence

import pytest

from calico.linux.nft_forms import HookForm
from calico.linux.nft_names import RuleName
from calico.linux.nft_path import (
    KernelPath,
    PathEnd,
    PathNames,
    PathStep,
    assemble_path,
)
from calico.linux.nft_trace import TraceEvent, TraceKind, TraceVerdict

INET, IP = 1, 2
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
ACCEPT, DROP = TraceVerdict.ACCEPT, TraceVerdict.DROP

OURS = {
    "source-check": (PREROUTING, -300),
    "forward-from": (FORWARD, 0),
    "forward-to": (FORWARD, 1),
    "input": (INPUT, 0),
    "output": (OUTPUT, 0),
}
OTHERS = {
    "early": (PREROUTING, -310),
    "FORWARD": (FORWARD, 10),
    "between": (FORWARD, 0),
    "POSTROUTING": (POSTROUTING, 0),
}
RULES = {
    1: RuleName("check-source", 3, "", "source-drops"),
    2: RuleName("profile", 2, "profile WEB inbound rule 2", None),
    3: RuleName("profile", 3, "profile WEB inbound rule 3", None),
    4: RuleName("forward-to", 1, "", None),
}


def comment(name: str, came: str, leaves: str) -> str:
    return f"{name} of {came or leaves}"


def names(*, has_table: bool = True) -> PathNames:
    hooks = {
        (IP, "other", chain): HookForm("filter", *hook)
        for chain, hook in OTHERS.items()
    }
    if has_table:
        hooks |= {
            (INET, "calico", chain): HookForm("filter", *hook)
            for chain, hook in OURS.items()
        }
        hooks[INET, "calico", "postrouting"] = HookForm("nat", POSTROUTING, 100)
    return PathNames("calico", RULES, hooks, {4: "caliweb"}, comment)


def event(
    chain: str,
    verdict: TraceVerdict,
    handle: int = 0,
    *,
    target: str | None = None,
    table: tuple[int, str] = (INET, "calico"),
    in_index: int = 0,
) -> TraceEvent:
    kind = TraceKind.RULE if handle or not verdict.is_final else TraceKind.POLICY
    return TraceEvent(7, *table, chain, kind, handle, verdict, target, in_index)


def other(chain: str, verdict: TraceVerdict, handle: int = 0) -> TraceEvent:
    return event(chain, verdict, handle, table=(IP, "other"))


def path(events: Sequence[TraceEvent], end: PathEnd | None = None) -> KernelPath:
    return assemble_path(events, names(), end)


PASSED_SOURCE = event("source-check", ACCEPT)
PASSED_OUTBOUND = event("forward-from", ACCEPT)
TO_PROFILE = event("forward-to", TraceVerdict.GOTO, 4, target="profile")


def test_steps_of_one_base_chain_belong_together() -> None:
    found = path(
        [PASSED_SOURCE, PASSED_OUTBOUND, TO_PROFILE, event("profile", ACCEPT, 2)],
        PathEnd.LEFT,
    )
    assert [each.name for each in found.chains] == [
        "inet calico source-check",
        "inet calico forward-from",
        "inet calico forward-to",
    ]
    assert found.chains[-1].point == "forward"
    assert found.chains[-1].steps == (
        PathStep("forward-to", 1, "", TraceVerdict.GOTO, "profile"),
        PathStep("profile", 2, "profile WEB inbound rule 2", ACCEPT),
    )
    assert (found.allowed, found.origin) == (True, "profile WEB inbound rule 2")


def test_drop_is_named_by_its_rule() -> None:
    found = path([PASSED_SOURCE, TO_PROFILE, event("profile", DROP, 3)])
    assert (found.end, found.allowed) == (PathEnd.DROPPED, False)
    assert found.origin == "profile WEB inbound rule 3"
    assert found.foreign_drop is None


def test_drop_by_a_verdict_map_is_named_by_its_element() -> None:
    events = [event("source-check", TraceVerdict.GOTO, 99, in_index=4)]
    found = path([*events, event("check-source", DROP, 1)])
    assert found.origin == "source-drops of caliweb"
    assert found.chains[0].steps[-1].number == 3


def test_drop_without_a_name_does_not_borrow_one() -> None:
    found = path([event("profile", ACCEPT, 2), event("forward-to", DROP, 99)])
    assert (found.allowed, found.origin) == (False, "")


def test_end_of_a_chain_is_no_step() -> None:
    marker = event("output", TraceVerdict.CONTINUE)
    found = path([marker, event("output", ACCEPT)], PathEnd.LEFT)
    assert found.chains[0].steps == (PathStep("output", 0, "", ACCEPT),)


@pytest.mark.parametrize(
    ("events", "allowed"),
    [
        ([other("early", DROP)], None),
        ([PASSED_SOURCE, PASSED_OUTBOUND, other("between", DROP)], None),
        (
            [
                *(PASSED_SOURCE, PASSED_OUTBOUND, TO_PROFILE),
                *(event("profile", ACCEPT, 2), other("FORWARD", DROP, 2)),
            ],
            True,
        ),
        ([event("output", ACCEPT), other("POSTROUTING", DROP)], True),
    ],
    ids=["before ours", "between ours", "behind ours", "at postrouting"],
)
def test_foreign_drop_is_not_our_verdict(
    events: list[TraceEvent], *, allowed: bool | None
) -> None:
    found = path(events)
    assert found.allowed is allowed
    assert found.foreign_drop == found.chains[-1]
    # A number of another table's rule is not looked up among ours.
    assert found.chains[-1].steps[-1].comment == ""


@pytest.mark.parametrize(
    ("events", "end", "allowed"),
    [
        ([PASSED_SOURCE], PathEnd.LOST, None),
        ([], PathEnd.LOST, None),
        ([event("input", ACCEPT)], PathEnd.LOST, True),
        ([event("input", TraceVerdict.QUEUE, 9)], PathEnd.HELD, True),
        ([event("input", TraceVerdict.STOLEN, 9)], PathEnd.HELD, True),
    ],
)
def test_path_that_breaks_off_says_how(
    events: list[TraceEvent], end: PathEnd, *, allowed: bool | None
) -> None:
    found = path(events)
    assert (found.end, found.allowed) == (end, allowed)


def test_host_without_our_table_judges_nothing() -> None:
    found = assemble_path(
        [other("FORWARD", ACCEPT)], names(has_table=False), PathEnd.LEFT
    )
    assert found.allowed is None


def test_exit_is_the_last_interface_to_leave_by() -> None:
    leaving = TraceEvent(
        7, INET, "calico", "output", TraceKind.POLICY, 0, ACCEPT, out_index=4
    )
    assert path([PASSED_SOURCE, leaving], PathEnd.LEFT).exit_interface == "caliweb"
    assert path([PASSED_SOURCE]).exit_interface == ""


def test_unknown_numbers_are_shown_as_such() -> None:
    strange = event("gone", ACCEPT, 5, table=(77, "arp"), in_index=9)
    (found,) = path([strange]).chains
    assert (found.family, found.point, found.in_interface) == ("77", "", "interface 9")
