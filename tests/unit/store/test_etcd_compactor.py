"""Which revision of an etcd is the oldest to remember."""

import pytest

from calico.model.names import Revision
from calico.store.etcd_compactor import MAX_REMEMBERED, Marks, revision_to_keep

HOUR = 3600.0


@pytest.mark.parametrize(
    ("marks", "kept"),
    [
        ([(5 * HOUR, 900)], 0),
        ([(4.5 * HOUR, 100), (5 * HOUR, 900)], 0),
        ([(4 * HOUR, 100), (4.5 * HOUR, 300), (5 * HOUR, 900)], 100),
        ([(1 * HOUR, 50), (4 * HOUR, 100), (5 * HOUR, 900)], 100),
        ([(4.9 * HOUR, 100), (5 * HOUR, 100 + MAX_REMEMBERED)], 100),
        ([(4.9 * HOUR, 101), (5 * HOUR, 100 + MAX_REMEMBERED)], 0),
        # A mark of a clock that is ahead is not past.
        ([(9 * HOUR, 100), (5 * HOUR, 900)], 0),
    ],
)
def test_oldest_to_remember(marks: list[tuple[float, int]], kept: int) -> None:
    made: Marks = tuple((time_s, Revision(at)) for time_s, at in marks)
    assert revision_to_keep(made, 5 * HOUR) == kept
