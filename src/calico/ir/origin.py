"""Where a verdict was written: the name that every drop and accept carries.

An origin travels to the kernel rule's comment, to the counters, the trace and
every report. `text` is what people read there; two different origins in one
table never share a text.
"""

from dataclasses import dataclass
from enum import Enum
from hashlib import sha256

from calico.model.names import EndpointKey, ProfileId
from calico.model.rule import Direction

# A kernel rule's comment holds some 250 bytes at most.
_LONGEST_LIST = 140
_LONGEST_ENDPOINT = 140


class Fault(Enum):
    """Why a profile denies at its position; the value is what people read."""

    MISSING = "does not exist"
    NO_RULES = "has no rules"
    UNDECODABLE_RULES = "has undecodable rules"
    UNDECODABLE_TAGS = "has undecodable tags"
    REFUSED_BY_KERNEL = "was refused by the kernel"


class Fixed(Enum):
    """Places that are the same on every host; the value is what people read."""

    ESTABLISHED = "established flow"
    RELATED = "ICMP error about a known flow"
    INVALID = "connection state invalid"
    UNKNOWN_INTERFACE = "unknown workload interface"
    NOT_YET_PROGRAMMED = "policy is not yet programmed"
    NO_INBOUND = "no endpoint with this interface and address"
    NO_OUTBOUND = "no endpoint sends from this interface and address"
    DHCP_SOURCE = "DHCP request from an unset address"
    ND_SOURCE = "neighbour discovery from the unspecified address"
    HOST_DNS = "workload DNS to the host"
    HOST_DHCP = "workload DHCP to the host"
    HOST_ND = "neighbour discovery and MLD to the host"
    ENDPOINT_TO_HOST = "DefaultEndpointToHostAction is DROP"
    FOREIGN_TUNNEL = "tunnel packet that comes from no host of the cluster"
    OWN_HOST = "the host reaches its own workloads"
    NOT_OURS = "neither from nor to a workload"
    SAME_ENDPOINT = "never leaves the workload"


@dataclass(frozen=True, slots=True)
class RuleOrigin:
    """A rule of a profile, numbered from 1 as `rule show` numbers it."""

    profile: ProfileId
    direction: Direction
    number: int

    @property
    def text(self) -> str:
        """What people read."""
        return f"profile {self.profile} {self.direction.value} rule {self.number}"


@dataclass(frozen=True, slots=True)
class FaultOrigin:
    """A profile that cannot be used and therefore denies at its position."""

    profile: ProfileId
    fault: Fault

    @property
    def text(self) -> str:
        """What people read."""
        return f"profile {self.profile} {self.fault.value}"


@dataclass(frozen=True, slots=True)
class EndOfProfiles:
    """No rule of any profile in a list matched.

    Attributes:
        profiles: The list, each name once.
        direction: The direction that was judged.
    """

    profiles: tuple[ProfileId, ...]
    direction: Direction

    @property
    def text(self) -> str:
        """What people read; a long list is shown by its ends."""
        names = " ".join(self.profiles) or "(none)"
        if len(names) > _LONGEST_LIST:
            # The digest keeps apart two lists with equal beginnings.
            digest = sha256(names.encode()).hexdigest()[:16]
            names = f"{names[:60]}… ({len(self.profiles)} profiles, {digest})"
        return f"end of profiles {self.direction.value}: {names}"


@dataclass(frozen=True, slots=True)
class SourceCheck:
    """A packet whose interface, MAC and source do not belong together."""

    endpoint: EndpointKey

    @property
    def text(self) -> str:
        """What people read."""
        return f"source check of {endpoint_text(self.endpoint)}"


@dataclass(frozen=True, slots=True)
class InactiveEndpoint:
    """An endpoint that is switched off, closed both ways."""

    endpoint: EndpointKey

    @property
    def text(self) -> str:
        """What people read."""
        return f"inactive endpoint {endpoint_text(self.endpoint)}"


@dataclass(frozen=True, slots=True)
class FixedOrigin:
    """A place that is the same on every host."""

    place: Fixed

    @property
    def text(self) -> str:
        """What people read."""
        return self.place.value


Origin = (
    RuleOrigin
    | FaultOrigin
    | EndOfProfiles
    | SourceCheck
    | InactiveEndpoint
    | FixedOrigin
)


def endpoint_text(key: EndpointKey) -> str:
    """Name an endpoint so that a person finds it: orchestrator, workload, id."""
    text = f"{key.orchestrator}/{key.workload}/{key.endpoint}"
    if len(text) <= _LONGEST_ENDPOINT:
        return text
    digest = sha256(text.encode()).hexdigest()[:16]
    return f"{text[:40]}…{text[-40:]} ({digest})"
