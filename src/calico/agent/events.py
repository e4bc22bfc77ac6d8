"""What the feeders put on the agent's queue."""

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from calico.control.protocol import Request
from calico.ir.routing import RoutingState
from calico.linux.host_links import LinkEvent
from calico.linux.nflog import LoggedPacket
from calico.netset import Address
from calico.store.feed import FeedEvent


@dataclass(frozen=True, slots=True)
class LinksLost:
    """The kernel had to drop events about interfaces: read them again."""


@dataclass(frozen=True, slots=True)
class TableTouched:
    """Another program changed our table, or may have.

    Attributes:
        by: Who, in words.
    """

    by: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """The kernel told of dropped packets.

    Attributes:
        at: When, ISO 8601 in UTC.
        packets: Oldest first.
    """

    at: str
    packets: tuple[LoggedPacket, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request at the control socket.

    Attributes:
        request: What is asked.
        answer: Takes the line that answers it.
    """

    request: Request
    answer: Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class StoreChecked:
    """All of the datastore has been read, also what policy does not need.

    Attributes:
        damage: What is damaged; absent when nothing is.
    """

    damage: str | None


@dataclass(frozen=True, slots=True)
class Routed:
    """The routing of this host is another one, or is known for the first time."""

    state: RoutingState


@dataclass(frozen=True, slots=True)
class RoutingSilent:
    """What routing is computed from cannot be read, or can be again.

    Attributes:
        reason: Why it cannot; absent when it can.
    """

    reason: str | None


@dataclass(frozen=True, slots=True)
class RouterSaid:
    """How it is with the router of this host.

    Attributes:
        reason: What is wrong; absent when nothing is.
    """

    reason: str | None


@dataclass(frozen=True, slots=True)
class TunnelAddressed:
    """What this host has of its own in tunnels.

    Attributes:
        found: Its addresses, or why they are not known.
    """

    found: frozenset[Address] | str


@dataclass(frozen=True, slots=True)
class NameContested:
    """Another agent runs under the name of this host, or does so no longer.

    Attributes:
        reason: What is wrong; absent when nothing is.
    """

    reason: str | None


@dataclass(frozen=True, slots=True)
class Stop:
    """The process was asked to end."""


@dataclass(frozen=True, slots=True)
class FeederDied:
    """A thread ended, which none of them may.

    Attributes:
        name: Which.
        error: Why.
    """

    name: str
    error: BaseException


StoreEvent = FeedEvent | StoreChecked | Routed | RoutingSilent

Event = (
    StoreEvent
    | LinkEvent
    | LinksLost
    | TableTouched
    | Dropped
    | Asked
    | RouterSaid
    | TunnelAddressed
    | NameContested
    | Stop
    | FeederDied
)

Queue = SimpleQueue[Event]
