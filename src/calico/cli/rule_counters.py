"""`calicoctl profile <PROFILE> rule show --counters`."""

from collections.abc import Mapping
from dataclasses import dataclass

from calico.cli import output
from calico.cli.agent_answers import ask_agent
from calico.cli.call import Call
from calico.cli.endpoints import Selector, select
from calico.cli.profiles import profile_name, read_profile, rules_in
from calico.codec.json_text import Json
from calico.codec.keys import endpoints_prefix
from calico.codec.words import show_rule
from calico.control.client import ask_counters
from calico.control.protocol import Counter
from calico.ir.origin import (
    EndOfProfiles,
    Fault,
    FaultOrigin,
    Origin,
    RuleOrigin,
)
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import ProfileId
from calico.model.rule import Direction, ProfileRules

_Counts = tuple[int, int] | None
"""Packets and bytes; `None` where there is no such rule in the kernel."""


def show(call: Call) -> int:
    """List a profile's rules with what this host has counted."""
    profile = profile_name(call.word("PROFILE"))
    rules = rules_in(read_profile(call.store, profile), profile)
    lists = _lists_with(call, profile)
    counters = ask_agent(ask_counters, call.settings.run_dir)
    counted = _Counted(profile, rules, lists, _summed(counters))
    names = [
        f"{direction.value}/{number}"
        for direction in Direction
        for number in range(1, len(rules.of(direction)) + 1)
    ]
    return call.show(counted.value(call.settings.hostname), names, counted.print_text)


@dataclass(frozen=True, slots=True)
class _Counted:
    """A profile's rules, and what is counted by origin.

    Attributes:
        profile: Its name.
        rules: Its rules.
        lists: The lists of profiles with it that are in use on this host.
        counts: By the text of an origin.
    """

    profile: ProfileId
    rules: ProfileRules
    lists: tuple[tuple[ProfileId, ...], ...]
    counts: Mapping[str, tuple[int, int]]

    def of(self, origin: Origin) -> _Counts:
        return self.counts.get(origin.text)

    def of_rule(self, direction: Direction, number: int) -> _Counts:
        return self.of(RuleOrigin(self.profile, direction, number))

    def faults(self) -> list[FaultOrigin]:
        every = (FaultOrigin(self.profile, fault) for fault in Fault)
        return [each for each in every if self.of(each) is not None]

    def value(self, host: str) -> Json:
        value: dict[str, Json] = {"profile": self.profile, "host": host}
        for direction in Direction:
            value[direction.value] = [
                {
                    "number": number,
                    "words": show_rule(rule),
                    **_as_json(self.of_rule(direction, number)),
                }
                for number, rule in enumerate(self.rules.of(direction), 1)
            ]
        value["default_deny"] = [
            {
                "direction": direction.value,
                "profiles": list(profiles),
                **_as_json(self.of(EndOfProfiles(profiles, direction))),
            }
            for direction in Direction
            for profiles in self.lists
        ]
        value["unusable"] = [
            {"reason": each.fault.value, **_as_json(self.of(each))}
            for each in self.faults()
        ]
        return value

    def print_text(self) -> None:
        for direction in Direction:
            output.line(f"{direction.value.capitalize()} rules:")
            for number, rule in enumerate(self.rules.of(direction), 1):
                counts = _show(self.of_rule(direction, number))
                output.line(f" {number:3} {counts} {show_rule(rule)}")
            for profiles in self.lists:
                end = EndOfProfiles(profiles, direction)
                output.line(f"   - {_show(self.of(end))} {end.text}: deny")
        for fault in self.faults():
            output.line(f"   - {_show(self.of(fault))} {fault.text}: deny")


def _lists_with(call: Call, profile: ProfileId) -> tuple[tuple[ProfileId, ...], ...]:
    """Find the lists of this host's active endpoints that have a profile."""
    host = call.settings.hostname
    items = call.store.list_prefix(endpoints_prefix(host)).items
    found = {
        tuple(dict.fromkeys(endpoint.profile_ids))
        for _, endpoint, _ in select(items, Selector(host))
        if isinstance(endpoint, WorkloadEndpoint)
        and endpoint.state is EndpointState.ACTIVE
    }
    return tuple(sorted(each for each in found if profile in each))


def _summed(counters: tuple[Counter, ...]) -> Mapping[str, tuple[int, int]]:
    """Add up what one origin counts in several places: a rule has two families."""
    found: dict[str, tuple[int, int]] = {}
    for each in counters:
        packets, n_bytes = found.get(each.origin, (0, 0))
        found[each.origin] = (packets + each.packets, n_bytes + each.n_bytes)
    return found


def _as_json(counts: _Counts) -> dict[str, Json]:
    packets, n_bytes = counts or (None, None)
    return {"packets": packets, "bytes": n_bytes}


def _show(counts: _Counts) -> str:
    packets, n_bytes = counts or ("-", "-")
    return f"{packets:>9} packets {n_bytes:>12} bytes "
