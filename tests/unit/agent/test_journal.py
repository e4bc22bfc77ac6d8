"""The agent's log, and its limit."""

import io
import logging
from collections.abc import Iterator

import pytest

from calico.agent.journal import MAX_LINES, PERIOD_S, Journal, RateLimit


class Clock:
    """Seconds as the test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_limit_is_per_key_and_says_what_it_held_back() -> None:
    clock = Clock()
    limit = RateLimit(clock)
    admitted = [limit.admit("a") for _ in range(MAX_LINES + 3)]
    assert admitted == [0] * MAX_LINES + [None] * 3
    assert limit.admit("b") == 0
    clock.now = PERIOD_S
    assert limit.admit("a") == 3
    assert limit.admit("a") == 0


@pytest.fixture
def written() -> Iterator[tuple[Journal, io.StringIO]]:
    stream = io.StringIO()
    logger = logging.getLogger("calico.test.journal")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    logger.propagate = False
    yield Journal(logger), stream
    logger.removeHandler(handler)
    stream.close()


def test_line_cannot_pass_for_two(written: tuple[Journal, io.StringIO]) -> None:
    journal, stream = written
    journal.warning("key", "one\nCRITICAL two\x1b[2J")
    assert stream.getvalue() == "one\\nCRITICAL two\\x1b[2J\n"


def test_level_is_what_the_setting_says(written: tuple[Journal, io.StringIO]) -> None:
    journal, stream = written
    for level in ("none", "ERROR", None, "nonsense"):
        journal.set_level(level)
        journal.warning(str(level), f"level {level}")
    assert stream.getvalue() == "level None\nlevel nonsense\n"
