"""`calicoctl reach --by=profile|tag`: cells about all members of a group.

A cell says what every active member can send to every other, and what some can.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from calico.analysis.boxes import NOTHING
from calico.analysis.cells import Summaries, Summary
from calico.analysis.parties import Outside
from calico.analysis.reach import Matrix
from calico.cli import output
from calico.cli.call import Call
from calico.cli.reach_places import (
    OUTSIDE,
    describe_outside,
    encode_outside,
    outside_name,
    unknown,
)
from calico.cli.reach_view import (
    ReachView,
    encode_family,
    families_in_words,
)
from calico.cli.reach_words import describe, encode_traffic
from calico.codec.json_text import Json
from calico.model.names import ProfileId
from calico.netset import Family

_HEADINGS = ("From", "To", "Family", "Between all", "Between some")

_Groups = dict[str, tuple[int, ...]]
"""Numbers of parties by the name of what they share."""


class Cell(NamedTuple):
    """Groups with an equal answer for equal groups."""

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    family: Family
    summary: Summary


def show_groups(
    call: Call, view: ReachView, by: str, carried: Mapping[ProfileId, Sequence[str]]
) -> int:
    """Show what members of groups can send to each other.

    Args:
        call: The command.
        view: The cluster.
        by: What a group is: `profile` or `tag`.
        carried: The groups that the members of each profile belong to.

    Raises:
        Refused: There is no such group.
    """
    known = {name for names in carried.values() for name in names}
    words = (call.optional_word("SRC"), call.optional_word("DST"))
    for word in words:
        if word is not None and word not in {*known, OUTSIDE}:
            raise unknown(by, word, {*known, OUTSIDE})
    cells = [
        cell for matrix in view.matrices for cell in _cells(matrix, carried, words)
    ]
    value: Json = {
        "revision": view.revision,
        "by": by,
        "cells": [
            {
                "from": list[Json](sources),
                "to": list[Json](destinations),
                "family": encode_family(family),
                "all": encode_traffic(summary.by_all, family),
                "some": encode_traffic(summary.by_some, family),
            }
            for sources, destinations, family, summary in cells
        ],
        "outside": [encode_outside(each) for each in view.outsides()],
    }
    pairs = dict.fromkeys(
        f"{source} {destination}"
        for sources, destinations, *_ in cells
        for source in sources
        for destination in destinations
    )
    spelled = {outside_name(each): describe_outside(each) for each in view.outsides()}

    def text() -> None:
        _print(cells, spelled)
        in_use = {name for matrix in view.matrices for name in _groups(matrix, carried)}
        for word in dict.fromkeys(words):
            if word not in {None, OUTSIDE, *in_use}:
                output.line(f"No active endpoint with an address has the {by} {word}.")

    return call.show(value, list(pairs), text)


def _groups(matrix: Matrix, carried: Mapping[ProfileId, Sequence[str]]) -> _Groups:
    found: dict[str, list[int]] = {}
    for number, party in enumerate(matrix.parties):
        profiles = () if party.judge is None else party.judge.profiles
        names = {name for profile in profiles for name in carried.get(profile, ())}
        for name in names:
            found.setdefault(name, []).append(number)
    return {name: tuple(numbers) for name, numbers in sorted(found.items())}


def _cells(
    matrix: Matrix,
    carried: Mapping[ProfileId, Sequence[str]],
    words: tuple[str | None, str | None],
) -> list[Cell]:
    """Summarise the cells of one family that allow something, equal ones once."""
    groups = _groups(matrix, carried)
    outside: _Groups = {
        outside_name(party.members): (number,)
        for number, party in enumerate(matrix.parties)
        if isinstance(party.members, Outside)
    }
    summaries = Summaries(matrix)
    goals = _asked(groups, outside, words[1])
    equal: dict[tuple[tuple[str, ...], Summary], list[str]] = {}
    for source, starts in _asked(groups, outside, words[0]).items():
        row: dict[Summary, list[str]] = {}
        for destination, numbers in goals.items():
            summary = summaries.between(starts, numbers)
            if summary is not None and summary.by_some != NOTHING:
                row.setdefault(summary, []).append(destination)
        for summary, destinations in row.items():
            equal.setdefault((tuple(destinations), summary), []).append(source)
    return [
        Cell(tuple(sources), destinations, matrix.family, summary)
        for (destinations, summary), sources in equal.items()
    ]


def _asked(groups: _Groups, outside: _Groups, word: str | None) -> _Groups:
    if word is None:
        return groups | outside
    if word == OUTSIDE:
        return outside
    return {name: numbers for name, numbers in groups.items() if name == word}


def _print(cells: Sequence[Cell], spelled: Mapping[str, str]) -> None:
    """Print the cells; what all can send is not said again of some."""
    merged: dict[tuple[str, ...], list[Family]] = {}
    for sources, destinations, family, summary in cells:
        by_all = "\n".join(describe(summary.by_all, family))
        by_some = "\n".join(describe(summary.by_some, family))
        place = (
            "\n".join(spelled.get(each, each) for each in sources),
            "\n".join(spelled.get(each, each) for each in destinations),
            by_all,
            "" if by_some == by_all else by_some,
        )
        merged.setdefault(place, []).append(family)
    if not merged:
        output.line("Nothing is allowed.")
        return
    rows = [
        [place[0], place[1], families_in_words(families), *place[2:]]
        for place, families in merged.items()
    ]
    output.table(_HEADINGS, rows, align="l")
    output.line("Everything else is denied.")
