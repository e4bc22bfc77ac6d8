"""What one host must do, in one normal form."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from calico.ir.match import CompiledRule, TagSetId
from calico.ir.origin import FaultOrigin, Origin
from calico.ir.tunnel import NO_GUARD, TunnelGuard
from calico.model.names import (
    NO_REVISION,
    EndpointKey,
    InterfaceName,
    ProfileId,
    Revision,
)
from calico.model.network import DEFAULT_SETTINGS, HostSettings
from calico.model.rule import Direction
from calico.netset import Address, AddressSet, Family

PackedAddress = bytes
"""An address in network order: 4 bytes for IPv4, 16 for IPv6."""

_LINK_LOCAL_PREFIX = bytes.fromhex("fe80000000000000")


@dataclass(frozen=True, slots=True)
class NeverMatches:
    """A rule that can match nothing in one family.

    Attributes:
        origin: The rule.
        family: The family in which it is left out.
        reason: Why, in the user's words.
    """

    origin: Origin
    family: Family
    reason: str


@dataclass(frozen=True, slots=True)
class CompiledProfile:
    """A profile's rules for both directions and both families.

    Attributes:
        profile: Whose rules these are.
        rules: In order; each of the four keys is present.
        never: The rules left out of one family, or of both.
        logs_drops: What its rules deny is told to the kernel's packet log.
    """

    profile: ProfileId
    rules: Mapping[tuple[Direction, Family], tuple[CompiledRule, ...]]
    never: tuple[NeverMatches, ...] = ()
    logs_drops: bool = False


@dataclass(frozen=True, slots=True)
class PipelineKey:
    """A list of profiles, each named once, and a direction."""

    profiles: tuple[ProfileId, ...]
    direction: Direction


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages that a packet passes for one list of profiles.

    A profile decides by its first matching rule; a fault denies. After the
    last stage the packet is denied with `end` as its origin. Endpoints with
    the same list share the pipeline.

    Attributes:
        key: The list and the direction.
        stages: In order. Nothing follows the first fault.
        end: The origin of the default deny.
        logs_drops: What a fault or the end denies is told to the kernel's
            packet log.
    """

    key: PipelineKey
    stages: tuple[ProfileId | FaultOrigin, ...]
    end: Origin
    logs_drops: bool = False


def link_local_of(mac: bytes) -> PackedAddress:
    """Return the IPv6 address that an interface with this MAC has on its link.

    Source:
        RFC 4291, appendix A.
    """
    identifier = bytes((mac[0] ^ 0x02, *mac[1:3], 0xFF, 0xFE, *mac[3:]))
    return _LINK_LOCAL_PREFIX + identifier


@dataclass(frozen=True, slots=True)
class LocalEndpoint:
    """An endpoint of this host.

    Attributes:
        key: Its identity.
        interface: The host's end of the veth, owned by this endpoint alone.
        mac: Six bytes, or `None` when not policed.
        is_active: Inactive endpoints are closed in both directions.
        profiles: The list that selects its pipelines, each name once.
        addresses: Packed, in stored order, both families.
    """

    key: EndpointKey
    interface: InterfaceName
    mac: bytes | None
    is_active: bool
    profiles: tuple[ProfileId, ...]
    addresses: tuple[PackedAddress, ...]

    @property
    def link_local(self) -> PackedAddress | None:
        """The address that its interface has on its own link; `None` without MAC."""
        return None if self.mac is None else link_local_of(self.mac)


@dataclass(frozen=True, slots=True)
class Route:
    """How the host reaches one address: by which interface, to which MAC."""

    endpoint: EndpointKey
    interface: InterfaceName
    mac: bytes | None


NO_ADDRESSES = AddressSet(Family.V4, ())


@dataclass(frozen=True, slots=True)
class Translation:
    """Which IPv4 traffic leaves with the host's address.

    Attributes:
        sources: Pools whose traffic is masqueraded.
        pools: Every pool; traffic to these is not.
    """

    sources: AddressSet = NO_ADDRESSES
    pools: AddressSet = NO_ADDRESSES


NO_TRANSLATION = Translation()


@dataclass(frozen=True, slots=True)
class DesiredState:
    """Everything that one host must do.

    Attributes:
        revision: The newest policy revision it was computed from.
        settings: What decides packets beside policy.
        tag_sets: Each set that a profile in `profiles` names, with its members.
        profiles: Each profile that is a stage of a pipeline.
        pipelines: Both directions of each list that an active endpoint has.
        endpoints: The usable endpoints of this host.
        routes: One per address of the active endpoints; an address that two
            endpoints share goes to the lower key.
        translation: Masquerading.
        guard: Who may send packets within packets. It comes from routing and
            not from policy, so `compile_host` leaves it empty.
        problems: Reason by datastore key (or object) of what cannot be used.
    """

    revision: Revision = NO_REVISION
    settings: HostSettings = DEFAULT_SETTINGS
    tag_sets: Mapping[TagSetId, AbstractSet[PackedAddress]] = field(
        default_factory=dict[TagSetId, AbstractSet[PackedAddress]]
    )
    profiles: Mapping[ProfileId, CompiledProfile] = field(
        default_factory=dict[ProfileId, CompiledProfile]
    )
    pipelines: Mapping[PipelineKey, Pipeline] = field(
        default_factory=dict[PipelineKey, Pipeline]
    )
    endpoints: Mapping[EndpointKey, LocalEndpoint] = field(
        default_factory=dict[EndpointKey, LocalEndpoint]
    )
    routes: Mapping[Address, Route] = field(default_factory=dict[Address, Route])
    translation: Translation = NO_TRANSLATION
    guard: TunnelGuard = NO_GUARD
    problems: Mapping[str, str] = field(default_factory=dict[str, str])
