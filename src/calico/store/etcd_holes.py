"""Known holes of etcd servers, by version.

Source:
    etcd, CHANGELOG of 3.4, 3.5 and 3.6, and its security advisories.
"""

from typing import NamedTuple

_N_PARTS = 3

Version = tuple[int, int, int]


class Hole(NamedTuple):
    """Something that servers do wrong before some version.

    Attributes:
        fixed: The first versions without it, one for each line of versions.
        what: What it lets happen.
    """

    fixed: tuple[Version, ...]
    what: str


HOLES = (
    Hole(
        ((3, 4, 42), (3, 5, 28), (3, 6, 9)),
        "every user can read and write everything, whatever its role, with a"
        " transaction inside a transaction (CVE-2026-33343)",
    ),
    Hole(
        ((3, 4, 44), (3, 5, 30), (3, 6, 11)),
        "a user can read what it replaces in a transaction inside a transaction",
    ),
)


def parse_version(text: str) -> Version | None:
    """Read a version such as `3.4.23` or `3.5.0-rc.1`."""
    parts = text.partition("-")[0].split(".")
    if len(parts) != _N_PARTS or not all(each.isdecimal() for each in parts):
        return None
    major, minor, patch = (int(each) for each in parts)
    return major, minor, patch


def warnings_about(version: str) -> tuple[str, ...]:
    """Say which holes a server has that matter where roles are trusted."""
    found = parse_version(version)
    if found is None:
        return ()
    return tuple(
        f"etcd {version}: {hole.what}; roles are no boundary before"
        f" {', '.join('.'.join(map(str, each)) for each in hole.fixed)}"
        for hole in HOLES
        if not _is_fixed(found, hole)
    )


def _is_fixed(version: Version, hole: Hole) -> bool:
    for fixed in hole.fixed:
        if version[:2] == fixed[:2]:
            return version >= fixed
    return version > hole.fixed[-1]
