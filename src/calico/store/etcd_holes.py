"""What is known to be wrong in old versions of etcd, as far as it matters here.

Source:
    etcd, CHANGELOG-3.4 to 3.6, GHSA-rfx7-8w68-q57q and GHSA-x35m-3gp4-4fh5.
"""

from dataclasses import dataclass

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Hole:
    """Something that is mended in newer versions.

    Attributes:
        what: What can happen, as a sentence without its full stop.
        fixed: The first good version of each minor one, oldest first; any
            minor version after the last is good from its start.
        is_about_trust: It lets a user do what the roles forbid.
    """

    what: str
    fixed: tuple[Version, ...]
    is_about_trust: bool

    def is_in(self, version: Version) -> bool:
        """Report whether a version has it."""
        for good in self.fixed:
            if version[:2] == good[:2]:
                return version < good
        return version < self.fixed[-1]


HOLES = (
    Hole(
        "every user can read and write every key, with a transaction inside a"
        " transaction",
        ((3, 4, 42), (3, 5, 28), (3, 6, 9)),
        is_about_trust=True,
    ),
    Hole(
        "every user can read every key, by asking for the value before a write",
        ((3, 4, 44), (3, 5, 30), (3, 6, 11)),
        is_about_trust=True,
    ),
    Hole(
        "a watch can leave out changes; they are found within ten minutes",
        ((3, 4, 36),),
        is_about_trust=False,
    ),
    Hole(
        "a member can answer a read with an old value",
        ((3, 4, 42),),
        is_about_trust=False,
    ),
)


def parse_version(text: str) -> Version | None:
    """Read a version such as `3.4.23`; `None` when it is none."""
    parts = text.partition("-")[0].split(".")
    numbers = [int(each) for each in parts if each.isascii() and each.isdecimal()]
    match numbers:
        case [major, minor, patch] if len(parts) == len(numbers):
            return major, minor, patch
        case _:
            return None


def known_holes(text: str) -> tuple[Hole, ...]:
    """Return what is known to be wrong in a version; nothing in one unknown to us."""
    version = parse_version(text)
    if version is None:
        return ()
    return tuple(hole for hole in HOLES if hole.is_in(version))
