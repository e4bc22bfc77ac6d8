"""A kernel under one policy after another, and what becomes of real packets."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cases import (
    GATEWAY_MAC,
    HOST_ADDRESSES,
    LOCAL,
    OUTSIDE,
    UNKNOWN,
    UPLINK,
    addresses_of,
    key_of,
    mac_of,
)
from frames import beginning, datagram, ethernet_header, marker
from packets import Letter
from wire import HOST_ITSELF, Wire, ip

from calico.ir.delta import diff
from calico.ir.packet import ConnectionState, Elsewhere, Packet
from calico.ir.state import DesiredState
from calico.linux.conntrack import Conntrack
from calico.linux.nft_repair import repair_steps
from calico.linux.nft_socket import NftSocket
from calico.model.names import EndpointKey
from calico.render.layout import render_delta, render_state
from calico.render.objects import Ruleset
from calico.render.transaction import diff_rulesets

# What passes untouched by the host's policy, and so ends every batch: where its
# marker comes out, everything before it has.
LAST = Packet(
    Elsewhere.OUTSIDE, Elsewhere.OUTSIDE, OUTSIDE[2], OUTSIDE[0], 17, GATEWAY_MAC
)
GRACE_S = 1.0
PATIENCE_S = 30.0


def build_topology(wire: Wire) -> None:
    """Bring up the interfaces, with routes and neighbours for all workloads."""
    wire.open((*LOCAL, UNKNOWN, UPLINK))
    v4, v6 = HOST_ADDRESSES
    lines = [
        f"addr add {v4}/24 dev {UPLINK}",
        f"addr add {v6}/64 dev {UPLINK} nodad",
    ]
    for gateway in ("172.20.0.1", "fd20::1"):
        lines.append(neighbour(gateway, UPLINK, GATEWAY_MAC))
        lines.append(f"route add default via {gateway} dev {UPLINK}")
    for number, name in enumerate(LOCAL):
        for address in addresses_of(number):
            lines.append(f"route add {address} dev {name}")
            lines.append(neighbour(f"{address}", name, mac_of(number)))
    ip("-batch", "-", stdin="\n".join(lines))


def neighbour(address: str, name: str, mac: bytes) -> str:
    """Say how to make a neighbour known, so that no packet waits for it."""
    return f"neigh replace {address} lladdr {mac.hex(':')} dev {name} nud permanent"


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
            return HOST_ITSELF
        case Elsewhere.OUTSIDE:
            return UPLINK


@dataclass(slots=True)
class Judge:
    """The kernel of this namespace.

    Attributes:
        wire: Its interfaces.
        nft: Its table.
        conntrack: The flows that it knows.
        state: What it enforces.
        grace_s: How long what should have come out by then may still take.
        number: Of the last marker.
    """

    wire: Wire
    nft: NftSocket
    conntrack: Conntrack
    state: DesiredState
    grace_s: float = GRACE_S
    number: int = 0

    @classmethod
    def open(cls, grace_s: float = GRACE_S) -> "Judge":
        """Build the topology, and enforce the empty policy."""
        wire = Wire()
        build_topology(wire)
        nft = NftSocket.open()
        nft.create_table(owned=True)
        empty = DesiredState()
        nft.commit(diff_rulesets(Ruleset(), render_state(empty)))
        return cls(wire, nft, Conntrack(), empty, grace_s)

    def close(self) -> None:
        """Let go of everything; the namespace goes with its process."""
        self.wire.close()
        self.nft.close()

    def commit_delta(self, state: DesiredState) -> None:
        """Commit the difference to what the kernel enforces now."""
        before, after = render_delta(diff(self.state, state))
        self.nft.commit(diff_rulesets(before, after))
        self._take(state)

    def commit_repair(self, state: DesiredState) -> None:
        """Read what the kernel holds, and commit the difference to that."""
        self.nft.commit(repair_steps(self.nft.read_table(), render_state(state)))
        self._take(state)

    def _take(self, state: DesiredState) -> None:
        self.state = state
        self.conntrack.delete(self.conntrack.read_flows())

    def n_differences(self) -> int:
        """Count the steps from what the kernel holds to what it should hold."""
        return len(repair_steps(self.nft.read_table(), render_state(self.state)))

    def fates(self, letters: Sequence[Letter], wanted: Sequence[bool]) -> list[bool]:
        """Send every packet and see which of them came out where they should.

        Args:
            letters: Sent in this order.
            wanted: Which ones to give some more time when all else is out.
        """
        marks = [self._send(letter) for letter in letters]
        last = self._send(Letter(LAST))
        seen = dict(self.wire.receive([last], PATIENCE_S))
        assert last in seen, "what policy is not about does not come through"
        late = [m for m, want in zip(marks, wanted, strict=True) if want]
        if missing := [mark for mark in late if mark not in seen]:
            seen.update(self.wire.receive(missing, self.grace_s))
        return [
            exit_of(letter.packet) in seen.get(mark, set())
            for letter, mark in zip(letters, marks, strict=True)
        ]

    def _send(self, letter: Letter) -> bytes:
        self.number += 1
        mark = marker(self.number)
        packet = letter.packet
        answers = {ConnectionState.ESTABLISHED, ConnectionState.INVALID}
        is_reply = packet.state in answers
        about = b"" if letter.about is None else beginning(letter.about)
        data = datagram(packet, mark, is_reply=is_reply, about=about)
        if packet.enters is Elsewhere.OWN_HOST:
            self.wire.send_from_host(data)
        else:
            interface = interface_of(packet)
            head = ethernet_header(packet, self.wire.macs[interface])
            self.wire.send(interface, head + data)
        return mark

    def counts(self) -> Counter[str]:
        """Read how many packets each named place has counted."""
        found: Counter[str] = Counter()
        for (_, comment), (n_packets, _) in self.nft.read_counters().items():
            found[comment] += n_packets
        return found
