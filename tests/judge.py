"""Judge random policies by the oracle, by the evaluator and by the kernel."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from cases import (
    GATEWAY_MAC,
    HOST,
    HOST_ADDRESSES,
    LOCAL,
    UNKNOWN,
    UPLINK,
    Draw,
    addresses_of,
    key_of,
    mac_of,
)
from frames import datagram, frame, marker
from oracle import oracle
from wire import Wire, ip

from calico.compiler.host import compile_host
from calico.ir.delta import diff
from calico.ir.packet import ConnectionState, Elsewhere, Packet
from calico.ir.state import DesiredState
from calico.linux.conntrack import Conntrack
from calico.linux.nft_socket import NftSocket
from calico.model.names import EndpointKey
from calico.model.snapshot import Snapshot
from calico.render.layout import render_delta, render_state
from calico.render.objects import (
    Ruleset,
)
from calico.render.transaction import diff_rulesets
from calico.verdict.evaluate import evaluate

N_PACKETS = 16


def build_topology(wire: Wire) -> None:
    """Bring up the interfaces, with routes and neighbours for all workloads."""
    wire.open((*LOCAL, UNKNOWN, UPLINK))
    v4, v6 = HOST_ADDRESSES
    ip("addr", "add", f"{v4}/24", "dev", UPLINK)
    ip("-6", "addr", "add", f"{v6}/64", "dev", UPLINK, "nodad")
    for gateway in ("172.20.0.1", "fd20::1"):
        put_neighbour(gateway, UPLINK, GATEWAY_MAC)
        family = "-6" if ":" in gateway else "-4"
        ip(family, "route", "add", "default", "via", gateway, "dev", UPLINK)
    for number, name in enumerate(LOCAL):
        for address in addresses_of(number):
            ip("route", "add", f"{address}", "dev", name)
            put_neighbour(f"{address}", name, mac_of(number))


def put_neighbour(address: str, name: str, mac: bytes) -> None:
    """Make the neighbour known, so that no packet waits for resolution."""
    words = ("lladdr", mac.hex(":"), "dev", name, "nud", "permanent")
    ip("neigh", "replace", address, *words)


def interface_of(packet: Packet) -> str:
    """Name the interface that the packet enters by."""
    if isinstance(packet.enters, EndpointKey):
        return next(
            (n for i, n in enumerate(LOCAL) if key_of(i) == packet.enters), UNKNOWN
        )
    return UPLINK


def exit_of(packet: Packet) -> str:
    """Name where the packet comes out when it is allowed."""
    match packet.leaves:
        case EndpointKey():
            return next(n for i, n in enumerate(LOCAL) if key_of(i) == packet.leaves)
        case Elsewhere.OWN_HOST:
            return "host"
        case Elsewhere.OUTSIDE:
            return UPLINK


def unchanged(ruleset: Ruleset) -> Ruleset:
    """Plant no bug."""
    return ruleset


@dataclass(slots=True)
class Judge:
    """The kernel under one policy after another."""

    wire: Wire
    nft: NftSocket
    conntrack: Conntrack
    state: DesiredState
    plant: Callable[[Ruleset], Ruleset] = unchanged
    number: int = 0

    def enforce(self, state: DesiredState) -> None:
        """Commit the difference to what the kernel enforces now."""
        before, after = render_delta(diff(self.state, state))
        steps = diff_rulesets(self.plant(before), self.plant(after))
        if steps:
            self.nft.commit(steps)
        self.state = state
        self.conntrack.delete(self.conntrack.read_flows())

    def fates(self, packets: list[Packet], expected: list[bool]) -> list[bool]:
        """Send every packet and see which of them came out.

        Args:
            packets: Sent in this order.
            expected: Which ones to wait for.
        """
        marks: list[bytes] = []
        for packet in packets:
            self.number += 1
            marks.append(marker(self.number))
            target = self.wire.macs[interface_of(packet)]
            is_reply = packet.state is ConnectionState.ESTABLISHED
            data = datagram(packet, marks[-1], is_reply=is_reply)
            head = frame(packet, target, marks[-1])[:14]
            self.wire.send(interface_of(packet), head + data)
        awaited = [mark for mark, want in zip(marks, expected, strict=True) if want]
        seen = self.wire.receive(awaited)
        return [
            exit_of(packet) in seen.get(mark, set())
            for packet, mark in zip(packets, marks, strict=True)
        ]

    def drops(self) -> Counter[str]:
        """Read how many packets each named place has counted."""
        found: Counter[str] = Counter()
        for (_, comment), (n_packets, _) in self.nft.read_counters().items():
            found[comment] += n_packets
        return found


def flow_of(packet: Packet) -> tuple[object, ...]:
    """Identify the flow, whichever way round."""
    ends = (
        (int(packet.source), packet.source_port),
        (int(packet.destination), packet.destination_port),
    )
    return (packet.protocol, frozenset(ends))


def draw_packets(draw: Draw) -> list[Packet]:
    """Draw packets of which no two belong to one flow."""
    found: dict[tuple[object, ...], Packet] = {}
    while len(found) < N_PACKETS:
        packet = draw.packet()
        found.setdefault(flow_of(packet), packet)
    return list(found.values())


def reply_to(packet: Packet) -> Packet | None:
    """Return the answer that belongs to the flow that `packet` began."""
    mac = GATEWAY_MAC
    if isinstance(packet.leaves, EndpointKey):
        mac = next(mac_of(i) for i in range(4) if key_of(i) == packet.leaves)
    echo = {(1, 8): 0, (58, 128): 129}
    if packet.protocol in {1, 58}:
        if (packet.protocol, packet.icmp_type) not in echo:
            return None
        answer = echo[packet.protocol, packet.icmp_type]
    elif packet.protocol in {6, 17}:
        answer = 0
    else:
        return None
    return replace(
        packet,
        enters=packet.leaves,
        leaves=packet.enters,
        source=packet.destination,
        destination=packet.source,
        source_mac=mac,
        source_port=packet.destination_port,
        destination_port=packet.source_port,
        icmp_type=answer,
        state=ConnectionState.ESTABLISHED,
    )


def compare(
    judge: Judge, snapshot: Snapshot, packets: list[Packet], problems: list[str]
) -> list[bool]:
    """Judge packets three ways and note every difference."""
    wanted = [oracle(snapshot, HOST, packet) for packet in packets]
    traces = [evaluate(judge.state, packet) for packet in packets]
    before = judge.drops()
    fates = judge.fates(packets, wanted)
    counted = judge.drops() - before
    named = Counter(t.origin.text for t in traces if not t.allowed)
    for packet, want, trace, fate in zip(packets, wanted, traces, fates, strict=True):
        if not want == trace.allowed == fate:
            problems.append(
                f"oracle {want} evaluate {trace.allowed} kernel {fate}\n"
                f"  {packet}\n  {trace}\n  {snapshot}"
            )
    problems.extend(
        f"{n} packets dropped by `{text}`, which counted {counted[text]}\n  {snapshot}"
        for text, n in named.items()
        if counted[text] < n
    )
    return fates


def run_cases(
    seed: int,
    n_policies: int,
    plant: Callable[[Ruleset], Ruleset] = unchanged,
) -> tuple[list[str], Counter[str]]:
    """Judge many random policies in this namespace, until one is judged wrong.

    Returns:
        The differences found, and how many cases of each kind were judged.
    """
    problems: list[str] = []
    tally: Counter[str] = Counter()
    wire = Wire()
    build_topology(wire)
    nft = NftSocket.open()
    nft.create_table(owned=True)
    empty = DesiredState()
    nft.commit(diff_rulesets(Ruleset(), plant(render_state(empty))))
    judge = Judge(wire, nft, Conntrack(), empty, plant)
    draw = Draw(Random(seed))
    for revision in range(1, n_policies + 1):
        snapshot = draw.snapshot(revision)
        judge.enforce(compile_host(snapshot, HOST))
        packets = draw_packets(draw)
        fates = compare(judge, snapshot, packets, problems)
        replies = [
            reply
            for packet, fate in zip(packets, fates, strict=True)
            if fate
            and packet.leaves is not Elsewhere.OWN_HOST
            and (reply := reply_to(packet)) is not None
        ]
        answered = compare(judge, snapshot, replies, problems)
        tally.update(allowed=sum(fates), denied=len(fates) - sum(fates))
        tally.update(replies=len(answered))
        tally.update(f"IPv{packet.family.value}" for packet in packets)
        if problems:
            break
    wire.close()
    return problems, tally
