"""What `reach` says of all packets, held to real packets: one of every part.

Of each cell between workloads of the host, and between them and outside, a
packet is sent out of every part that is allowed and out of every part that is
not. Oracle, evaluator and kernel must all say what the cell says.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from analysed import addresses_in, ends_of, states_of
from cases import (
    GATEWAY_MAC,
    HOST,
    LOCAL,
    OUTSIDE,
    PORTS,
    TYPES,
    Draw,
    addresses_of,
    key_of,
    mac_of,
)
from judge import Judge
from namespaces import in_new_netns
from oracle import ruling
from packets import OTHER_PROTOCOLS, Letter, flow_of

from calico.analysis.boxes import Box
from calico.analysis.parties import Outside, Party
from calico.analysis.partition import split
from calico.analysis.reach import Matrix, reach
from calico.analysis.space import every_header, header_of, packet_at
from calico.compiler.host import compile_host
from calico.ir.packet import Elsewhere, Packet, Place
from calico.model.rule import Protocol
from calico.netset import Address, Family, Ranges
from calico.netset.ranges import contains
from calico.verdict.evaluate import evaluate

N_POLICIES = int(os.environ.get("CALICO_TEST_REACH_POLICIES", "150"))
N_CELLS = 6

End = tuple[Place, Address, bytes]
"""Where a packet enters or leaves, its address there, and the sender's MAC."""

NUMBER_OF = {key_of(number): number for number in range(len(LOCAL))}


def ends_in_the_namespace(party: Party, taken: set[Address]) -> list[End]:
    """List the ends of a party that the wire has; `taken` are endpoints' addresses."""
    if isinstance(party.members, Outside):
        version = party.sample.version
        outside = [a for a in OUTSIDE if a.version == version and a not in taken]
        return [
            (Elsewhere.OUTSIDE, address, GATEWAY_MAC)
            for address in outside
            if party.members.has(address)
        ]
    return [
        (key, address, mac_of(NUMBER_OF[key]))
        for key, address in ends_of(party)
        if key in NUMBER_OF and address in addresses_of(NUMBER_OF[key])
    ]


def a_header(random: Random, box: Box, family: Family) -> tuple[int, ...] | None:
    """Choose a header out of a box that a host can send and nobody else uses."""
    icmp = 1 if family is Family.V4 else 58
    protocol = _any_of(random, box[0], (6, 17, icmp, *OTHER_PROTOCOLS))
    if protocol is None:
        return None
    if protocol in OTHER_PROTOCOLS:
        return protocol, 0, 0
    if protocol == icmp:
        types = TYPES[Protocol.ICMP if family is Family.V4 else Protocol.ICMPV6]
        fields = (_any_of(random, box[1], types), _any_of(random, box[2], (0, 1)))
    else:
        near = tuple(sorted({*PORTS, *(p + 1 for p in PORTS if p < 65535), 78, 1022}))
        fields = (_any_of(random, box[1], near), _any_of(random, box[2], near))
    first, second = fields
    return None if first is None or second is None else (protocol, first, second)


def _any_of(random: Random, ranges: Ranges, wanted: tuple[int, ...]) -> int | None:
    fitting = [number for number in wanted if contains(ranges, number)]
    return random.choice(fitting) if fitting else None


def packets_of_cell(
    random: Random, matrix: Matrix, source: End, destination: End, allowed: list[Box]
) -> Iterator[tuple[Packet, bool]]:
    """Yield a packet of each part of a cell, and whether the cell allows it."""
    family = matrix.family
    rest = split(every_header(family), [("allowed", allowed)])
    assert rest is not None
    parts = [(box, True) for box in allowed] + [(box, False) for box in rest.rest]
    for box, is_allowed in parts:
        header = a_header(random, box, family)
        if header is not None:
            point = (*header, int(source[1]), int(destination[1]))
            packet = packet_at(point, family, source[0], destination[0])
            packet = replace(packet, source_mac=source[2])
            if packet.protocol in {1, 58}:
                identifier = random.randrange(1, 65536)
                packet = replace(
                    packet, source_port=identifier, destination_port=identifier
                )
            yield packet, is_allowed


def cells_of(
    random: Random, matrix: Matrix, taken: set[Address]
) -> Iterator[tuple[End, End, list[Box]]]:
    """Draw cells between ends that the wire has."""
    numbers = range(len(matrix.parties))
    pairs = [(i, j) for i in numbers for j in numbers]
    n_drawn = 0
    for i, j in random.sample(pairs, len(pairs)):
        starts, goals = (
            ends_in_the_namespace(matrix.parties[n], taken) for n in (i, j)
        )
        both = [(one, other) for one in starts for other in goals]
        both = [(one, other) for one, other in both if one[0] != other[0]]
        region = matrix.allowed(i, j)
        assert region is not None
        if both and n_drawn < N_CELLS:
            n_drawn += 1
            yield *random.choice(both), list(region)


def run_policies(seed: int) -> tuple[list[str], Counter[str]]:
    """Hold the cells of many random policies to the kernel, in this namespace."""
    problems: list[str] = []
    tally: Counter[str] = Counter()
    judge = Judge.open()
    draw = Draw(Random(seed))
    for revision in range(1, N_POLICIES + 1):
        snapshot = draw.snapshot(revision)
        state = compile_host(snapshot, HOST)
        judge.commit_delta(state)
        found: dict[tuple[object, ...], tuple[Packet, bool]] = {}
        for family in Family:
            taken = addresses_in(snapshot)
            matrix = reach(states_of(snapshot), taken, family)
            for source, destination, allowed in cells_of(draw.random, matrix, taken):
                for packet, is_allowed in packets_of_cell(
                    draw.random, matrix, source, destination, allowed
                ):
                    found.setdefault(flow_of(packet), (packet, is_allowed))
        letters = [Letter(packet) for packet, _ in found.values()]
        fates = judge.fates(letters, [is_allowed for _, is_allowed in found.values()])
        for (packet, is_allowed), fate in zip(found.values(), fates, strict=True):
            tally["allowed" if fate else "denied"] += 1
            said = evaluate(state, packet).allowed
            meant, _ = ruling(snapshot, HOST, packet)
            if not fate == is_allowed == said == meant:
                problems.append(
                    f"reach {is_allowed} kernel {fate} evaluator {said} oracle {meant}:"
                    f" {header_of(packet)}\n  {packet}\n  {snapshot}"
                )
        if problems:
            break
    judge.close()
    return problems, tally


@pytest.mark.kernel
def test_kernel_agrees_with_every_part_of_reach(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seed = int(os.environ.get("CALICO_TEST_SEED", Random().randrange(2**32)))
    problems, tally = in_new_netns(lambda: run_policies(seed))
    with capsys.disabled():
        sys.stdout.write(f"\nreach: seed {seed}: {dict(tally)}\n")
    assert not problems, f"seed {seed}:\n" + "\n".join(problems[:3])
    # Positive controls: what is denied means something only beside these.
    assert tally["allowed"] > N_POLICIES
    assert tally["denied"] > N_POLICIES
