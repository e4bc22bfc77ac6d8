"""How long the kernel's ruleset takes to change, beside nft(8) doing the same.

Both sides work in one run, in turn, each in its own table of one network
namespace that goes with this program: 1,000 endpoints in two dispatch maps,
50 profiles of 5 rules, and a tag of 100,000 members. Medians; the ratios are
what to compare between machines. Needs root, or root of a user namespace.
"""

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from namespaces import in_new_netns

from calico.linux.nft_repair import repair_steps
from calico.linux.nft_socket import NftSocket
from calico.render.objects import (
    Chain,
    Count,
    Field,
    InRanges,
    InSet,
    MapElement,
    NftRule,
    Ruleset,
    SetSpec,
    Verdict,
    VerdictKind,
)
from calico.render.transaction import (
    AddElements,
    AddMembers,
    AddRule,
    DeleteElements,
    DeleteMembers,
    FlushChain,
    Step,
    diff_rulesets,
)

NFT = shutil.which("nft") or "/usr/sbin/nft"
N_ENDPOINTS = 1000
N_PROFILES = 50
N_MEMBERS = 100_000
ACCEPT = Verdict(VerdictKind.ACCEPT)
TAG = SetSpec("tag", (Field.IP4_SOURCE,))
DISPATCH = (
    SetSpec("out4", (Field.IIFNAME, Field.IP4_SOURCE), is_verdict_map=True),
    SetSpec("in4", (Field.OIFNAME, Field.IP4_DESTINATION), is_verdict_map=True),
)
TYPES = {"out4": "ifname . ipv4_addr : verdict", "in4": "ifname . ipv4_addr : verdict"}


def address(number: int) -> bytes:
    return (0x0A000000 + number).to_bytes(4, "big")


def element(number: int) -> tuple[bytes, MapElement]:
    name = f"cali{number}".encode().ljust(16, b"\0")
    verdict = Verdict(VerdictKind.GOTO, f"p{number % N_PROFILES}")
    return name + address(number), MapElement(verdict)


def rules(n_rules: int, first_port: int) -> tuple[NftRule, ...]:
    return tuple(
        NftRule(
            (
                InRanges(Field.DESTINATION_PORT, ((port, port),)),
                InSet((Field.IP4_SOURCE,), "tag"),
                Count(),
                ACCEPT,
            ),
            f"rule {port}",
        )
        for port in range(first_port, first_port + n_rules)
    )


def ruleset() -> Ruleset:
    chains = {f"p{n}": Chain(f"p{n}", rules(5, 80)) for n in range(N_PROFILES)}
    elements = dict(element(n) for n in range(N_ENDPOINTS))
    return Ruleset(
        chains=chains,
        sets={spec.name: spec for spec in (TAG, *DISPATCH)},
        members={"tag": frozenset(address(n) for n in range(N_MEMBERS))},
        elements={spec.name: elements for spec in DISPATCH},
    )


def rule_text(chain: str, port: int) -> str:
    return (
        f"add rule inet peer {chain} th dport {port} ip saddr @tag counter accept "
        f'comment "rule {port}"'
    )


def element_text(number: int) -> str:
    ip = IPv4Address(address(number))
    return f'"cali{number}" . {ip} : goto p{number % N_PROFILES}'


def peer_text() -> str:
    """Write the same ruleset for nft(8)."""
    members = ", ".join(str(IPv4Address(address(n))) for n in range(N_MEMBERS))
    elements = ", ".join(element_text(n) for n in range(N_ENDPOINTS))
    lines = ["add table inet peer", "add set inet peer tag { type ipv4_addr; }"]
    lines.extend(f"add chain inet peer p{n}" for n in range(N_PROFILES))
    for name, kind in TYPES.items():
        lines.append(f"add map inet peer {name} {{ type {kind}; }}")
        lines.append(f"add element inet peer {name} {{ {elements} }}")
    lines.append(f"add element inet peer tag {{ {members} }}")
    lines.extend(
        rule_text(f"p{n}", port) for n in range(N_PROFILES) for port in range(80, 85)
    )
    return "\n".join(lines)


