"""`calicoctl reach`: who can talk to whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from calico.analysis.cells import Row, rows_of
from calico.analysis.reach import Matrix
from calico.cli import output
from calico.cli.call import Call
from calico.cli.endpoint_names import endpoint_name
from calico.cli.exit_codes import USAGE
from calico.cli.reach_groups import show_groups
from calico.cli.reach_places import (
    End,
    Names,
    describe_outside,
    encode_outside,
    find_end,
    labels,
    outside_name,
    refuse_host,
)
from calico.cli.reach_view import (
    ReachView,
    encode_family,
    families_in_words,
    read_view,
)
from calico.cli.reach_words import describe, encode_traffic
from calico.cli.refusal import Refused
from calico.codec.json_text import Json
from calico.model.names import EndpointKey
from calico.model.snapshot import Undecodable
from calico.netset import Family

_N_NAMED = 6
_HEADINGS = ("From", "To", "Family", "Allowed")


class By(Enum):
    """What a cell of the matrix is about; the value is the word."""

    ENDPOINT = "endpoint"
    PROFILE = "profile"
    TAG = "tag"


def show(call: Call) -> int:
    """Show what is allowed between endpoints, profiles or tags."""
    by = _by(call.option("--by"))
    view = read_view(call)
    snapshot = view.snapshot
    match by:
        case By.ENDPOINT:
            return _show_endpoints(call, view)
        case By.PROFILE:
            names = {*snapshot.rules, *snapshot.tags, *snapshot.labels}
            listed = {
                profile
                for state in view.states.values()
                for endpoint in state.endpoints.values()
                for profile in endpoint.profiles
            }
            own = {name: (str(name),) for name in names | listed}
            return show_groups(call, view, by.value, own)
        case By.TAG:
            carried = {
                name: () if isinstance(tags, Undecodable) else tuple(map(str, tags))
                for name, tags in snapshot.tags.items()
            }
            return show_groups(call, view, by.value, carried)
        case _:
            assert_never(by)


def _by(given: str | None) -> By:
    if given is None:
        return By.ENDPOINT
    for by in By:
        if by.value == given:
            return by
    accepted = ", ".join(by.value for by in By)
    raise Refused(f"--by: found {given}, expected one of {accepted}", exit_code=USAGE)


@dataclass(frozen=True, slots=True)
class _Found:
    """Rows of one family, and what their ends are called.

    Attributes:
        matrix: The matrix.
        rows: Its cells, equal ones put together.
        starts: Names by number of party, for sources.
        goals: Likewise for destinations.
    """

    matrix: Matrix
    rows: tuple[Row, ...]
    starts: Sequence[Sequence[str]]
    goals: Sequence[Sequence[str]]

    def names(self, row: Row) -> tuple[list[str], list[str]]:
        """Name the sources and the destinations of a row."""
        starts = [name for number in row.sources for name in self.starts[number]]
        goals = [name for number in row.destinations for name in self.goals[number]]
        return starts, goals


def _show_endpoints(call: Call, view: ReachView) -> int:
    words = (call.optional_word("SRC"), call.optional_word("DST"))
    keys = view.snapshot.endpoints
    for word in words:
        refuse_host(view.hosts, word)
    ends = tuple(find_end(keys, view.owners, word) for word in words)
    named = [end for end, word in zip(ends, words, strict=True) if word is not None]
    asked = _asked_and_closed(view, named)
    short = Names.of(keys).short
    fmt = call.option("-o")
    for_people = fmt is None
    name = short.__getitem__ if for_people else endpoint_name
    name_outside = describe_outside if for_people else outside_name
    found = [
        _Found(
            matrix,
            rows_of(matrix, *(end.numbers(matrix) for end in ends)),
            *(labels(matrix, end, name, name_outside) for end in ends),
        )
        for matrix in view.matrices
    ]
    # A large cluster has a million pairs: only what is asked for is built.
    value: Json = {
        "revision": view.revision,
        "by": By.ENDPOINT.value,
        "cells": _encode_cells(found) if fmt in {"json", "yaml"} else [],
        "closed": [
            {"endpoint": endpoint_name(key), "reason": why}
            for key, why in asked.items()
        ],
        "outside": [encode_outside(each) for each in view.outsides()],
    }

    def text() -> None:
        _print_rows(found)
        for key, why in asked.items():
            output.line(f"{short[key]} has no traffic: {why}.")

    return call.show(value, _pairs(found) if fmt == "name" else [], text)


def _encode_cells(found: Sequence[_Found]) -> list[Json]:
    cells: list[Json] = []
    for each in found:
        family = each.matrix.family
        for row in each.rows:
            starts, goals = each.names(row)
            cells.append(
                {
                    "from": list[Json](starts),
                    "to": list[Json](goals),
                    "family": encode_family(family),
                    "allowed": encode_traffic(row.allowed, family),
                }
            )
    return cells


def _pairs(found: Sequence[_Found]) -> list[str]:
    pairs: dict[str, None] = {}
    for each in found:
        for row in each.rows:
            starts, goals = each.names(row)
            pairs.update((f"{a} {b}", None) for a in starts for b in goals if a != b)
    return list(pairs)


def _asked_and_closed(view: ReachView, ends: Sequence[End]) -> dict[EndpointKey, str]:
    """Return the endpoints without traffic that the command is about."""
    return {
        key: why
        for key, why in view.closed()
        if not ends or any(end.keys is not None and key in end.keys for end in ends)
    }


def _print_rows(found: Sequence[_Found]) -> None:
    """Print equal cells as one row, also when the two families are equal."""
    merged: dict[tuple[str, str, str], list[Family]] = {}
    for each in found:
        family = each.matrix.family
        for row in each.rows:
            starts, goals = each.names(row)
            allowed = "\n".join(describe(row.allowed, family))
            place = (_named(starts), _named(goals), allowed)
            merged.setdefault(place, []).append(family)
    if not merged:
        output.line("Nothing is allowed.")
        return
    rows_of_text = [
        [start, goal, families_in_words(families), allowed]
        for (start, goal, allowed), families in merged.items()
    ]
    output.table(_HEADINGS, rows_of_text, align="l")
    output.line("Everything else is denied.")


def _named(names: Sequence[str]) -> str:
    """Name some, one a line, and say how many more there are."""
    more = len(names) - _N_NAMED
    shown = [*names[:_N_NAMED], *([f"and {more} more"] if more > 0 else [])]
    return "\n".join(shown)
