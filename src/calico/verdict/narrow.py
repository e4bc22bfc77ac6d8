"""Profiles without the rules that packets with given headers cannot match.

Whoever judges many packets that differ in nothing but their addresses tries
fewer rules with these. Verdicts and origins stay what they are; what a trace
tells of the rules that did not match is less.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from calico.ir.packet import Packet
from calico.ir.state import CompiledProfile
from calico.model.names import ProfileId
from calico.verdict.miss import find_header_miss


class NarrowedProfiles(Mapping[ProfileId, CompiledProfile]):
    """What a desired state may hold instead of its profiles, each made when asked.

    Args:
        profiles: All of them.
        packet: One with the headers; its addresses are no matter.
    """

    __slots__ = ("_made", "_packet", "_profiles")

    def __init__(
        self, profiles: Mapping[ProfileId, CompiledProfile], packet: Packet
    ) -> None:
        self._profiles = profiles
        self._packet = packet
        self._made: dict[ProfileId, CompiledProfile] = {}

    def __getitem__(self, name: ProfileId) -> CompiledProfile:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = narrow_profile(self._profiles[name], self._packet)
        return made

    def __iter__(self) -> Iterator[ProfileId]:
        return iter(self._profiles)

    def __len__(self) -> int:
        return len(self._profiles)


def narrow_profile(profile: CompiledProfile, packet: Packet) -> CompiledProfile:
    """Leave out the rules that no packet with these headers can match."""
    return replace(
        profile,
        rules={
            side: tuple(
                rule for rule in rules if find_header_miss(rule.match, packet) is None
            )
            for side, rules in profile.rules.items()
        },
        never=(),
    )
