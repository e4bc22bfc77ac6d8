"""Compile a snapshot to what one host must do: total, and the specification.

Everything is computed from nothing and in the plainest way. What makes it fast
when little changes is in `incremental`, and may not change the answer.
"""

from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address
from types import MappingProxyType

from calico.compiler.local import (
    assign_address,
    assign_interface,
    compile_endpoint,
)
from calico.compiler.pools import compile_translation
from calico.compiler.problems import (
    address_problem,
    interface_problem,
    refusal_problems,
    remote_problems,
    undecodable_problems,
)
from calico.compiler.profiles import (
    ProfileSources,
    assemble_stages,
    make_pipelines,
)
from calico.compiler.rules import compile_profile, tag_sets_of
from calico.compiler.settings import compile_settings
from calico.ir.match import TagSetId
from calico.ir.state import (
    CompiledProfile,
    DesiredState,
    LocalEndpoint,
    PackedAddress,
    Pipeline,
    PipelineKey,
    Route,
)
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import (
    EndpointKey,
    HostName,
    InterfaceName,
    ProfileId,
    TagName,
)
from calico.model.network import HostSettings
from calico.model.rule import ProfileRules
from calico.model.snapshot import Snapshot, Undecodable
from calico.netset import Address, family_of

Kept = dict[tuple[ProfileId, bool], CompiledProfile]
"""Compiled profiles, by name and whether their drops are logged."""

_NONE_REFUSED: Mapping[ProfileId, str] = MappingProxyType({})


def compile_host(
    snapshot: Snapshot,
    host: HostName,
    *,
    refused: Mapping[ProfileId, str] = _NONE_REFUSED,
    judged: Collection[EndpointKey] | None = None,
    kept: Kept | None = None,
) -> DesiredState:
    """Compute what `host` must do; what cannot be used becomes a deny, by name.

    Args:
        snapshot: All resources of the cluster.
        host: The host to compile for.
        refused: Profiles whose rules this host's kernel does not take, each
            with the kernel's reason.
        judged: The endpoints whose policy is asked for; without it, all. The
            others keep their interfaces, addresses and routes, but pipelines,
            profiles and tag sets are only there as far as these need them.
        kept: The profiles that were compiled for other hosts of the same
            snapshot; those that are not there yet are put in.
    """
    settings, problems = compile_settings(snapshot.settings, host)
    problems.update(_undecodable(snapshot, host))
    sources = ProfileSources(snapshot.tags, snapshot.rules, snapshot.labels, refused)
    problems.update(refusal_problems(sources))
    endpoints = _usable(snapshot, host, settings.interface_prefixes, problems)
    routes = _routes(endpoints.values(), problems)
    pipelines: dict[PipelineKey, Pipeline] = {}
    for names in {
        each.profiles
        for key, each in endpoints.items()
        if each.is_active and (judged is None or key in judged)
    }:
        stages = assemble_stages(names, sources)
        pipelines.update(make_pipelines(names, stages, logs_drops=settings.drop_log))
    profiles = _profiles(
        pipelines.values(), sources, settings, {} if kept is None else kept
    )
    return DesiredState(
        revision=snapshot.revision,
        settings=settings,
        tag_sets=_tag_sets(profiles.values(), snapshot),
        profiles=profiles,
        pipelines=pipelines,
        endpoints=endpoints,
        routes=routes,
        translation=compile_translation(snapshot.pools),
        problems=problems,
    )


def _undecodable(snapshot: Snapshot, host: HostName) -> dict[str, str]:
    of_host = [e for key, e in snapshot.endpoints.items() if key.host == host]
    of_others = [e for key, e in snapshot.endpoints.items() if key.host != host]
    n_remote = sum(isinstance(each, Undecodable) for each in of_others)
    return remote_problems(n_remote) | undecodable_problems(
        (
            *snapshot.tags.values(),
            *snapshot.rules.values(),
            *snapshot.labels.values(),
            *snapshot.pools.values(),
            *of_host,
        )
    )


def _usable(
    snapshot: Snapshot,
    host: HostName,
    prefixes: tuple[str, ...],
    problems: dict[str, str],
) -> dict[EndpointKey, LocalEndpoint]:
    """Choose the endpoints of the host that can be used; add to `problems`."""
    by_interface: dict[InterfaceName, list[WorkloadEndpoint]] = {}
    for key, endpoint in snapshot.endpoints.items():
        if key.host == host and isinstance(endpoint, WorkloadEndpoint):
            by_interface.setdefault(endpoint.interface, []).append(endpoint)
    found: dict[EndpointKey, LocalEndpoint] = {}
    for claimants in by_interface.values():
        owner, reasons = assign_interface(claimants, prefixes)
        if owner is not None:
            found[owner.key] = compile_endpoint(owner)
        problems.update({interface_problem(k): why for k, why in reasons.items()})
    return found


def _routes(
    endpoints: Iterable[LocalEndpoint], problems: dict[str, str]
) -> dict[Address, Route]:
    """Decide each address of the active endpoints; add to `problems`."""
    owners: dict[PackedAddress, list[LocalEndpoint]] = {}
    for endpoint in endpoints:
        for address in endpoint.addresses if endpoint.is_active else ():
            owners.setdefault(address, []).append(endpoint)
    routes: dict[Address, Route] = {}
    for address, those in owners.items():
        routes[ip_address(address)], problem = assign_address(address, those)
        if problem is not None:
            problems[address_problem(address)] = problem
    return routes


def _profiles(
    pipelines: Iterable[Pipeline],
    sources: ProfileSources,
    settings: HostSettings,
    kept: Kept,
) -> dict[ProfileId, CompiledProfile]:
    stages = {stage for pipeline in pipelines for stage in pipeline.stages}
    logs_drops = settings.drop_log
    found: dict[ProfileId, CompiledProfile] = {}
    for stage in stages:
        if not isinstance(stage, str):
            continue
        rules = sources.usable_rules(stage)
        if isinstance(rules, ProfileRules):
            key = stage, logs_drops
            if key not in kept:
                kept[key] = compile_profile(stage, rules, logs_drops=logs_drops)
            found[stage] = kept[key]
    return found


def _tag_sets(
    profiles: Iterable[CompiledProfile], snapshot: Snapshot
) -> dict[TagSetId, frozenset[PackedAddress]]:
    members: dict[TagSetId, set[PackedAddress]] = {
        tag_set: set() for profile in profiles for tag_set in tag_sets_of(profile)
    }
    for endpoint in snapshot.endpoints.values():
        if isinstance(endpoint, Undecodable):
            continue
        for tag in _tags_of(endpoint, snapshot):
            for address in endpoint.addresses:
                tag_set = TagSetId(tag, family_of(address))
                if tag_set in members:
                    members[tag_set].add(address.packed)
    return {tag_set: frozenset(those) for tag_set, those in members.items()}


def _tags_of(endpoint: WorkloadEndpoint, snapshot: Snapshot) -> set[TagName]:
    found: set[TagName] = set()
    for profile in endpoint.profile_ids:
        tags = snapshot.tags.get(profile, ())
        if not isinstance(tags, Undecodable):
            found.update(tags)
    return found