def nft8(text: str) -> None:
    subprocess.run([NFT, "-f", "-"], input=text, text=True, check=True)


def wall_ms(deed: Callable[[], object]) -> float:
    start = time.perf_counter()
    deed()
    return (time.perf_counter() - start) * 1000


def compare(
    what: str, n_runs: int, ours: Callable[[int], None], peer: Callable[[int], None]
) -> None:
    """Do both in turn and print the medians and their ratio."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(n_runs):
        times[0].append(wall_ms(partial(ours, run)))
        times[1].append(wall_ms(partial(peer, run)))
    first, second = (statistics.median(each) for each in times)
    ratio = second / first
    print(f"{what:34} {first:9.3f} ms   nft -f - {second:9.2f} ms   x{ratio:.1f}")


def main() -> None:
    """Print all figures."""
    nft = NftSocket.open()
    nft.create_table(owned=False)
    wanted, text = ruleset(), peer_text()

    def load(_: int) -> None:
        nft.commit(diff_rulesets(Ruleset(), wanted))

    def unload(run: int) -> None:
        load(run)
        nft.commit(diff_rulesets(wanted, Ruleset()))

    def peer_unload(_: int) -> None:
        nft8(text)
        nft8("delete table inet peer")

    compare("full load and removal", 3, unload, peer_unload)
    compare("full load", 1, load, lambda _: nft8(text))
    compare_members(nft, 1, 30)
    compare_members(nft, 1000, 10)
    compare_endpoint(nft)
    compare_profile(nft)
    table = [wall_ms(nft.read_table) for _ in range(5)]
    print(f"{'read all back':34} {statistics.median(table):9.3f} ms")
    read = [wall_ms(lambda: repair_steps(nft.read_table(), wanted)) for _ in range(5)]
    print(f"{'read all back and compare':34} {statistics.median(read):9.3f} ms")
    ids = [wall_ms(nft.generation) for _ in range(1000)]
    print(f"{'generation':34} {statistics.median(ids):9.4f} ms")


def compare_members(nft: NftSocket, n_members: int, n_runs: int) -> None:
    """Put members into the full tag and take them out again."""

    def numbers(run: int) -> range:
        first = N_MEMBERS + 1 + run
        return range(first, first + n_members)

    def ours(run: int) -> None:
        keys = tuple(address(n) for n in numbers(run))
        nft.commit([AddMembers(TAG, keys)])
        nft.commit([DeleteMembers(TAG, keys)])

    def peer(run: int) -> None:
        text = ", ".join(str(IPv4Address(address(n))) for n in numbers(run))
        nft8(f"add element inet peer tag {{ {text} }}")
        nft8(f"delete element inet peer tag {{ {text} }}")

    compare(f"{n_members} members in, then out", n_runs, ours, peer)


def compare_endpoint(nft: NftSocket) -> None:
    """Put an endpoint into both dispatch maps and take it out again."""

    def ours(run: int) -> None:
        new = (element(N_ENDPOINTS + run),)
        nft.commit([AddElements(spec, new) for spec in DISPATCH])
        nft.commit([DeleteElements(spec, new) for spec in DISPATCH])

    def peer(run: int) -> None:
        new = element_text(N_ENDPOINTS + run)
        for verb in ("add", "delete"):
            nft8("\n".join(f"{verb} element inet peer {n} {{ {new} }}" for n in TYPES))

    compare("one endpoint in, then out", 30, ours, peer)


def compare_profile(nft: NftSocket) -> None:
    """Replace the rules of one profile."""

    def ours(run: int) -> None:
        new = rules(10, 1000 + run)
        steps: list[Step] = [FlushChain("p0"), *(AddRule("p0", each) for each in new)]
        nft.commit(steps)

    def peer(run: int) -> None:
        lines = ["flush chain inet peer p0"]
        lines.extend(rule_text("p0", 1000 + run + n) for n in range(10))
        nft8("\n".join(lines))

    compare("ten rules of a profile replaced", 30, ours, peer)


if __name__ == "__main__":
    in_new_netns(main)
