from ipaddress import ip_address

import pytest

from calico.lab.matrix import Cell, Matrix, draw_matrix
from calico.lab.probe import Outcome, Probe, Verdict
from calico.lab.style import Style
from calico.lab.tutorial import COLUMNS, SOURCES, STEPS
from calico.model.rule import Protocol
from calico.netset import Family

ANY = ip_address("192.0.2.1")


def cell(column: str, family: Family, expected: Verdict, found: Verdict) -> Cell:
    probe = Probe("web", "app", Protocol.TCP, 1, family)
    return Cell(column, probe, expected, Outcome(probe, ANY, found))


def matrix(found: Verdict) -> Matrix:
    cells = [
        cell(column, family, Verdict.DENIED, found)
        for column in COLUMNS["app"]
        for family in Family
    ]
    return Matrix(tuple(cells), ())


def test_table_has_a_word_for_every_probe() -> None:
    assert list(draw_matrix(matrix(Verdict.DENIED), Style(is_coloured=False)))[:3] == [
        "  to app        tcp 7890   tcp 7891   ping",
        "                IPv4 IPv6  IPv4 IPv6  IPv4 IPv6",
        "  from web      no   no    no   no    no   no",
    ]


@pytest.mark.parametrize(
    ("found", "word"), [(Verdict.ALLOWED, "yes!"), (Verdict.BROKEN, "err!")]
)
def test_difference_is_marked(found: Verdict, word: str) -> None:
    drawn = matrix(found)
    assert "\n".join(draw_matrix(drawn, Style(is_coloured=False))).count(word) == 6
    assert len(drawn.differences) == 6
    assert "expected denied, found" in str(drawn.differences[0])


def test_colour_is_there_only_when_wanted() -> None:
    assert Style(is_coloured=False).paint("x", "yes") == "x"
    assert Style(is_coloured=True).paint("x", "yes") == "\033[32mx\033[0m"


def test_promises_speak_only_of_what_is_tried() -> None:
    for step in STEPS:
        for destination, by_source in step.promise.items():
            assert set(by_source) <= set(SOURCES[destination])
            for reach in by_source.values():
                assert set(reach) <= set(COLUMNS[destination])
