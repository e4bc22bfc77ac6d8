from analysed import addresses_in, states_of
from policies import endpoint, profile, snapshot

from calico.analysis.boxes import NOTHING, canonical
from calico.analysis.cells import Row, Summaries, Summary, rows_of
from calico.analysis.reach import Matrix, reach
from calico.netset import Family

PORTS = ((0, 65535),)
TCP_80 = canonical([(((6, 6),), PORTS, ((80, 80),))])
TCP_80_81 = canonical([(((6, 6),), PORTS, ((80, 81),))])
CLUSTER = snapshot(
    [
        endpoint("a", "WEB", "10.0.0.1"),
        endpoint("b", "WEB", "10.0.0.2"),
        endpoint("c", "APP WEB", "10.0.0.3"),
        endpoint("d", "DB", "10.0.0.4 10.1.0.4"),
    ],
    {
        "WEB": profile(["allow tcp to ports 80"], ["allow"]),
        "APP": profile(["allow tcp to ports 81"]),
        "DB": profile(["allow from cidr 10.1.0.0/16"]),
    },
)
MATRIX = reach(states_of(CLUSTER), addresses_in(CLUSTER), Family.V4)
# Parties: a and b, c, both addresses of d, and outside.
AB, C, D, D1 = 0, 1, 2, 3


def test_equal_cells_are_one_row() -> None:
    assert rows_of(MATRIX, (AB, C), (AB, C, D)) == (
        Row((AB, C), (AB,), TCP_80),
        Row((AB, C), (C,), TCP_80_81),
    )


def test_endpoint_with_itself_is_in_no_row() -> None:
    assert rows_of(MATRIX, (C,), (AB, C)) == (Row((C,), (AB,), TCP_80),)
    assert rows_of(MATRIX, (D, D1), (D, D1)) == ()


def test_summary_says_what_all_and_what_some_can_send() -> None:
    summaries = Summaries(MATRIX)
    assert summaries.between((AB, C), (AB, C)) == Summary(TCP_80, TCP_80_81)
    assert summaries.between((AB, C), (AB, C)) is summaries.between((AB,), (AB, C))
    assert summaries.between((AB,), (AB,)) == Summary(TCP_80, TCP_80)
    assert summaries.between((D,), (AB,)) == Summary(NOTHING, NOTHING)


def test_summary_leaves_an_endpoint_with_itself_out() -> None:
    summaries = Summaries(MATRIX)
    assert summaries.between((C,), (C,)) is None
    assert summaries.between((D,), (D, D1)) is None
    assert summaries.between((), (C,)) is None


def test_undecided_cell_leaves_the_summary_undecided() -> None:
    undecided = Matrix(MATRIX.family, MATRIX.parties, ((0, 1), (1, 0)), (NOTHING, None))
    assert Summaries(undecided).between((AB,), (AB, C)) == Summary(None, None)
    assert rows_of(undecided, (0,), (1,)) == (Row((0,), (1,), None),)
