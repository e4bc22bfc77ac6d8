"""Whatever the kernel holds, the steps found lead to what it should hold."""

import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from namespaces import in_new_netns
from rulesets import rulesets

from calico.linux.nft_repair import repair_steps
from calico.linux.nft_socket import NftSocket
from calico.render.objects import (
    Chain,
    Compare,
    Count,
    Field,
    Hook,
    HookPoint,
    HookType,
    InRanges,
    LookUpVerdict,
    MapElement,
    NftRule,
    Ruleset,
    SetSpec,
    Verdict,
    VerdictKind,
)
from calico.render.transaction import diff_rulesets

pytestmark = pytest.mark.kernel

SLOW = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
DROP, ACCEPT = Verdict(VerdictKind.DROP), Verdict(VerdictKind.ACCEPT)
CALI0 = b"cali0".ljust(16, b"\0")


def make(nft: NftSocket, wanted: Ruleset) -> None:
    """Bring the table from whatever it is to what is wanted, and verify."""
    steps = repair_steps(nft.read_table(), wanted)
    nft.commit(steps)
    again = nft.read_table()
    assert repair_steps(again, wanted) == ()


def test_random_rulesets_are_accepted_and_read_back_equal() -> None:
    def body() -> None:
        nft = NftSocket.open()
        nft.create_table(owned=True)

        @SLOW
        @given(rulesets())
        def check(wanted: Ruleset) -> None:
            nft.commit(diff_rulesets(Ruleset(), wanted))
            try:
                assert repair_steps(nft.read_table(), wanted) == ()
            finally:
                nft.commit(diff_rulesets(wanted, Ruleset()))
            assert repair_steps(nft.read_table(), Ruleset()) == ()

        check()

    in_new_netns(body)


def test_any_ruleset_is_repaired_into_any_other() -> None:
    def body() -> None:
        nft = NftSocket.open()
        nft.create_table(owned=True)

        @SLOW
        @given(rulesets(), rulesets())
        def check(before: Ruleset, after: Ruleset) -> None:
            make(nft, before)
            make(nft, after)

        check()

    in_new_netns(body)


PORTS = SetSpec("ports", (Field.L4PROTO, Field.DESTINATION_PORT), is_verdict_map=True)
TAG = SetSpec("tag4-WEB", (Field.IP4_SOURCE,))
POOLS = SetSpec("pools", (Field.IP4_DESTINATION,), is_interval=True)
GOOD = Ruleset(
    chains={
        "forward-from": Chain(
            "forward-from",
            (
                NftRule((Compare(Field.IIFNAME, b"cali"), Count(), DROP), "no"),
                NftRule((LookUpVerdict(PORTS.key, "ports"),)),
                NftRule(
                    (InRanges(Field.DESTINATION_PORT, ((80, 80), (443, 450))), DROP)
                ),
            ),
            Hook(HookType.FILTER, HookPoint.FORWARD, 0),
        ),
        "x": Chain("x", (NftRule((ACCEPT,)),)),
    },
    sets={"ports": PORTS, "tag4-WEB": TAG, "pools": POOLS},
    members={"tag4-WEB": frozenset((b"\x0a\0\0\1", b"\x0a\0\0\2"))},
    ranges={"pools": ((0x0A000000, 0x0AFFFFFF),)},
    elements={
        "ports": {
            b"\x06\0\0\0\x00\x50\0\0": MapElement(Verdict(VerdictKind.JUMP, "x"), "web")
        }
    },
)

FOREIGN_EDITS = [
    "add chain inet calico evil; add rule inet calico evil drop",
    "add chain inet calico evil { type filter hook forward priority -5; policy drop; }",
    "add rule inet calico x drop",
    "insert rule inet calico x accept",
    "flush chain inet calico forward-from",
    "flush chain inet calico x",
    "add element inet calico tag4-WEB { 10.0.0.9 }",
    "delete element inet calico tag4-WEB { 10.0.0.1 }",
    "flush set inet calico tag4-WEB",
    "add element inet calico ports { tcp . 81 : drop }",
    "delete element inet calico ports { tcp . 80 }",
    "delete element inet calico ports { tcp . 80 }; "
    "add element inet calico ports { tcp . 80 : drop }",
    "add element inet calico pools { 192.168.0.0/16 }",
    "flush set inet calico pools",
    "add set inet calico bad { type ipv4_addr; elements = { 1.2.3.4 }; }",
    "add map inet calico bad { type ipv4_addr : verdict; }",
    "add map inet calico bad { type ipv4_addr : mark; elements = { 1.2.3.4 : 5 }; }",
    "add chain inet calico evil; "
    "add map inet calico bad { type ipv4_addr : verdict; }; "
    "add element inet calico bad { 1.2.3.4 : jump evil }; "
    "add rule inet calico evil ip saddr vmap { 10.0.0.1 : drop }",
    "add chain inet calico evil; "
    "add element inet calico ports { tcp . 99 : goto evil }",
    "add chain inet calico forward-from { policy drop; }",
    "flush chain inet calico forward-from; delete chain inet calico forward-from",
    "flush chain inet calico forward-from; delete chain inet calico forward-from; "
    "add chain inet calico forward-from",
    "flush chain inet calico forward-from; delete chain inet calico forward-from; "
    "add chain inet calico forward-from "
    "{ type filter hook forward priority 7; policy drop; }",
    "delete set inet calico tag4-WEB; "
    "add set inet calico tag4-WEB { type ipv4_addr; flags timeout; }",
    "delete set inet calico tag4-WEB; "
    "add set inet calico tag4-WEB { type ipv6_addr; size 5; }",
    "add rule inet calico x tcp dport { 1-3, 80 } counter reject",
    "add rule inet calico x limit rate 5/second log prefix hello",
    'add rule inet calico forward-from jump x comment "hello"',
    "delete table inet calico; add table inet calico",
]


@pytest.mark.parametrize("edit", FOREIGN_EDITS)
def test_foreign_edit_is_found_and_repaired(edit: str) -> None:
    def body() -> tuple[int, str, str]:
        nft = NftSocket.open()
        nft.create_table(owned=False)
        make(nft, GOOD)
        clean = listing()
        subprocess.run(["nft", edit], check=True)
        assert listing() != clean
        n_steps = len(repair_steps(nft.read_table(), GOOD))
        make(nft, GOOD)
        return n_steps, clean, listing()

    n_steps, before, after = in_new_netns(body)
    assert n_steps > 0
    assert sorted(before.splitlines()) == sorted(after.splitlines())


def listing() -> str:
    command = ["nft", "list", "table", "inet", "calico"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_what_is_right_is_not_touched_by_a_repair() -> None:
    def body() -> list[str]:
        nft = NftSocket.open()
        nft.create_table(owned=False)
        make(nft, GOOD)
        subprocess.run(
            ["nft", "add", "rule", "inet", "calico", "x", "drop"], check=True
        )
        return [type(s).__name__ for s in repair_steps(nft.read_table(), GOOD)]

    assert in_new_netns(body) == ["FlushChain", "AddRule"]


def test_sleeping_table_is_woken() -> None:
    def body() -> list[bool]:
        nft = NftSocket.open()
        nft.create_table(owned=False)
        make(nft, GOOD)
        seen: list[bool] = []
        edit = "add table inet calico { flags dormant; }"
        subprocess.run(["nft", edit], check=True)
        for _ in range(2):
            table = nft.read_table()
            assert table is not None
            seen.append(table.is_dormant)
            nft.create_table(owned=False)
        return seen

    assert in_new_netns(body) == [True, False]
