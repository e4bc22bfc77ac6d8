"""One batch, all of it or nothing; who may change the table."""

import os
import socket
import subprocess
from collections.abc import Sequence

import pytest
from namespaces import in_new_netns

from calico.linux.nft_repair import repair_steps
from calico.linux.nft_socket import NftSocket
from calico.model.errors import BatchTooLarge, KernelRejected, Unavailable
from calico.render.objects import (
    Chain,
    Compare,
    Count,
    CtState,
    CtStateIs,
    Field,
    Hook,
    HookPoint,
    HookType,
    InRanges,
    InSet,
    LimitEach,
    Log,
    LookUpVerdict,
    MapElement,
    Masquerade,
    NftRule,
    Ruleset,
    SetSpec,
    Statement,
    Verdict,
    VerdictKind,
)
from calico.render.transaction import (
    AddChain,
    AddMembers,
    AddRule,
    AddSet,
    DeleteChain,
    DeleteMembers,
    Step,
    diff_rulesets,
)

pytestmark = pytest.mark.kernel

F = Field
DROP, ACCEPT = Verdict(VerdictKind.DROP), Verdict(VerdictKind.ACCEPT)
CALI0 = b"cali0".ljust(16, b"\0")
TAG = SetSpec("tag4-WEB", (F.IP4_SOURCE,))
IS4 = Compare(F.NFPROTO, b"\x02")

GOLDEN: list[tuple[Statement, str]] = [
    (Compare(F.IIFNAME, b"cali"), 'iifname "cali*"'),
    (Compare(F.OIFNAME, CALI0), 'oifname "cali0"'),
    (Compare(F.OIFNAME, CALI0, is_negated=True), 'oifname != "cali0"'),
    (Compare(F.NFPROTO, b"\x0a"), "meta nfproto ipv6"),
    (Compare(F.L4PROTO, b"\x06"), "meta l4proto tcp"),
    (Compare(F.IP4_SOURCE, b"\x01\x02\x03\x04"), "ip saddr 1.2.3.4"),
    (Compare(F.IP4_SOURCE, b"\x0a\0\0\0", b"\xff\x80\0\0"), "ip saddr 10.0.0.0/9"),
    (
        Compare(F.IP4_DESTINATION, b"\x0a\0\0", is_negated=True),
        "ip daddr != 10.0.0.0/24",
    ),
    (InRanges(F.DESTINATION_PORT, ((80, 80),)), "th dport 80"),
    (InRanges(F.DESTINATION_PORT, ((80, 90),)), "th dport 80-90"),
    (InRanges(F.SOURCE_PORT, ((80, 90),), is_negated=True), "th sport != 80-90"),
    (InRanges(F.DESTINATION_PORT, ((80, 80), (443, 443))), "th dport { 80, 443 }"),
    (
        InRanges(
            F.DESTINATION_PORT, ((0, 0), (80, 90), (65000, 65535)), is_negated=True
        ),
        "th dport != { 0, 80-90, 65000-65535 }",
    ),
    (InRanges(F.L4PROTO, ((6, 6), (17, 17))), "meta l4proto { tcp, udp }"),
    (
        InRanges(F.IP4_SOURCE, ((0x0A000000, 0x0AFFFFFF), (0xC0A80001, 0xC0A80003))),
        "ip saddr { 10.0.0.0/8, 192.168.0.1-192.168.0.3 }",
    ),
    (InSet((F.IP4_SOURCE,), "tag4-WEB"), "ip saddr @tag4-WEB"),
    (InSet((F.IP4_SOURCE,), "tag4-WEB", is_negated=True), "ip saddr != @tag4-WEB"),
    (InSet((F.IIFNAME, F.IP4_SOURCE), "sources"), "iifname . ip saddr @sources"),
    (
        LookUpVerdict((F.L4PROTO, F.DESTINATION_PORT), "ports"),
        "meta l4proto . th dport vmap @ports",
    ),
    (CtStateIs(CtState.ESTABLISHED), "ct state established"),
    (CtStateIs(CtState.INVALID), "ct state invalid"),
    (Count(), "counter packets 0 bytes 0"),
    (
        LimitEach((F.OIFNAME,), "limits", 10, 20),
        "update @limits { oifname limit rate 10/second burst 20 packets }",
    ),
    (Log("calico inbound 12", 51729), 'log prefix "calico inbound 12" group 51729'),
    (Verdict(VerdictKind.GOTO, "x"), "goto x"),
    (Verdict(VerdictKind.RETURN), "return"),
    (DROP, "drop"),
]
SOURCES = SetSpec("sources", (F.IIFNAME, F.IP4_SOURCE))
PORTS = SetSpec(
    "ports", (F.L4PROTO, F.DESTINATION_PORT), is_verdict_map=True, has_counters=True
)
POOLS = SetSpec("pools", (F.IP4_DESTINATION,), is_interval=True)
INACTIVE = SetSpec("inactive", (F.OIFNAME,), is_verdict_map=True)
LIMITS = SetSpec("limits", (F.OIFNAME,), timeout_s=60)
MACS = SetSpec("macs", (F.IIFNAME, F.ETHER_SOURCE, F.IP6_SOURCE))


