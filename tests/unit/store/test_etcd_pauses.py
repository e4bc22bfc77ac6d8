"""Who waits for how long when several change the same keys of an etcd."""

from hypothesis import given
from hypothesis import strategies as st

from calico.store.etcd import longest_pause_s


@given(st.integers(min_value=8, max_value=1000))
def test_who_has_lost_often_goes_ahead_of_who_has_just_won(n_lost: int) -> None:
    assert longest_pause_s(n_lost) == 0


def test_who_loses_for_the_first_time_makes_way_and_then_for_less() -> None:
    pauses = [longest_pause_s(n_lost) for n_lost in range(8)]
    assert pauses[-1] > 0
    assert pauses == sorted(set(pauses), reverse=True)


def test_all_waits_of_one_change_are_short_beside_its_calls() -> None:
    assert sum(map(longest_pause_s, range(100))) < 0.2
