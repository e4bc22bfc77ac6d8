from ipaddress import ip_address

import pytest

from calico.lab.isolation_tutorial import ISOLATION
from calico.lab.matrix import Cell, Matrix, draw_matrix
from calico.lab.policy_tutorial import POLICY
from calico.lab.probe import Outcome, Probe, Verdict
from calico.lab.style import Style
from calico.lab.tutorial import Tutorial
from calico.model.rule import Protocol
from calico.netset import Family

ANY = ip_address("192.0.2.1")


def cell(column: str, family: Family, expected: Verdict, found: Verdict) -> Cell:
    probe = Probe("web", "app", Protocol.TCP, 1, family)
    return Cell(column, probe, expected, Outcome(probe, ANY, found))


def matrix(found: Verdict) -> Matrix:
    cells = [
        cell(column, family, Verdict.DENIED, found)
        for column in POLICY.columns["app"]
        for family in Family
    ]
    return Matrix(tuple(cells), ())


def test_table_has_a_word_for_every_probe() -> None:
    drawn = draw_matrix(matrix(Verdict.DENIED), POLICY, Style(is_coloured=False))
    assert list(drawn)[:3] == [
        "  to app        tcp 7890   tcp 7891   ping",
        "                IPv4 IPv6  IPv4 IPv6  IPv4 IPv6",
        "  from web      no   no    no   no    no   no",
    ]


@pytest.mark.parametrize(
    ("found", "word"), [(Verdict.ALLOWED, "yes!"), (Verdict.BROKEN, "err!")]
)
def test_difference_is_marked(found: Verdict, word: str) -> None:
    asked = matrix(found)
    drawn = "\n".join(draw_matrix(asked, POLICY, Style(is_coloured=False)))
    assert drawn.count(word) == 6
    assert len(asked.differences) == 6
    assert "expected denied, found" in str(asked.differences[0])


def test_colour_is_there_only_when_wanted() -> None:
    assert Style(is_coloured=False).paint("x", "yes") == "x"
    assert Style(is_coloured=True).paint("x", "yes") == "\033[32mx\033[0m"


@pytest.mark.parametrize("tutorial", [POLICY, ISOLATION], ids=lambda each: each.title)
def test_promises_speak_only_of_what_is_tried(tutorial: Tutorial) -> None:
    for step in tutorial.steps:
        for destination, by_source in step.promise.items():
            assert set(by_source) <= set(tutorial.sources[destination])
            for reach in by_source.values():
                assert set(reach) <= set(tutorial.columns[destination])


def test_isolation_is_between_profiles_and_across_hosts() -> None:
    (promise,) = (step.promise for step in ISOLATION.steps if step.promise)
    reached = {to: set(by_source) for to, by_source in promise.items()}
    three = {"workload-A", "workload-C", "workload-E"}
    assert reached == {
        **{each: three - {each} for each in three},
        "workload-B": set(),
        "workload-D": set(),
    }
    assert {ISOLATION.homes[each] for each in three} == {"host1", "host2"}
