"""How a verdict came about, as values; what is shown of it is the caller's."""

from dataclasses import dataclass
from enum import Enum

from calico.ir.match import CompiledRule
from calico.ir.origin import Origin
from calico.ir.state import NeverMatches
from calico.model.names import EndpointKey, ProfileId
from calico.model.rule import Action


class Miss(Enum):
    """The first part of a rule that a packet does not have; the value is words."""

    FAMILY = "address family"
    PROTOCOL = "protocol"
    SOURCE_PORT = "source port"
    DESTINATION_PORT = "destination port"
    ICMP_TYPE = "ICMP type"
    ICMP_CODE = "ICMP code"
    SOURCE_NETWORK = "source network"
    DESTINATION_NETWORK = "destination network"
    SOURCE_TAG = "source tag"
    DESTINATION_TAG = "destination tag"


class Stage(Enum):
    """The places that a packet passes; the value is what people read."""

    SOURCE_CHECK = "source check"
    TUNNEL = "tunnel"
    CONNECTION = "connection state"
    PINHOLES = "pinholes to the host"
    TO_HOST = "endpoint to host"
    OUTBOUND = "outbound"
    INBOUND = "inbound"
    UNJUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class Trial:
    """One rule held against the packet.

    Attributes:
        rule: The rule; `NeverMatches` when it is left out of this family.
        miss: The first part that does not match; `None` when all do.
    """

    rule: CompiledRule | NeverMatches
    miss: Miss | None


@dataclass(frozen=True, slots=True)
class Step:
    """One part of a packet's way.

    Attributes:
        stage: Where.
        endpoint: Whose source, or whose policy; `None` where it is nobody's.
        outcome: A deny ends the way, an allow ends the stage, `None` lets the
            packet go on within it.
        origin: What decided, when something with a name did.
        profile: The profile that was asked, if one was.
        trials: The rules that were tried, in order, up to the one that matched.
    """

    stage: Stage
    endpoint: EndpointKey | None
    outcome: Action | None = None
    origin: Origin | None = None
    profile: ProfileId | None = None
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """A verdict and the way to it.

    Attributes:
        allowed: Whether we let the packet pass.
        origin: What decided it: the deny, or the last allow.
        steps: In the order in which the kernel takes them.
    """

    allowed: bool
    origin: Origin
    steps: tuple[Step, ...]
