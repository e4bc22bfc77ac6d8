"""Find out what a packet of the kernel's log was dropped by, and at whom.

What the log says is a digest and an interface. Both are looked up among the
values that the desired state holds, which are listed when a digest comes that
is not known yet. What was known before is kept once more, for the rules and
endpoints that went a moment before their last drops are heard of.
"""

from collections.abc import Callable, Mapping
from typing import assert_never

from calico.control.drops import DropPlace, DropReason
from calico.ir.drop_name import FIXED_NAMES, DropName, OfInterface, drop_names
from calico.ir.origin import (
    EndOfProfiles,
    FaultOrigin,
    Fixed,
    FixedOrigin,
    InactiveEndpoint,
    Origin,
    RuleOrigin,
    SourceCheck,
)
from calico.ir.state import DesiredState, LocalEndpoint
from calico.model.names import EndpointKey
from calico.model.rule import Direction
from calico.render.objects import HookPoint

_FIXED = {name.prefix: name for name in FIXED_NAMES}
_REASONS = {
    Fixed.INVALID: DropReason.INVALID_STATE,
    Fixed.NOT_YET_PROGRAMMED: DropReason.NOT_YET_PROGRAMMED,
    Fixed.UNKNOWN_INTERFACE: DropReason.UNKNOWN_INTERFACE,
    Fixed.NO_INBOUND: DropReason.NO_ENDPOINT,
    Fixed.NO_OUTBOUND: DropReason.NO_ENDPOINT,
    Fixed.ENDPOINT_TO_HOST: DropReason.TO_HOST,
    Fixed.FOREIGN_TUNNEL: DropReason.FOREIGN_TUNNEL,
}


class DropNames:
    """The names that the log can use, by how it uses them.

    Args:
        read_state: Returns what the host must do now.
        read_endpoints: Returns the endpoints of this host now.
    """

    def __init__(
        self,
        read_state: Callable[[], DesiredState],
        read_endpoints: Callable[[], Mapping[EndpointKey, LocalEndpoint]],
    ) -> None:
        self._read_state = read_state
        self._read_endpoints = read_endpoints
        self._names: dict[str, DropName] = {}
        self._names_before: dict[str, DropName] = {}
        self._endpoints: dict[str, LocalEndpoint] = {}
        self._endpoints_before: dict[str, LocalEndpoint] = {}
        self._has_old_names = self._has_old_endpoints = True

    def note_change(self) -> None:
        """Take down that the state or the endpoints are others now."""
        self._has_old_names = self._has_old_endpoints = True

    def find(self, prefix: str) -> DropName | None:
        """Find what the log calls so; `None` when it is nothing of ours."""
        found = self._known(prefix)
        if found is None and self._has_old_names:
            self._has_old_names = False
            self._names_before = self._names
            names = drop_names(self._read_state())
            self._names = {name.prefix: name for name in names}
            found = self._known(prefix)
        return found

    def _known(self, prefix: str) -> DropName | None:
        return (
            _FIXED.get(prefix)
            or self._names.get(prefix)
            or self._names_before.get(prefix)
        )

    def endpoint_at(self, interface: str) -> LocalEndpoint | None:
        """Find the endpoint that has an interface, or had it a moment ago."""
        if self._has_old_endpoints:
            self._has_old_endpoints = False
            self._endpoints_before = self._endpoints
            endpoints = self._read_endpoints().values()
            self._endpoints = {each.interface: each for each in endpoints}
        return self._endpoints.get(interface) or self._endpoints_before.get(interface)


def origin_at(name: DropName, endpoint: LocalEndpoint | None) -> Origin | None:
    """Say where the verdict was written, given whose interface it was.

    Returns:
        `None` when that takes an endpoint and none is known.
    """
    match name.origin:
        case OfInterface.SOURCE_CHECK:
            return None if endpoint is None else SourceCheck(endpoint.key)
        case OfInterface.INACTIVE:
            return None if endpoint is None else InactiveEndpoint(endpoint.key)
        case _:
            return name.origin


def reason_of(origin: Origin | OfInterface) -> DropReason:
    """Say in which of the ways an origin denies."""
    match origin:
        case RuleOrigin():
            return DropReason.RULE
        case FaultOrigin():
            return DropReason.UNUSABLE_PROFILE
        case EndOfProfiles():
            return DropReason.END_OF_PROFILES
        case SourceCheck() | OfInterface.SOURCE_CHECK:
            return DropReason.SPOOFED_SOURCE
        case InactiveEndpoint() | OfInterface.INACTIVE:
            return DropReason.INACTIVE_ENDPOINT
        case FixedOrigin():
            return _REASONS[origin.place]
        case _:
            assert_never(origin)


def place_of(direction: Direction, hook: HookPoint | None) -> DropPlace:
    """Say what was being judged when a packet was dropped."""
    if hook is HookPoint.PREROUTING:
        return DropPlace.SOURCE_CHECK
    if hook is HookPoint.INPUT:
        return DropPlace.TO_HOST
    match direction:
        case Direction.INBOUND:
            return DropPlace.INBOUND
        case Direction.OUTBOUND:
            return DropPlace.OUTBOUND
        case _:
            assert_never(direction)
