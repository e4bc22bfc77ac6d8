"""Who reaches what: probed, compared with a promise, and drawn as a table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from calico.lab.plan import OUTSIDE
from calico.lab.probe import Outcome, Probe, Verdict, run_probes
from calico.lab.register import Lab
from calico.lab.style import Style
from calico.lab.tutorial import PING, Promise, Tutorial
from calico.model.rule import Protocol
from calico.netset import Family

_CONTROL_PORT = 80
_FAMILIES = (Family.V4, Family.V6)
_WORDS = {Verdict.ALLOWED: "yes", Verdict.DENIED: "no", Verdict.BROKEN: "err"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of the table.

    Attributes:
        column: What was tried.
        probe: The question.
        expected: The answer that the tutorial promises.
        outcome: The answer.
    """

    column: str
    probe: Probe
    expected: Verdict
    outcome: Outcome

    @property
    def is_as_promised(self) -> bool:
        """Report whether the answer is the expected one."""
        return self.outcome.verdict is self.expected

    def __str__(self) -> str:
        asked, found = self.probe, self.outcome
        detail = f" ({found.detail})" if found.detail else ""
        return (
            f"{asked.source} to {asked.destination}, {self.column},"
            f" IPv{asked.family.value}: expected {self.expected.value},"
            f" found {found.verdict.value}{detail}"
        )


@dataclass(frozen=True, slots=True)
class Matrix:
    """Everything that was tried after one step.

    Attributes:
        cells: The answers that policy decides.
        controls: Those that no policy of the tutorial denies: from a workload's
            own host to it, from each sender to the outside, and from there to
            the host. They show that silence means a deny, not a broken lab.
    """

    cells: tuple[Cell, ...]
    controls: tuple[Cell, ...]

    @property
    def differences(self) -> tuple[Cell, ...]:
        """List the answers that are not as promised."""
        return tuple(
            each for each in (*self.cells, *self.controls) if not each.is_as_promised
        )


def probe_matrix(lab: Lab, tutorial: Tutorial, promise: Promise) -> Matrix:
    """Try everything that a promise is about, all at once.

    Raises:
        LabError: A workload is missing, or a port is in use.
    """
    wanted = list(_wanted_cells(tutorial, promise))
    controls = list(_wanted_controls(lab.hosts[0].name, tutorial, promise))
    outcomes = run_probes(lab, [probe for _, probe, _ in (*wanted, *controls)])
    cells = [
        Cell(column, probe, expected, outcome)
        for (column, probe, expected), outcome in zip(
            (*wanted, *controls), outcomes, strict=True
        )
    ]
    return Matrix(tuple(cells[: len(wanted)]), tuple(cells[len(wanted) :]))


def draw_matrix(matrix: Matrix, tutorial: Tutorial, style: Style) -> Iterator[str]:
    """Draw the tables of a matrix, one line after the other."""
    rows: dict[str, dict[str, list[Cell]]] = {}
    for cell in matrix.cells:
        by_source = rows.setdefault(cell.probe.destination, {})
        by_source.setdefault(cell.probe.source, []).append(cell)
    names = {name for each in tutorial.sources.values() for name in each}
    width = max(len(f"from {name}") for name in names)
    for destination, by_source in rows.items():
        columns = tutorial.columns[destination]
        yield _line(f"to {destination}", width, [f"{each:11}" for each in columns])
        yield _line("", width, ["IPv4 IPv6  "] * len(columns))
        for source, cells in by_source.items():
            yield _line(f"from {source}", width, _draw_cells(cells, style))
        yield ""
    arrived = sum(each.is_as_promised for each in matrix.controls)
    yield (
        f"  control: {arrived} of {len(matrix.controls)} probes arrived that nothing"
        " in the tutorial denies"
    )


def _line(head: str, width: int, cells: Sequence[str]) -> str:
    return f"  {head:{width}}  {''.join(cells)}".rstrip()


def _draw_cells(cells: Sequence[Cell], style: Style) -> list[str]:
    drawn: list[str] = []
    for index, cell in enumerate(cells):
        word = _WORDS[cell.outcome.verdict]
        text = f"{word if cell.is_as_promised else word + '!':4}"
        gap = "  " if index % len(_FAMILIES) else " "
        drawn.append(style.paint(text, _colour(cell)) + gap)
    return drawn


def _colour(cell: Cell) -> str:
    if not cell.is_as_promised:
        return "alarm"
    return "yes" if cell.expected is Verdict.ALLOWED else "no"


def _wanted_cells(
    tutorial: Tutorial, promise: Promise
) -> Iterator[tuple[str, Probe, Verdict]]:
    for destination, by_source in promise.items():
        for source in tutorial.sources[destination]:
            reach = by_source.get(source, {})
            for column in tutorial.columns[destination]:
                for family in _FAMILIES:
                    is_allowed = family in reach.get(column, frozenset())
                    expected = Verdict.ALLOWED if is_allowed else Verdict.DENIED
                    yield column, _probe(source, destination, column, family), expected


def _wanted_controls(
    first_host: str, tutorial: Tutorial, promise: Mapping[str, object]
) -> Iterator[tuple[str, Probe, Verdict]]:
    for family in _FAMILIES:
        for destination in promise:
            host = tutorial.homes.get(destination, first_host)
            for column in tutorial.columns[destination]:
                probe = _probe(host, destination, column, family)
                yield column, probe, Verdict.ALLOWED
        senders = {name for each in promise for name in tutorial.sources[each]}
        senders.discard(OUTSIDE)
        for source in sorted(senders):
            column = f"tcp {_CONTROL_PORT}"
            yield column, _probe(source, OUTSIDE, column, family), Verdict.ALLOWED
        for column in (f"tcp {_CONTROL_PORT}", PING):
            probe = _probe(OUTSIDE, first_host, column, family)
            yield column, probe, Verdict.ALLOWED


def _probe(source: str, destination: str, column: str, family: Family) -> Probe:
    if column == PING:
        protocol = Protocol.ICMP if family is Family.V4 else Protocol.ICMPV6
        return Probe(source, destination, protocol, None, family)
    word, _, port = column.partition(" ")
    return Probe(source, destination, Protocol(word), int(port), family)
