from collections.abc import Mapping
from dataclasses import replace

import pytest
from cases import key_of

from calico.agent.drop_names import DropNames, origin_at, place_of, reason_of
from calico.control.drops import DropPlace, DropReason
from calico.ir.drop_name import FIXED_NAMES, DropName, OfInterface
from calico.ir.origin import (
    EndOfProfiles,
    Fault,
    FaultOrigin,
    InactiveEndpoint,
    RuleOrigin,
    SourceCheck,
)
from calico.ir.state import DesiredState, LocalEndpoint, Pipeline, PipelineKey
from calico.model.names import EndpointKey, InterfaceName, ProfileId
from calico.model.rule import Direction
from calico.render.objects import HookPoint

WEB = ProfileId("WEB")
IN, OUT = Direction.INBOUND, Direction.OUTBOUND


class Host:
    """A state that changes, and how often it was read."""

    def __init__(self) -> None:
        self.state = DesiredState()
        self.n_reads = 0
        self.names = DropNames(self.read_state, self.read_endpoints)

    def read_state(self) -> DesiredState:
        self.n_reads += 1
        return self.state

    def read_endpoints(self) -> Mapping[EndpointKey, LocalEndpoint]:
        return self.state.endpoints

    def use(self, *profiles: str) -> DropName:
        """Let one list be in use, and return the name of its end."""
        names = tuple(map(ProfileId, profiles))
        key = PipelineKey(names, IN)
        end = EndOfProfiles(names, IN)
        pipelines = {key: Pipeline(key, (), end)}
        self.state = replace(self.state, pipelines=pipelines)
        self.names.note_change()
        return DropName(IN, end)

    def connect(self, number: int, interface: str) -> LocalEndpoint:
        made = LocalEndpoint(
            key=key_of(number),
            interface=InterfaceName(interface),
            mac=None,
            is_active=True,
            profiles=(WEB,),
            addresses=(),
        )
        self.state = replace(self.state, endpoints={made.key: made})
        self.names.note_change()
        return made


def test_fixed_name_is_found_without_reading_the_state() -> None:
    host = Host()
    assert [host.names.find(name.prefix) for name in FIXED_NAMES] == [*FIXED_NAMES]
    assert host.n_reads == 0


def test_state_is_read_once_for_a_change_however_much_is_unknown() -> None:
    host = Host()
    end = host.use("WEB")
    assert host.names.find("calico inbound of nobody") is None
    assert host.names.find("another program") is None
    assert host.names.find(end.prefix) == end
    assert host.n_reads == 1


def test_name_that_went_is_kept_over_one_change_that_is_noticed() -> None:
    host = Host()
    first = host.use("A")
    assert host.names.find(first.prefix) == first
    second = host.use("B")
    assert host.names.find(second.prefix) == second
    assert host.names.find(first.prefix) == first
    third = host.use("C")
    assert host.names.find(third.prefix) == third
    assert host.names.find(first.prefix) is None


def test_endpoint_is_found_by_its_interface_and_for_a_moment_afterwards() -> None:
    host = Host()
    assert host.names.endpoint_at("cali1") is None
    first = host.connect(1, "cali1")
    assert host.names.endpoint_at("cali1") == first
    second = host.connect(2, "cali2")
    assert host.names.endpoint_at("cali2") == second
    assert host.names.endpoint_at("cali1") == first
    assert host.names.endpoint_at("") is None


def test_interface_that_changes_hands_is_its_new_endpoints() -> None:
    host = Host()
    host.connect(1, "cali1")
    host.names.endpoint_at("cali1")
    second = host.connect(2, "cali1")
    assert host.names.endpoint_at("cali1") == second


def test_origin_of_an_interface_is_that_of_its_endpoint() -> None:
    endpoint = Host().connect(1, "cali1")
    spoofed = DropName(OUT, OfInterface.SOURCE_CHECK)
    inactive = DropName(IN, OfInterface.INACTIVE)
    assert origin_at(spoofed, endpoint) == SourceCheck(endpoint.key)
    assert origin_at(inactive, endpoint) == InactiveEndpoint(endpoint.key)
    assert origin_at(spoofed, None) is origin_at(inactive, None) is None
    rule = RuleOrigin(WEB, IN, 1)
    assert origin_at(DropName(IN, rule), None) == rule


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (DropName(IN, RuleOrigin(WEB, IN, 1)), DropReason.RULE),
        (DropName(IN, FaultOrigin(WEB, Fault.MISSING)), DropReason.UNUSABLE_PROFILE),
        (DropName(IN, EndOfProfiles((), IN)), DropReason.END_OF_PROFILES),
        (DropName(OUT, SourceCheck(key_of(1))), DropReason.SPOOFED_SOURCE),
        (DropName(OUT, InactiveEndpoint(key_of(1))), DropReason.INACTIVE_ENDPOINT),
    ],
)
def test_reason_says_how_an_origin_denies(name: DropName, reason: DropReason) -> None:
    assert reason_of(name.origin) is reason


def test_every_fixed_name_has_a_reason() -> None:
    reasons = {reason_of(name.origin) for name in FIXED_NAMES}
    of_policy = {
        DropReason.RULE,
        DropReason.UNUSABLE_PROFILE,
        DropReason.END_OF_PROFILES,
    }
    assert reasons == set(DropReason) - of_policy


@pytest.mark.parametrize(
    ("direction", "hook", "place"),
    [
        (OUT, HookPoint.PREROUTING, DropPlace.SOURCE_CHECK),
        (OUT, HookPoint.INPUT, DropPlace.TO_HOST),
        (OUT, HookPoint.FORWARD, DropPlace.OUTBOUND),
        (IN, HookPoint.FORWARD, DropPlace.INBOUND),
        (IN, HookPoint.OUTPUT, DropPlace.INBOUND),
        (IN, None, DropPlace.INBOUND),
    ],
)
def test_place_follows_from_direction_and_hook(
    direction: Direction, hook: HookPoint | None, place: DropPlace
) -> None:
    assert place_of(direction, hook) is place
