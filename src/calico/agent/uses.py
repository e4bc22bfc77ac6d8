"""Who uses what in the desired state: sets by profiles, profiles by endpoints.

Kept up to date by deltas, so that asking whom a change concerns costs as much
as the answer is long.
"""

from collections.abc import Iterable, Mapping

from calico.ir.delta import Change, Delta
from calico.ir.match import TagSetId
from calico.ir.state import CompiledProfile, DesiredState, LocalEndpoint
from calico.model.names import EndpointKey, ProfileId
from calico.model.rule import Action

ProfileList = tuple[ProfileId, ...]

_NOTHING: Mapping[TagSetId, frozenset[Action]] = {}


class Uses:
    """Which profiles name a tag set and how, and which endpoints list them."""

    def __init__(self) -> None:
        self._sets: dict[ProfileId, Mapping[TagSetId, frozenset[Action]]] = {}
        self._profiles: dict[TagSetId, set[ProfileId]] = {}
        self._lists: dict[ProfileId, set[ProfileList]] = {}
        self._members: dict[ProfileList, dict[EndpointKey, LocalEndpoint]] = {}
        self._endpoints: dict[EndpointKey, LocalEndpoint] = {}

    @classmethod
    def of(cls, state: DesiredState) -> "Uses":
        """Take stock of a whole state."""
        uses = cls()
        for profile, compiled in state.profiles.items():
            uses._put_profile(profile, Change(None, compiled))
        for key, endpoint in state.endpoints.items():
            uses._put_endpoint(key, Change(None, endpoint))
        return uses

    def apply(self, delta: Delta) -> None:
        """Follow a change of the state."""
        for profile, compiled in delta.profiles.items():
            self._put_profile(profile, compiled)
        for key, endpoint in delta.endpoints.items():
            self._put_endpoint(key, endpoint)

    def endpoints(self) -> Mapping[EndpointKey, LocalEndpoint]:
        """Return the local endpoints."""
        return self._endpoints

    def profiles_naming(self, tag_set: TagSetId) -> frozenset[ProfileId]:
        """Return the profiles with a rule that names a set."""
        return frozenset(self._profiles.get(tag_set, ()))

    def actions_on(self, tag_set: TagSetId) -> frozenset[Action]:
        """Return what the rules do that name a set."""
        found: frozenset[Action] = frozenset()
        for profile in self._profiles.get(tag_set, ()):
            found |= self._sets[profile][tag_set]
        return found

    def endpoints_with(self, profiles: Iterable[ProfileId]) -> list[LocalEndpoint]:
        """Return the endpoints that list any of the profiles."""
        lists: set[ProfileList] = set()
        for profile in profiles:
            lists |= self._lists.get(profile, set())
        return self.endpoints_with_lists(lists)

    def endpoints_with_lists(self, lists: Iterable[ProfileList]) -> list[LocalEndpoint]:
        """Return the endpoints that have any of these lists of profiles."""
        return [
            endpoint
            for profiles in lists
            for endpoint in self._members.get(profiles, {}).values()
        ]

    def _put_profile(self, profile: ProfileId, change: Change[CompiledProfile]) -> None:
        for tag_set in self._sets.pop(profile, _NOTHING):
            users = self._profiles[tag_set]
            users.discard(profile)
            if not users:
                del self._profiles[tag_set]
        if change.after is not None:
            named = named_sets(change.after)
            self._sets[profile] = named
            for tag_set in named:
                self._profiles.setdefault(tag_set, set()).add(profile)

    def _put_endpoint(self, key: EndpointKey, change: Change[LocalEndpoint]) -> None:
        before = self._endpoints.pop(key, None)
        if before is not None:
            members = self._members[before.profiles]
            del members[key]
            if not members:
                self._drop_list(before.profiles)
        after = change.after
        if after is not None:
            self._endpoints[key] = after
            self._members.setdefault(after.profiles, {})[key] = after
            for profile in after.profiles:
                self._lists.setdefault(profile, set()).add(after.profiles)

    def _drop_list(self, profiles: ProfileList) -> None:
        del self._members[profiles]
        for profile in profiles:
            lists = self._lists[profile]
            lists.discard(profiles)
            if not lists:
                del self._lists[profile]


def named_sets(profile: CompiledProfile) -> Mapping[TagSetId, frozenset[Action]]:
    """Return the sets that a profile's rules name, and what those rules do."""
    found: dict[TagSetId, frozenset[Action]] = {}
    for rules in profile.rules.values():
        for rule in rules:
            for side in (rule.match.source, rule.match.destination):
                if side.tag_set is not None:
                    actions = found.get(side.tag_set, frozenset())
                    found[side.tag_set] = actions | {rule.action}
    return found
