"""Who is in which tag set, kept up to date by counting.

Two levels of counting. Endpoints with the same list of profiles form a group,
and a group counts how many of its endpoints have an address. A tag set counts
how many groups with that tag have an address. So an endpoint that comes costs
its own addresses, and a tag that is added to a profile costs the members of
the groups that list the profile.

Nothing is kept of an endpoint but its list, one object for all that share it,
and its addresses in network order. Only the tag sets that somebody asks for
are counted at all.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from calico.compiler.profiles import ProfileList
from calico.ir.delta import TagSetChange
from calico.ir.match import TagSetId
from calico.ir.state import PackedAddress
from calico.model.names import ProfileId, TagName
from calico.netset import Family

_FAMILY_OF = {4: Family.V4, 16: Family.V6}
_NOBODY: frozenset[PackedAddress] = frozenset()


class CountedSet:
    """A set whose members each come as often as they were added.

    Attributes:
        members: What was added more often than removed.
    """

    __slots__ = ("_more", "members")

    def __init__(self) -> None:
        self.members: set[PackedAddress] = set()
        # How often beyond once; most members come once and are not in here.
        self._more: dict[PackedAddress, int] | None = None

    def add(self, member: PackedAddress) -> bool:
        """Count one more; report whether it is new."""
        if member not in self.members:
            self.members.add(member)
            return True
        more = self._more = self._more or {}
        more[member] = more.get(member, 0) + 1
        return False

    def remove(self, member: PackedAddress) -> bool:
        """Count one less of a member; report whether that was the last."""
        n_more = self._more.get(member, 0) if self._more else 0
        if self._more is None or n_more == 0:
            self.members.discard(member)
            return True
        if n_more == 1:
            del self._more[member]
        else:
            self._more[member] = n_more - 1
        return False


@dataclass(slots=True)
class _TagSet:
    """A tag set that somebody asks for, and what is new in it."""

    counted: CountedSet = field(default_factory=CountedSet)
    added: set[PackedAddress] = field(default_factory=set[PackedAddress])
    removed: set[PackedAddress] = field(default_factory=set[PackedAddress])
    copied: frozenset[PackedAddress] | None = None

    def add(self, member: PackedAddress) -> None:
        if self.counted.add(member):
            if member in self.removed:
                self.removed.discard(member)
            else:
                self.added.add(member)

    def remove(self, member: PackedAddress) -> None:
        if self.counted.remove(member):
            if member in self.added:
                self.added.discard(member)
            else:
                self.removed.add(member)

    def take_change(self) -> TagSetChange:
        """Return what happened to a set that stays, and forget it."""
        change = TagSetChange(
            existed=True,
            exists=True,
            added=frozenset(self.added),
            removed=frozenset(self.removed),
        )
        if change.added or change.removed:
            self.added, self.removed, self.copied = set(), set(), None
        return change

    def as_told(self) -> frozenset[PackedAddress]:
        """Copy the members as of the last change taken, once for all who ask."""
        if self.copied is None:
            before = self.counted.members - self.added
            self.copied = frozenset(before | self.removed)
        return self.copied


class Membership:
    """The members of every tag, from the endpoints of the whole cluster."""

    __slots__ = ("_carriers", "_groups", "_groups_of", "_moved", "_tag_sets", "_tags")

    def __init__(self) -> None:
        self._tags: dict[ProfileId, frozenset[TagName]] = {}
        self._carriers: dict[TagName, set[ProfileId]] = {}
        self._groups: dict[tuple[ProfileList, Family], CountedSet] = {}
        self._groups_of: dict[ProfileId, set[tuple[ProfileList, Family]]] = {}
        self._tag_sets: dict[TagSetId, _TagSet] = {}
        # Tag sets with something to tell.
        self._moved: set[TagSetId] = set()

    def add(self, profiles: ProfileList, addresses: Iterable[PackedAddress]) -> None:
        """Count an endpoint's addresses in, each given once."""
        for address in addresses:
            key = profiles, _FAMILY_OF[len(address)]
            if self._group(key).add(address):
                for tag_set in self._asked_for(key):
                    self._tag_sets[tag_set].add(address)
                    self._moved.add(tag_set)

    def remove(self, profiles: ProfileList, addresses: Iterable[PackedAddress]) -> None:
        """Count the addresses of an endpoint out that was counted in."""
        for address in addresses:
            key = profiles, _FAMILY_OF[len(address)]
            group = self._groups[key]
            if group.remove(address):
                for tag_set in self._asked_for(key):
                    self._tag_sets[tag_set].remove(address)
                    self._moved.add(tag_set)
                if not group.members:
                    self._drop_group(key)

    def set_tags(self, profile: ProfileId, tags: Iterable[TagName]) -> None:
        """Say which tags a profile carries now."""
        before, after = self._tags.get(profile, frozenset()), frozenset(tags)
        if before == after:
            return
        groups = self._groups_of.get(profile, ())
        others = {
            key: self._tags_of(p for p in key[0] if p != profile) for key in groups
        }
        self._set_carriers(profile, before, after)
        for key, carried in others.items():
            for tag_set in self._counted(after - before - carried, key[1]):
                for address in self._groups[key].members:
                    self._tag_sets[tag_set].add(address)
                self._moved.add(tag_set)
            for tag_set in self._counted(before - after - carried, key[1]):
                for address in self._groups[key].members:
                    self._tag_sets[tag_set].remove(address)
                self._moved.add(tag_set)

    def ask_for(
        self, wanted: AbstractSet[TagSetId], unwanted: AbstractSet[TagSetId]
    ) -> dict[TagSetId, TagSetChange]:
        """Say which tag sets are needed, and collect what changed since.

        Args:
            wanted: Sets to count from now on.
            unwanted: Sets that nobody needs any more, known or not.

        Returns:
            The change of each set since the last call; those without one are
            left out.
        """
        changes: dict[TagSetId, TagSetChange] = {}
        for tag_set in unwanted & self._tag_sets.keys():
            old = self._tag_sets.pop(tag_set)
            self._moved.discard(tag_set)
            changes[tag_set] = TagSetChange(
                existed=True, exists=False, added=_NOBODY, removed=old.as_told()
            )
        for tag_set in self._moved:
            change = self._tag_sets[tag_set].take_change()
            if change.added or change.removed:
                changes[tag_set] = change
        self._moved.clear()
        for tag_set in wanted - self._tag_sets.keys():
            members = self._count(tag_set)
            changes[tag_set] = TagSetChange(
                existed=False, exists=True, added=members, removed=_NOBODY
            )
        return changes

    def tag_sets(self) -> dict[TagSetId, frozenset[PackedAddress]]:
        """Copy the members of each set that is asked for, as last collected."""
        return {key: each.as_told() for key, each in self._tag_sets.items()}

    def _set_carriers(
        self,
        profile: ProfileId,
        before: AbstractSet[TagName],
        after: frozenset[TagName],
    ) -> None:
        # Names come and go with Docker's networks; nothing may be left of them.
        if after:
            self._tags[profile] = after
        else:
            self._tags.pop(profile, None)
        for tag in after - before:
            self._carriers.setdefault(tag, set()).add(profile)
        for tag in before - after:
            carriers = self._carriers[tag]
            carriers.discard(profile)
            if not carriers:
                del self._carriers[tag]

    def _count(self, tag_set: TagSetId) -> frozenset[PackedAddress]:
        fresh = _TagSet()
        self._tag_sets[tag_set] = fresh
        carriers = self._carriers.get(tag_set.tag, ())
        keys = {key for p in carriers for key in self._groups_of.get(p, ())}
        for key in keys:
            if key[1] is tag_set.family:
                for address in self._groups[key].members:
                    fresh.counted.add(address)
        return fresh.as_told()

    def _group(self, key: tuple[ProfileList, Family]) -> CountedSet:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = CountedSet()
            for profile in key[0]:
                self._groups_of.setdefault(profile, set()).add(key)
        return group

    def _drop_group(self, key: tuple[ProfileList, Family]) -> None:
        del self._groups[key]
        for profile in key[0]:
            those = self._groups_of[profile]
            those.discard(key)
            if not those:
                del self._groups_of[profile]

    def _tags_of(self, profiles: Iterable[ProfileId]) -> frozenset[TagName]:
        carried: set[TagName] = set()
        for profile in profiles:
            carried.update(self._tags.get(profile, ()))
        return frozenset(carried)

    def _asked_for(self, key: tuple[ProfileList, Family]) -> Iterator[TagSetId]:
        return self._counted(self._tags_of(key[0]), key[1])

    def _counted(self, tags: Iterable[TagName], family: Family) -> Iterator[TagSetId]:
        for tag in tags:
            tag_set = TagSetId(tag, family)
            if tag_set in self._tag_sets:
                yield tag_set
