"""Compile one host again and again, at a cost that follows the change.

The answer is that of `host.compile_host`. What is kept for speed: who is in
which tag set, by counting (`membership`); the endpoints of this host by
interface and address (`placement`); the lists in use and their profiles
(`pipelines`). Events are only taken in; everything is settled in `turn`, so
any number of them, in any order, costs one settlement.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeGuard, TypeVar, assert_never

from calico.compiler.membership import Membership
from calico.compiler.pipelines import PipelineTable
from calico.compiler.placement import Placement
from calico.compiler.pools import compile_translation
from calico.compiler.problems import (
    refusal_problems,
    remote_problems,
    undecodable_problems,
)
from calico.compiler.profiles import ProfileSources
from calico.compiler.roster import Roster
from calico.compiler.settings import compile_settings
from calico.compiler.tunnel import compile_guard
from calico.ir.delta import Change, Delta
from calico.ir.routing import RoutingState
from calico.ir.state import NO_TRANSLATION, DesiredState, LocalEndpoint, Translation
from calico.ir.tunnel import NO_GUARD, TunnelGuard
from calico.model.endpoint import WorkloadEndpoint
from calico.model.names import (
    NO_REVISION,
    EndpointKey,
    HostName,
    ProfileId,
    Revision,
    TagName,
)
from calico.model.network import DEFAULT_SETTINGS, HostSettings, Pool
from calico.model.rule import ProfileRules
from calico.model.snapshot import (
    PoolKey,
    ProfileLabelsKey,
    ProfileRulesKey,
    ProfileTagsKey,
    ReadyKey,
    ReservedKey,
    Resource,
    ResourceKey,
    SettingKey,
    Undecodable,
)
from calico.netset import Network

_K = TypeVar("_K")
_V = TypeVar("_V")


class HostCompiler:
    """What one host must do, kept in step with the datastore.

    Args:
        host: The host to compile for.
    """

    __slots__ = (
        "_broken",
        "_broken_remote",
        "_cannot_log",
        "_guard",
        "_has_new_pools",
        "_host",
        "_labels",
        "_membership",
        "_newest",
        "_parameters",
        "_placement",
        "_pools",
        "_problems",
        "_refused",
        "_revision",
        "_roster",
        "_routing",
        "_rules",
        "_setting_problems",
        "_settings",
        "_sources",
        "_table",
        "_tags",
        "_translation",
    )

    def __init__(self, host: HostName) -> None:
        self._host = host
        self._newest = self._revision = NO_REVISION
        self._tags: dict[ProfileId, tuple[TagName, ...] | Undecodable] = {}
        self._rules: dict[ProfileId, ProfileRules | Undecodable] = {}
        self._labels: dict[ProfileId, Mapping[str, str] | Undecodable] = {}
        self._refused: dict[ProfileId, str] = {}
        self._cannot_log = False
        self._pools: dict[Network, Pool | Undecodable] = {}
        self._parameters: dict[SettingKey, str | Undecodable] = {}
        self._settings = DEFAULT_SETTINGS
        self._setting_problems: dict[str, str] = {}
        self._has_new_pools = False
        self._translation = NO_TRANSLATION
        self._routing = RoutingState()
        self._guard = NO_GUARD
        self._broken: dict[ResourceKey, Undecodable] = {}
        self._broken_remote: set[EndpointKey] = set()
        self._problems: dict[str, str] = {}
        self._membership = Membership()
        self._roster = Roster(self._membership)
        self._placement = Placement(self._settings.interface_prefixes)
        self._sources = ProfileSources(
            self._tags, self._rules, self._labels, self._refused
        )
        self._table = PipelineTable(self._sources)

    def set_resource(
        self, key: ResourceKey, value: Resource | None, revision: Revision
    ) -> None:
        """Take what the datastore now holds under a key, in any order.

        Args:
            key: The key; of a kind that policy does not depend on, it only
                moves the revision.
            value: What is there, of the type that belongs to the key; `None`
                when there is nothing.
            revision: Of the change, or of the listing that shows it.

        Raises:
            TypeError: The value is not of the type that belongs to the key.
        """
        self._newest = max(self._newest, revision)
        match key:
            case ReadyKey() | ReservedKey():
                return
            case EndpointKey():
                self._set_endpoint(key, _expect(value, WorkloadEndpoint))
            case PoolKey():
                _put(self._pools, key.cidr, _expect(value, Pool))
                self._mark(key, value)
                self._has_new_pools = True
            case SettingKey():
                _put(self._parameters, key, _expect(value, str))
            case ProfileTagsKey() | ProfileRulesKey() | ProfileLabelsKey():
                self._set_profile(key, value)
                self._mark(key, value)
                self._table.touch(key.profile)
            case _:
                assert_never(key)

    def refuse(self, profile: ProfileId, reason: str) -> None:
        """Let a profile deny at its position until its rules change.

        Args:
            profile: The profile whose rules the kernel does not take.
            reason: The kernel's words, for the user.
        """
        self._refused[profile] = reason
        self._table.touch(profile)

    def refuse_log(self) -> None:
        """Let drops go unlogged whatever the settings say: the kernel cannot."""
        self._cannot_log = True

    def set_routing(self, routing: RoutingState) -> None:
        """Take the routing of this host, which says who may use its tunnels."""
        self._routing = routing

    def turn(self) -> Delta:
        """Settle what came in, and return what changes since the last turn."""
        self._revision = self._newest
        settings = self._take_settings()
        endpoints, routes = self._placement.take_changes()
        for change in endpoints.values():
            if _is_active(change.after):
                self._table.use(change.after.profiles)
            if _is_active(change.before):
                self._table.release(change.before.profiles)
        self._table.log_drops(logs_drops=self._settings.drop_log)
        policy = self._table.take_changes()
        self._take_problems()
        return Delta(
            revision=self._revision,
            problems=self._problems,
            settings=settings,
            translation=self._take_translation(),
            guard=self._take_guard(),
            tag_sets=self._membership.ask_for(policy.named, policy.unnamed),
            profiles=policy.profiles,
            pipelines=policy.pipelines,
            endpoints=endpoints,
            routes=routes,
        )

    def state(self) -> DesiredState:
        """Copy what all turns so far add up to."""
        return DesiredState(
            revision=self._revision,
            settings=self._settings,
            tag_sets=self._membership.tag_sets(),
            profiles=dict(self._table.profiles),
            pipelines=dict(self._table.pipelines),
            endpoints=dict(self._placement.endpoints),
            routes=dict(self._placement.routes),
            translation=self._translation,
            guard=self._guard,
            problems=self._problems,
        )

    def keys(self) -> Iterator[ResourceKey]:
        """List the keys that hold something, for whoever has read them all anew."""
        yield from (ProfileTagsKey(profile) for profile in self._tags)
        yield from (ProfileRulesKey(profile) for profile in self._rules)
        yield from (ProfileLabelsKey(profile) for profile in self._labels)
        yield from (PoolKey(cidr) for cidr in self._pools)
        yield from self._parameters
        yield from self._roster.keys()
        yield from (key for key in self._broken if isinstance(key, EndpointKey))
        yield from self._broken_remote

    def _set_endpoint(
        self, key: EndpointKey, value: WorkloadEndpoint | Undecodable | None
    ) -> None:
        usable = value if isinstance(value, WorkloadEndpoint) else None
        self._roster.put(key, usable)
        if key.host == self._host:
            self._placement.put(key, usable)
            self._mark(key, value)
        elif isinstance(value, Undecodable):
            self._broken_remote.add(key)
        else:
            self._broken_remote.discard(key)

    def _set_profile(
        self,
        key: ProfileTagsKey | ProfileRulesKey | ProfileLabelsKey,
        value: Resource | None,
    ) -> None:
        match key:
            case ProfileTagsKey(profile) if _is_tags(value):
                _put(self._tags, profile, value)
                carried = value if isinstance(value, tuple) else ()
                self._membership.set_tags(profile, carried)
            case ProfileRulesKey(profile):
                rules = _expect(value, ProfileRules)
                # An equal object that is not the same would be compiled again.
                if rules != self._rules.get(profile):
                    _put(self._rules, profile, rules)
                    self._refused.pop(profile, None)
            case ProfileLabelsKey(profile) if _is_labels(value):
                _put(self._labels, profile, value)
            case _:
                raise _unexpected(key, value)

    def _mark(self, key: ResourceKey, value: Resource | None) -> None:
        """Remember whether what is under a key can be decoded."""
        _put(self._broken, key, value if isinstance(value, Undecodable) else None)

    def _take_settings(self) -> Change[HostSettings] | None:
        before = self._settings
        compiled, self._setting_problems = compile_settings(
            self._parameters, self._host
        )
        if self._cannot_log:
            compiled = replace(compiled, drop_log=False)
        self._settings = compiled
        if self._settings.interface_prefixes != before.interface_prefixes:
            self._placement.set_prefixes(self._settings.interface_prefixes)
        return None if before == self._settings else Change(before, self._settings)

    def _take_translation(self) -> Change[Translation] | None:
        before = self._translation
        if self._has_new_pools:
            self._translation = compile_translation(self._pools)
            self._has_new_pools = False
        if before == self._translation:
            return None
        return Change(before, self._translation)

    def _take_guard(self) -> Change[TunnelGuard] | None:
        before = self._guard
        is_logged = self._settings.drop_log
        self._guard = compile_guard(self._routing, logs_drops=is_logged)
        return None if before == self._guard else Change(before, self._guard)

    def _take_problems(self) -> None:
        """Make the mapping anew: the old one may be in somebody's hands."""
        self._problems = {
            **self._setting_problems,
            **remote_problems(len(self._broken_remote)),
            **undecodable_problems(self._broken.values()),
            **refusal_problems(self._sources),
            **self._placement.problems(),
        }


def _put(place: dict[_K, _V], key: _K, value: _V | None) -> None:
    if value is None:
        place.pop(key, None)
    else:
        place[key] = value


def _expect(value: Resource | None, kind: type[_V]) -> _V | Undecodable | None:
    if value is None or isinstance(value, Undecodable | kind):
        return value
    raise _unexpected(kind, value)


def _is_tags(
    value: Resource | None,
) -> TypeGuard[tuple[TagName, ...] | Undecodable | None]:
    return value is None or isinstance(value, tuple | Undecodable)


def _is_labels(
    value: Resource | None,
) -> TypeGuard[Mapping[str, str] | Undecodable | None]:
    return value is None or isinstance(value, Mapping | Undecodable)


def _unexpected(expected: object, value: object) -> TypeError:
    return TypeError(f"{value!r} where {expected!r} belongs")


def _is_active(endpoint: LocalEndpoint | None) -> TypeGuard[LocalEndpoint]:
    return endpoint is not None and endpoint.is_active
