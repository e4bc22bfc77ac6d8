"""Judge flows that connection tracking knows, as if they began now.

A flow is judged in its original direction. Connection tracking does not know
by which interface a packet came, so an address stands for every endpoint that
has it, and only a flow that is denied for all of them is called denied: to cut
a flow that is still allowed would let its next packet, perhaps a reply, be
judged in the wrong direction.

Of many flows most are alike to every rule: once there are more than a few, a
verdict is kept for the next flow of its class.
"""

from collections.abc import Container
from dataclasses import dataclass

from calico.ir.packet import Elsewhere, Packet, Place
from calico.ir.state import DesiredState, LocalEndpoint, PackedAddress
from calico.netset import Address
from calico.verdict.classes import AddressClass, FlowClasses
from calico.verdict.evaluate import evaluate
from calico.verdict.trace import Trace

_BROADCAST = b"\xff\xff\xff\xff"

# To find the classes costs as much as to judge some hundred flows.
N_JUDGED_ONE_BY_ONE = 500


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow as connection tracking knows it.

    Attributes:
        source: Of the first packet, before masquerading.
        destination: Of the first packet, after destination translation: the
            source of the replies.
        protocol: IP protocol number.
        source_port: For TCP and UDP, else 0.
        destination_port: Likewise, after destination translation.
        icmp_type: Of the first packet, for ICMP and ICMPv6, else 0.
        icmp_code: Likewise.
    """

    source: Address
    destination: Address
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    icmp_type: int = 0
    icmp_code: int = 0


class FlowJudge:
    """Finds the flows that a desired state denies.

    Args:
        state: What the host must do now.
        host_addresses: Every address of this host.
    """

    __slots__ = (
        "_address_classes",
        "_classes",
        "_host_addresses",
        "_known",
        "_n_judged",
        "_owners",
        "_state",
    )

    def __init__(self, state: DesiredState, host_addresses: Container[Address]) -> None:
        self._state = state
        self._host_addresses = host_addresses
        self._n_judged = 0
        self._classes: FlowClasses | None = None
        self._address_classes: dict[Address, AddressClass] = {}
        self._known: dict[tuple[object, ...], Trace | None] = {}
        self._owners: dict[PackedAddress, list[LocalEndpoint]] = {}
        for endpoint in state.endpoints.values():
            for address in endpoint.addresses:
                self._owners.setdefault(address, []).append(endpoint)
            if endpoint.link_local is not None:
                self._owners.setdefault(endpoint.link_local, []).append(endpoint)

    def find_denial(self, flow: Flow) -> Trace | None:
        """Return why a flow would be denied; `None` when it would be allowed."""
        self._n_judged += 1
        if self._n_judged <= N_JUDGED_ONE_BY_ONE:
            return self._judge(flow)
        if self._classes is None:
            self._classes = FlowClasses(self._state)
        same = self._class_of(self._classes, flow)
        if same not in self._known:
            self._known[same] = self._judge(flow)
        return self._known[same]

    def _class_of(self, classes: FlowClasses, flow: Flow) -> tuple[object, ...]:
        return (
            self._address_class(classes, flow.source),
            self._address_class(classes, flow.destination),
            flow.protocol,
            *classes.ports(flow.source_port, flow.destination_port),
            flow.icmp_type,
            flow.icmp_code,
        )

    def _address_class(self, classes: FlowClasses, address: Address) -> AddressClass:
        found = self._address_classes.get(address)
        if found is None:
            if address.packed in self._owners:
                found = (address,)
            else:
                place = self._receivers(address)
                found = (self._is_host(address), *place, *classes.address(address))
            self._address_classes[address] = found
        return found

    def _judge(self, flow: Flow) -> Trace | None:
        denial: Trace | None = None
        for enters, mac in self._senders(flow.source):
            for leaves in self._receivers(flow.destination):
                trace = evaluate(
                    self._state, make_first_packet(flow, enters, leaves, mac)
                )
                if trace.allowed:
                    return None
                denial = denial or trace
        return denial

    def _senders(self, address: Address) -> list[tuple[Place, bytes]]:
        owners = self._owners.get(address.packed)
        if owners is not None:
            return [(each.key, each.mac or b"") for each in owners]
        is_host = self._is_host(address)
        return [(Elsewhere.OWN_HOST if is_host else Elsewhere.OUTSIDE, b"")]

    def _receivers(self, address: Address) -> list[Place]:
        owners = self._owners.get(address.packed)
        if owners is not None:
            return [each.key for each in owners]
        # What is sent to everybody is not forwarded: only the host gets it.
        is_for_all = address.is_multicast or address.packed == _BROADCAST
        is_host = is_for_all or self._is_host(address)
        return [Elsewhere.OWN_HOST if is_host else Elsewhere.OUTSIDE]

    def _is_host(self, address: Address) -> bool:
        return address in self._host_addresses


def make_first_packet(flow: Flow, enters: Place, leaves: Place, mac: bytes) -> Packet:
    """Make the packet that begins a flow, as one host sees it."""
    return Packet(
        enters=enters,
        leaves=leaves,
        source=flow.source,
        destination=flow.destination,
        protocol=flow.protocol,
        source_mac=mac,
        source_port=flow.source_port,
        destination_port=flow.destination_port,
        icmp_type=flow.icmp_type,
        icmp_code=flow.icmp_code,
    )
