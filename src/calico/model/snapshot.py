"""All resources at one revision, as far as policy depends on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import (
    NO_REVISION,
    EndpointKey,
    HostName,
    ProfileId,
    Revision,
    TagName,
)
from calico.model.network import Pool
from calico.model.rule import ProfileRules
from calico.netset import Family, Network


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A value in the datastore that nobody can use.

    Attributes:
        store_key: Where it is, as the datastore spells it.
        reason: What is wrong, with the path inside the value.
    """

    store_key: str
    reason: str


@dataclass(frozen=True, slots=True)
class SettingKey:
    """One parameter, global (`host` absent) or of one host."""

    name: str
    host: HostName | None = None


TUNNEL_SETTINGS = {Family.V4: "IpInIpTunnelAddr", Family.V6: "Ipv6TunnelAddr"}
"""The settings of a host that tell its own addresses within tunnels."""


@dataclass(frozen=True, slots=True)
class ProfileTagsKey:
    """The key that holds a profile's tags."""

    profile: ProfileId


@dataclass(frozen=True, slots=True)
class ProfileRulesKey:
    """The key that holds a profile's rules."""

    profile: ProfileId


@dataclass(frozen=True, slots=True)
class ProfileLabelsKey:
    """The key that holds a profile's labels."""

    profile: ProfileId


@dataclass(frozen=True, slots=True)
class PoolKey:
    """The key that holds a pool."""

    cidr: Network


@dataclass(frozen=True, slots=True)
class ReadyKey:
    """The key that says that updates may be applied."""


@dataclass(frozen=True, slots=True)
class ReservedKey:
    """A key of a kind that is known and not used: tiers, host endpoints, ….

    Attributes:
        kind: What it is, in the user's words.
    """

    kind: str


ResourceKey = (
    ProfileTagsKey
    | ProfileRulesKey
    | ProfileLabelsKey
    | EndpointKey
    | PoolKey
    | SettingKey
    | ReadyKey
    | ReservedKey
)
"""Everything below the policy part of the datastore, by what it holds."""

Resource = (
    tuple[TagName, ...]
    | ProfileRules
    | Mapping[str, str]
    | WorkloadEndpoint
    | Pool
    | str
    | bool
    | Undecodable
)
"""The value under a `ResourceKey`, in the same order; settings are text."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What policy is computed from, at one revision.

    Attributes:
        revision: The newest revision of anything in here.
        tags: The tags of each profile that has a tags key.
        rules: The rules of each profile that has a rules key.
        endpoints: The endpoints of every host.
        pools: The pools of both families.
        settings: Parameters as stored, global and per host.
        labels: The labels of each profile that has a labels key. No policy
            reads them, but a profile exists if any of its keys does.
    """

    revision: Revision = NO_REVISION
    tags: Mapping[ProfileId, tuple[TagName, ...] | Undecodable] = field(
        default_factory=dict[ProfileId, tuple[TagName, ...] | Undecodable]
    )
    rules: Mapping[ProfileId, ProfileRules | Undecodable] = field(
        default_factory=dict[ProfileId, ProfileRules | Undecodable]
    )
    endpoints: Mapping[EndpointKey, WorkloadEndpoint | Undecodable] = field(
        default_factory=dict[EndpointKey, WorkloadEndpoint | Undecodable]
    )
    pools: Mapping[Network, Pool | Undecodable] = field(
        default_factory=dict[Network, Pool | Undecodable]
    )
    settings: Mapping[SettingKey, str | Undecodable] = field(
        default_factory=dict[SettingKey, str | Undecodable]
    )
    labels: Mapping[ProfileId, Mapping[str, str] | Undecodable] = field(
        default_factory=dict[ProfileId, Mapping[str, str] | Undecodable]
    )
