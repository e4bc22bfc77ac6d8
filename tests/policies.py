"""Policies written as people write them, for tests of what is computed of them."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from calico.codec.words import parse_rule
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    ProfileId,
    Revision,
    TagName,
    WorkloadId,
)
from calico.model.rule import ProfileRules, Rule
from calico.model.snapshot import Snapshot, Undecodable

HOST = HostName("h1")


def rules(*texts: str) -> tuple[Rule, ...]:
    """Read rules."""
    return tuple(parse_rule(text.split()) for text in texts)


def profile(inbound: Iterable[str] = (), outbound: Iterable[str] = ()) -> ProfileRules:
    """Read the rules of a profile."""
    return ProfileRules(rules(*inbound), rules(*outbound))


def key_of(name: str, host: HostName = HOST) -> EndpointKey:
    """Identify an endpoint."""
    return EndpointKey(host, OrchestratorId("ns"), WorkloadId(name), EndpointId(name))


def endpoint(
    name: str,
    profiles: str = "",
    addresses: str = "",
    *,
    host: HostName = HOST,
    state: EndpointState = EndpointState.ACTIVE,
) -> WorkloadEndpoint:
    """Make an endpoint; profiles and addresses are separated by spaces."""
    return WorkloadEndpoint(
        key_of(name, host),
        state,
        InterfaceName(f"cali{name}"),
        None,
        tuple(ProfileId(each) for each in profiles.split()),
        tuple(ip_address(each) for each in addresses.split()),
    )


def snapshot(
    endpoints: Iterable[WorkloadEndpoint],
    profiles: Mapping[str, ProfileRules | Undecodable],
    tags: Mapping[str, str] | None = None,
) -> Snapshot:
    """Put a cluster together; each profile carries its own name, or these tags."""
    carried = {name: name for name in profiles} | dict(tags or {})
    return Snapshot(
        Revision(1),
        {
            ProfileId(name): tuple(TagName(tag) for tag in those.split())
            for name, those in carried.items()
        },
        {ProfileId(name): each for name, each in profiles.items()},
        {each.key: each for each in endpoints},
    )
