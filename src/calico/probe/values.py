"""What is sent, from where to where, and what came of it."""

from dataclasses import dataclass
from enum import Enum

from calico.linux.conntrack_wire import FlowTuple
from calico.linux.nft_path import KernelPath
from calico.model.errors import InvalidResource
from calico.model.rule import Protocol
from calico.netset import Address, Family, family_of

_MAX_PORT = 0xFFFF
_MAX_ICMP = 0xFF
_ECHO_REQUEST = {Protocol.ICMP: 8, Protocol.ICMPV6: 128}
_FAMILY_OF = {Protocol.ICMP: Family.V4, Protocol.ICMPV6: Family.V6}


@dataclass(frozen=True, slots=True)
class Place:
    """A network namespace of this machine.

    Attributes:
        path: Leads to it.
    """

    path: str

    @classmethod
    def of_process(cls, pid: int) -> "Place":
        """Name the namespace that a process is in."""
        return cls(f"/proc/{pid}/ns/net")

    def __str__(self) -> str:
        return "this host" if self == HERE else self.path


HERE = Place("/proc/self/ns/net")
"""The namespace that this process is in."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One packet to send.

    Attributes:
        source: Where to send from; the host's own namespace too.
        destination: Where it should arrive; `None` for what is no namespace
            of this machine.
        address: The address to send to.
        protocol: What to send: a connection request, a datagram or an ICMP
            message.
        port: For TCP and UDP, from 1.
        source_address: The address to send from, one that `source` has;
            `None` leaves it to the kernel.
        source_port: For TCP and UDP; 0 leaves it to the kernel.
        icmp_type: For ICMP; `None` is an echo request.
        icmp_code: For ICMP.
    """

    source: Place
    destination: Place | None
    address: Address
    protocol: Protocol
    port: int = 0
    source_address: Address | None = None
    source_port: int = 0
    icmp_type: int | None = None
    icmp_code: int = 0

    @property
    def family(self) -> Family:
        """The address family of the packet."""
        return family_of(self.address)

    @property
    def message_type(self) -> int:
        """The type of the ICMP message; 0 when it is none."""
        if self.icmp_type is not None:
            return self.icmp_type
        return _ECHO_REQUEST.get(self.protocol, 0)

    @property
    def is_echo(self) -> bool:
        """Whether an ICMP message is sent that asks for an answer."""
        return self.message_type == _ECHO_REQUEST.get(self.protocol)

    def verify(self) -> None:
        """Make sure that there is such a packet.

        Raises:
            InvalidResource: A field cannot be, or does not go with another.
        """
        if self.protocol.has_ports:
            _verify_number("port", self.port, 1, _MAX_PORT)
            _verify_number("source port", self.source_port, 0, _MAX_PORT)
        else:
            _verify_number("ICMP type", self.message_type, 0, _MAX_ICMP)
            _verify_number("ICMP code", self.icmp_code, 0, _MAX_ICMP)
        wanted = _FAMILY_OF.get(self.protocol, self.family)
        own = self.source_address or self.address
        for where, found in (("destination", self.address), ("source", own)):
            if family_of(found) is not wanted or wanted is not self.family:
                text = f"an IPv{wanted.value} address"
                raise InvalidResource(f"probe, {where}", f"`{found}`", text)
            if found.is_multicast or found.is_unspecified:
                text = "the address of one machine"
                raise InvalidResource(f"probe, {where}", f"`{found}`", text)
            if wanted is Family.V6 and found.is_link_local:
                text = "an address that means something beyond one link"
                raise InvalidResource(f"probe, {where}", f"`{found}`", text)


def _verify_number(where: str, found: int, first: int, last: int) -> None:
    if not first <= found <= last:
        accepted = f"a number from {first} to {last}"
        raise InvalidResource(f"probe, {where}", f"`{found}`", accepted)


class Arrival(Enum):
    """Whether the packet got to where it should; the value is words for it."""

    ARRIVED = "arrived"
    MISSING = "did not arrive"
    UNOBSERVED = "cannot be observed"


class Reply(Enum):
    """What came back to the sender; the value is words for it."""

    ANSWERED = "answered"
    REFUSED = "refused"
    NONE = "no answer"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What became of a probe.

    Attributes:
        probe: What was asked for.
        flow: The packet's addresses, ports or ICMP identifier as it was sent;
            `None` when nothing could be sent.
        arrival: Whether it came to be in its destination, delivered there.
        reply: What the sender heard. A packet may arrive and its answer not.
        fault: What else stood in the way, if anything did.
        path: Its way through the host's kernel; `None` when it was not seen
            there.
        limits: What could not be observed, for people to read.
    """

    probe: Probe
    flow: FlowTuple | None
    arrival: Arrival
    reply: Reply
    fault: str = ""
    path: KernelPath | None = None
    limits: tuple[str, ...] = ()
