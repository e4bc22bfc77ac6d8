"""A process that is kept alive; the processes are real, the time is given."""

import signal
import subprocess
from collections.abc import Iterator

import pytest

from calico.node.child import Adopted, Child
from calico.node.restarts import FIRST_PAUSE_S, HEALTHY_S


class Sleeper:
    """Starts processes that sleep, and ends those that are left."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        self.error: OSError | None = None
        self.is_wanted = True
        self.child = Child(
            "x", self.start, lambda: self.is_wanted, lambda: "last words"
        )

    def start(self) -> "subprocess.Popen[bytes]":
        if self.error is not None:
            raise self.error
        made = subprocess.Popen(["sleep", "infinity"])
        self.started.append(made)
        return made

    def kill(self) -> None:
        self.started[-1].kill()
        self.started[-1].wait()


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    made = Sleeper()
    yield made
    for each in made.started:
        each.kill()
        each.wait()


def test_process_that_ends_is_started_after_a_pause(sleeper: Sleeper) -> None:
    child = sleeper.child
    child.tend(100.0)
    assert child.pid == sleeper.started[0].pid
    assert (child.problem, child.n_ends, child.wakes_at(100.0)) == ("", 0, None)
    sleeper.kill()
    assert child.has_ended()
    child.tend(101.0)
    ended: tuple[int | None, str] = (sleeper.child.pid, sleeper.child.problem)
    assert ended == (None, "ended with signal 9: last words")
    assert child.wakes_at(101.0) == 101.0 + FIRST_PAUSE_S
    child.tend(101.0 + FIRST_PAUSE_S / 2)
    assert len(sleeper.started) == 1
    child.tend(101.0 + FIRST_PAUSE_S)
    assert child.pid == sleeper.started[1].pid
    assert (child.problem, child.n_ends) == ("", 1)


def test_pause_doubles_until_a_process_has_lived(sleeper: Sleeper) -> None:
    child, now, pauses = sleeper.child, 100.0, list[float]()
    for lived_s in (0.0, 0.0, 0.0, HEALTHY_S):
        child.tend(now)
        assert not child.has_ended()
        sleeper.kill()
        now += lived_s
        child.tend(now)
        pauses.append((child.wakes_at(now) or now) - now)
        now += pauses[-1]
    doubled = [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[:3] == pytest.approx(doubled)
    assert pauses[3] == pytest.approx(FIRST_PAUSE_S)


def test_process_that_cannot_be_started_is_tried_again(sleeper: Sleeper) -> None:
    sleeper.error = OSError(8, "Exec format error", "/sbin/x")
    sleeper.child.tend(100.0)
    assert sleeper.child.problem == "cannot be started: /sbin/x: Exec format error"
    sleeper.error = None
    sleeper.child.tend(101.0)
    assert sleeper.child.pid == sleeper.started[0].pid
    assert (sleeper.child.problem, sleeper.child.n_ends) == ("", 1)


def test_process_that_is_not_wanted_is_no_problem(sleeper: Sleeper) -> None:
    sleeper.is_wanted = False
    sleeper.child.tend(100.0)
    assert (sleeper.started, sleeper.child.problem) == ([], "")
    assert sleeper.child.wakes_at(100.0) is not None
    sleeper.is_wanted = True
    sleeper.child.tend(100.5)
    assert len(sleeper.started) == 1


def test_adopted_process_is_followed_and_replaced(sleeper: Sleeper) -> None:
    other = sleeper.start()
    child = sleeper.child
    child.adopt(Adopted(other.pid), 100.0)
    child.tend(100.0)
    assert child.pid == other.pid
    # Nothing says that it has ended, so it is looked at.
    assert child.wakes_at(100.0) is not None
    child.signal(signal.SIGKILL)
    other.wait()
    assert child.has_ended()
    child.tend(101.0)
    assert child.problem.startswith("ended with an exit code that only its parent knew")
    child.tend(102.0)
    assert child.pid == sleeper.started[-1].pid != other.pid


def test_process_that_has_ended_cannot_be_adopted(sleeper: Sleeper) -> None:
    other = sleeper.start()
    sleeper.kill()
    with pytest.raises(ProcessLookupError):
        Adopted(other.pid)
