"""The agent's log: a file and the standard error, limited per object.

A line names its object and the reason. Lines about one object are limited to
a rate, so that one that changes all the time does not fill the disk; what was
left out is said with the next line that passes.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

LOGGER = "calico.agent"
FILE_NAME = "agent.log"
MAX_LINES = 10
PERIOD_S = 1.0

_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "none": logging.CRITICAL + 1,
}
_MAX_KEYS = 10_000


class RateLimit:
    """Let a few lines a second pass for each key.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def admit(self, key: str) -> int | None:
        """Say whether a line may pass.

        Returns:
            `None` when it may not; else how many were held back before it.
        """
        now = self._clock()
        since, n_lines = self._seen.get(key, (now, 0))
        if now - since >= PERIOD_S:
            held_back = max(0, n_lines - MAX_LINES)
            since, n_lines = now, 0
        else:
            held_back = 0
        if len(self._seen) > _MAX_KEYS:
            self._seen.clear()
        self._seen[key] = (since, n_lines + 1)
        return held_back if n_lines < MAX_LINES else None


class Journal:
    """Where the agent writes what happens.

    Args:
        logger: The standard library's.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._limit = RateLimit()

    @classmethod
    def open(cls, directory: Path) -> "Journal":
        """Write to the standard error and to a file in a directory.

        Without the file, when it cannot be written, to the standard error only.
        """
        logger = logging.getLogger(LOGGER)
        logger.propagate = False
        logger.setLevel(logging.INFO)
        handlers: list[logging.Handler] = [logging.StreamHandler()]
        problem = ""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            handlers.append(logging.FileHandler(directory / FILE_NAME))
        except OSError as error:
            problem = f"{directory / FILE_NAME}: {error.strerror}; logging without it"
        for handler in handlers:
            handler.setFormatter(logging.Formatter(_FORMAT))
            logger.addHandler(handler)
        made = cls(logger)
        if problem:
            made.warning("log", problem)
        return made

    def set_level(self, word: str | None) -> None:
        """Write only what is at least so severe; without a known word, info."""
        level = _LEVELS.get((word or "").lower(), logging.INFO)
        self._logger.setLevel(level)

    def debug(self, key: str, text: str) -> None:
        """Say what only someone who looks for a fault wants to know."""
        self._write(logging.DEBUG, key, text)

    def info(self, key: str, text: str) -> None:
        """Say what happened as it should."""
        self._write(logging.INFO, key, text)

    def warning(self, key: str, text: str) -> None:
        """Say what someone should look at."""
        self._write(logging.WARNING, key, text)

    def error(self, key: str, text: str) -> None:
        """Say what does not work."""
        self._write(logging.ERROR, key, text)

    def critical(self, text: str) -> None:
        """Say why the process ends."""
        self._logger.critical("%s", text)

    def _write(self, level: int, key: str, text: str) -> None:
        if not self._logger.isEnabledFor(level):
            return
        held_back = self._limit.admit(f"{level} {key}")
        if held_back is None:
            return
        if held_back:
            text = f"{text} ({held_back} more lines about {key!r} were left out)"
        self._logger.log(level, "%s", _one_line(text))


def _one_line(text: str) -> str:
    """Escape what could pass for another line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