def golden_ruleset() -> Ruleset:
    rules = tuple(
        # nft(8) knows an address for one behind the family only.
        NftRule(
            (IS4, statement) if " addr" in text or "ip " in text else (statement,),
            f"number {number}",
        )
        for number, (statement, text) in enumerate(GOLDEN)
    )
    return Ruleset(
        chains={
            "x": Chain("x", ()),
            "all": Chain("all", rules, Hook(HookType.FILTER, HookPoint.FORWARD, -1)),
            "post": Chain(
                "post",
                (NftRule((IS4, InSet((F.IP4_DESTINATION,), "pools"), Masquerade())),),
                Hook(HookType.NAT, HookPoint.POSTROUTING, 100),
            ),
        },
        sets={s.name: s for s in (TAG, SOURCES, PORTS, POOLS, INACTIVE, LIMITS, MACS)},
        members={
            "tag4-WEB": frozenset({b"\x0a\0\0\x01"}),
            "sources": frozenset({CALI0 + b"\x0a\0\0\x01"}),
            "macs": frozenset(
                {CALI0 + b"\x02\0\0\0\0\x05\0\0" + b"\xfe\x80" + bytes(13) + b"\x01"}
            ),
        },
        ranges={"pools": ((1, 5), (0x0A000000, 0x0AFFFFFF), (0xFF000000, 0xFFFFFFFF))},
        elements={
            "ports": {b"\x06\0\0\0\0\x50\0\0": MapElement(DROP, "web")},
            "inactive": {CALI0: MapElement(Verdict(VerdictKind.JUMP, "x"))},
        },
    )


