"""Rules as users write them: exact, in order, with the spelling kept."""

from dataclasses import dataclass, field
from enum import Enum

from calico.model.names import TagName
from calico.netset import Network

MAX_RULES = 1000
"""The most rules that the two directions of one profile may hold together."""


class Action(Enum):
    """What a rule does with a packet that it matches; the value is the word."""

    ALLOW = "allow"
    DENY = "deny"


class Direction(Enum):
    """The side of an endpoint that a rule is about; the value is the word."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"

    # By identity, as they compare; `Family` says why.
    __hash__ = object.__hash__


class Protocol(Enum):
    """A protocol that a rule can name; the value is the word."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    ICMPV6 = "icmpv6"

    # By identity, as they compare; `Family` says why.
    __hash__ = object.__hash__

    @property
    def number(self) -> int:
        """The IP protocol number."""
        return _NUMBERS[self]

    @property
    def has_ports(self) -> bool:
        """Whether rules for this protocol may name ports."""
        return self in {Protocol.TCP, Protocol.UDP}

    @property
    def is_icmp(self) -> bool:
        """Whether rules for this protocol may name an ICMP type and code."""
        return not self.has_ports


_NUMBERS = {
    Protocol.TCP: 6,
    Protocol.UDP: 17,
    Protocol.ICMP: 1,
    Protocol.ICMPV6: 58,
}


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from `first` to `last`, both included; one port when they are equal."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Cidr:
    """A network as a user wrote it; two are equal when their networks are.

    Attributes:
        network: What it matches; host bits are cleared.
        text: What is shown and stored, host bits and all.
    """

    network: Network
    text: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Peer:
    """One side of a rule, the `from` or the `to`; an absent field matches all.

    Attributes:
        ports: In the order written; a packet may match any of them. Only with
            tcp and udp, never empty.
        tag: The address belongs to an endpoint that carries this tag.
        cidr: The address is in this network.
    """

    ports: tuple[PortRange, ...] | None = None
    tag: TagName | None = None
    cidr: Cidr | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; every field that is present must match.

    Attributes:
        action: What happens to a packet that matches.
        protocol: Absent means every protocol, also those no rule can name.
        icmp_type: 0 to 255, only with an ICMP protocol.
        icmp_code: 0 to 255, only with a type.
        source: The `from` side.
        destination: The `to` side.
    """

    action: Action
    protocol: Protocol | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    source: Peer = Peer()
    destination: Peer = Peer()


@dataclass(frozen=True, slots=True)
class ProfileRules:
    """The two ordered rule lists of a profile."""

    inbound: tuple[Rule, ...] = ()
    outbound: tuple[Rule, ...] = ()

    def of(self, direction: Direction) -> tuple[Rule, ...]:
        """Return the list of one direction."""
        return self.inbound if direction is Direction.INBOUND else self.outbound
