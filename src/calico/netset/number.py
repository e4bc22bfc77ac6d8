"""Sets of transport ports and of IP protocol numbers."""

from dataclasses import dataclass
from typing import ClassVar, Self

from calico.netset.ranges import (
    Ranges,
    complement,
    contains,
    intersection,
    normalise,
    union,
)


@dataclass(frozen=True, slots=True)
class _NumberSet:
    """What port sets and protocol sets share: ranges below a fixed bound.

    Attributes:
        ranges: Canonical inclusive ranges within 0..`LAST`.
    """

    ranges: Ranges
    LAST: ClassVar[int]

    def __post_init__(self) -> None:
        if any(not 0 <= a <= b <= self.LAST for a, b in self.ranges):
            msg = f"ranges outside 0..{self.LAST}: {self.ranges}"
            raise ValueError(msg)
        object.__setattr__(self, "ranges", normalise(self.ranges))

    @classmethod
    def of(cls, *members: int) -> Self:
        """Make the set of the given numbers."""
        return cls(tuple((member, member) for member in members))

    @classmethod
    def everything(cls) -> Self:
        """Make the set of all numbers of this kind."""
        return cls(((0, cls.LAST),))

    def __contains__(self, member: int) -> bool:
        return contains(self.ranges, member)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __or__(self, other: Self) -> Self:
        return type(self)(union(self.ranges, other.ranges))

    def __and__(self, other: Self) -> Self:
        return type(self)(intersection(self.ranges, other.ranges))

    def __invert__(self) -> Self:
        return type(self)(complement(self.ranges, self.LAST))

    def is_everything(self) -> bool:
        """Report whether no number of this kind is missing."""
        return self.ranges == ((0, self.LAST),)


@dataclass(frozen=True, slots=True)
class PortSet(_NumberSet):
    """A set of TCP or UDP ports, 0 to 65535."""

    LAST: ClassVar[int] = 65535


@dataclass(frozen=True, slots=True)
class ProtocolSet(_NumberSet):
    """A set of IP protocol numbers, 0 to 255."""

    LAST: ClassVar[int] = 255
