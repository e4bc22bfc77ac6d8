"""When the agent is started again."""

from calico.node.restarts import (
    FIRST_PAUSE_S,
    HEALTHY_S,
    LONGEST_PAUSE_S,
    Restarts,
)


def test_first_restart_is_quick() -> None:
    assert Restarts().after(1.0).pause_s == FIRST_PAUSE_S


def test_pause_doubles_up_to_a_bound() -> None:
    restarts = Restarts()
    pauses: list[float] = []
    for _ in range(40):
        restarts = restarts.after(0.0)
        pauses.append(restarts.pause_s)
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S


def test_healthy_time_makes_the_next_restart_quick() -> None:
    restarts = Restarts(n_early=12).after(HEALTHY_S)
    assert restarts.pause_s == FIRST_PAUSE_S