def listing() -> str:
    command = ["nft", "list", "ruleset"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def nft_fails(*words: str) -> bool:
    command = ["nft", *words]
    return subprocess.run(command, check=False, capture_output=True).returncode != 0


def test_nft_prints_what_was_meant() -> None:
    def body() -> tuple[bool, str]:
        nft = NftSocket.open()
        nft.create_table(owned=False)
        wanted = golden_ruleset()
        nft.commit(diff_rulesets(Ruleset(), wanted))
        return repair_steps(nft.read_table(), wanted) == (), listing()

    is_equal, text = in_new_netns(body)
    assert is_equal
    lines = {line.strip() for line in text.splitlines()}
    for number, (_, printed) in enumerate(GOLDEN):
        wanted = f'{printed} comment "number {number}"'
        assert {wanted, f"meta nfproto ipv4 {wanted}"} & lines, f"{wanted}\n{text}"
    for line in (
        "type filter hook forward priority filter - 1; policy accept;",
        "type nat hook postrouting priority srcnat; policy accept;",
        "ip daddr @pools masquerade",
        "type ifname . ether_addr . ipv6_addr",
        "type inet_proto . inet_service : verdict",
        'elements = { "cali0" . 10.0.0.1 }',
        'elements = { "cali0" . 02:00:00:00:00:05 . fe80::1 }',
        'elements = { tcp . 80 counter packets 0 bytes 0 comment "web" : drop }',
        'elements = { "cali0" : jump x }',
        "flags dynamic,timeout",
        "timeout 1m",
        "elements = { 0.0.0.1-0.0.0.5, 10.0.0.0/8,",
        "255.0.0.0/8 }",
    ):
        assert line in lines, f"{line}\n{text}"


def test_refused_transaction_changes_nothing_and_names_its_step() -> None:
    def body() -> tuple[KernelRejected, bool]:
        nft = NftSocket.open()
        nft.create_table(owned=True)
        nft.commit([AddSet(TAG), AddMembers(TAG, (b"\x0a\0\0\x01",))])
        before = nft.read_table()
        steps: list[Step] = [
            AddChain(Chain("x", ())),
            AddMembers(TAG, tuple(n.to_bytes(4, "big") for n in range(20_000))),
            AddRule("x", NftRule((InRanges(F.SOURCE_PORT, ((1, 1), (5, 9))), ACCEPT))),
            AddRule("x", NftRule((InSet((F.IP4_SOURCE,), "absent"), DROP), "WEB 1")),
            AddRule("gone", NftRule((DROP,), "WEB 2")),
        ]
        with pytest.raises(KernelRejected) as caught:
            nft.commit(steps)
        # The generation of the ruleset has not moved either.
        return caught.value, before == nft.read_table()

    error, is_unchanged = in_new_netns(body)
    assert is_unchanged
    assert error.step == 3
    assert "WEB 1" in str(error)


@pytest.mark.parametrize(
    ("steps", "number"),
    [
        ([DeleteChain("absent")], 0),
        ([AddSet(TAG), DeleteMembers(TAG, (b"\x01\x02\x03\x04",))], 1),
        (
            [
                AddChain(Chain("a", ())),
                AddChain(Chain("b", (), Hook(HookType.FILTER, HookPoint.INPUT, 0))),
                AddRule("b", NftRule((Verdict(VerdictKind.JUMP, "a"),))),
                AddRule("a", NftRule((Verdict(VerdictKind.JUMP, "a"),))),
            ],
            3,
        ),
    ],
)
def test_refusal_leads_to_the_step(steps: Sequence[Step], number: int) -> None:
    def body() -> int | None:
        nft = NftSocket.open()
        nft.create_table(owned=True)
        with pytest.raises(KernelRejected) as caught:
            nft.commit(steps)
        return caught.value.step

    assert in_new_netns(body) == number


def test_commit_without_a_table_is_refused() -> None:
    def body() -> None:
        nft = NftSocket.open()
        with pytest.raises(KernelRejected):
            nft.commit([AddSet(TAG)])
        assert nft.read_table() is None

    in_new_netns(body)


def test_hundred_thousand_members_go_in_and_are_all_read_back() -> None:
    keys = frozenset(n.to_bytes(4, "big") for n in range(100_000))

    def body() -> None:
        nft = NftSocket.open()
        nft.create_table(owned=True)
        wanted = Ruleset(sets={TAG.name: TAG}, members={TAG.name: keys})
        nft.commit(diff_rulesets(Ruleset(), wanted))
        # At once, while the kernel's hash table is still growing.
        table = nft.read_table()
        assert table is not None
        assert table.members[TAG.name] == keys
        assert repair_steps(table, wanted) == ()
        nft.commit(diff_rulesets(wanted, Ruleset()))

    in_new_netns(body)


def test_batch_beyond_the_socket_is_not_sent() -> None:
    def body() -> tuple[BatchTooLarge, int]:
        nft = NftSocket.open()
        nft.create_table(owned=True)
        nft.commit([AddSet(TAG)])
        plain = socket.socket(fileno=os.dup(nft.fileno()))
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
        before = nft.generation()
        keys = tuple(n.to_bytes(4, "big") for n in range(20_000))
        with pytest.raises(BatchTooLarge) as caught:
            nft.commit([AddMembers(TAG, keys)])
        assert nft.generation() == before
        nft.commit([AddMembers(TAG, keys[:5000])])
        return caught.value, len(keys) * 16

    error, least = in_new_netns(body)
    assert error.n_bytes > least > error.limit


def test_owned_table_withstands_a_foreign_flush_and_edit() -> None:
    def body() -> None:
        nft = NftSocket.open()
        assert nft.create_table(owned=True)
        assert nft.create_table(owned=True)
        nft.commit([AddChain(Chain("x", ()))])
        assert not nft_fails("flush", "ruleset")
        assert nft_fails("add", "rule", "inet", "calico", "x", "accept")
        assert nft_fails("delete", "table", "inet", "calico")
        assert "chain x" in listing()
        with pytest.raises(Unavailable):
            NftSocket.open().create_table(owned=True)
        nft.delete_table()
        nft.delete_table()
        assert listing() == ""

    in_new_netns(body)


def test_table_outlives_its_owner_and_is_adopted() -> None:
    def body() -> None:
        first = NftSocket.open()
        first.create_table(owned=True)
        first.commit([AddChain(Chain("x", ()))])
        first.close()
        assert "chain x" in listing()
        second = NftSocket.open()
        assert second.create_table(owned=True)
        assert nft_fails("delete", "table", "inet", "calico")
        assert "chain x" in listing()

    in_new_netns(body)


def test_plain_table_stays_plain() -> None:
    def body() -> None:
        nft = NftSocket.open()
        assert not nft.create_table(owned=False)
        assert not NftSocket.open().create_table(owned=True)
        assert not nft_fails("delete", "table", "inet", "calico")

    in_new_netns(body)


def test_inherited_socket_still_owns_the_table() -> None:
    def body() -> None:
        held = NftSocket.open()
        held.create_table(owned=True)
        fd = os.dup(held.fileno())
        # A request whose answer an earlier agent left unread.
        raw = socket.socket(fileno=os.dup(fd))
        raw.send(b"\x14\0\0\0\x0a\x0a\x01\x03\x01\0\0\0\0\0\0\0" + b"\0\0\0\0")
        nft = NftSocket.from_fd(fd)
        assert nft.port_id == held.port_id
        assert nft.create_table(owned=True)
        nft.commit([AddChain(Chain("x", ()))])
        assert nft_fails("delete", "table", "inet", "calico")

    in_new_netns(body)


def test_rootless_user_in_its_own_namespaces_can_do_it_all() -> None:
    def body() -> tuple[str, ...]:
        nft = NftSocket.open()
        assert nft.create_table(owned=True)
        wanted = golden_ruleset()
        nft.commit(diff_rulesets(Ruleset(), wanted))
        assert repair_steps(nft.read_table(), wanted) == ()
        assert ("ports", "web") in nft.read_counters()
        assert nft.other_chains() == ()
        return nft.limits

    limits = in_new_netns(body, rootless=True)
    assert any(text.startswith("send buffer") for text in limits)


def test_counters_are_named_by_place_and_comment() -> None:
    def body() -> None:
        nft = NftSocket.open()
        nft.create_table(owned=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        lo = SetSpec("lo", (F.IIFNAME,), is_verdict_map=True, has_counters=True)
        hook = Hook(HookType.FILTER, HookPoint.INPUT, 0)
        statements: tuple[Statement, ...] = (Compare(F.L4PROTO, b"\x11"), Count())
        rules = (
            NftRule(statements, "udp"),
            NftRule((LookUpVerdict(lo.key, "lo"),)),
        )
        key = b"lo".ljust(16, b"\0")
        wanted = Ruleset(
            chains={"in": Chain("in", rules, hook)},
            sets={"lo": lo},
            elements={"lo": {key: MapElement(DROP, "nobody")}},
        )
        nft.commit(diff_rulesets(Ruleset(), wanted))
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for _ in range(3):
            sender.sendto(b"12345678", ("127.0.0.1", 9))
        counters = nft.read_counters()
        assert counters["in", "udp"] == (3, 3 * 36)
        assert counters["lo", "nobody"] == (3, 3 * 36)
        assert repair_steps(nft.read_table(), wanted) == ()

    in_new_netns(body)


def test_other_programs_chains_that_may_drop_are_named() -> None:
    text = """
    table ip docker {
      chain FORWARD { type filter hook forward priority 0; policy drop; }
      chain INPUT { type filter hook input priority 0; jump deep; }
      chain deep { ip saddr vmap { 10.0.0.1 : jump deeper }; }
      chain deeper { tcp dport 5 reject; }
      chain OUTPUT { type filter hook output priority 0; policy drop; }
    }
    table inet fine {
      chain forward { type filter hook forward priority 5; counter accept; }
      chain unreached { drop; }
    }
    table ip6 v6 { chain f { type filter hook forward priority 7; tcp dport 5 drop; }
    }
    table inet calico { chain f { type filter hook forward priority 0; drop; }
    }
    """

    def body() -> list[tuple[str, str, str, str, int, tuple[str, ...]]]:
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
        return [
            (c.family, c.table, c.name, c.point, c.priority, c.reasons)
            for c in NftSocket.open().other_chains()
        ]

    assert sorted(in_new_netns(body)) == [
        ("ip", "docker", "FORWARD", "forward", 0, ("policy drop",)),
        ("ip", "docker", "INPUT", "input", 0, ("reject",)),
        ("ip6", "v6", "f", "forward", 7, ("drop",)),
    ]
