"""Stores for tests, with a clock that the test moves."""

import tempfile
from pathlib import Path

from store_contract import Backend

from calico.store.api import Store
from calico.store.clock import Instant
from calico.store.memory import MemoryStore
from calico.store.sqlite import SqliteStore


class MovableClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = Instant("boot-1", 1_000_000, 1_700_000_000_000)

    def __call__(self) -> Instant:
        return self.now

    def pass_time(self, seconds: float) -> None:
        passed_ms = int(seconds * 1000)
        self.now = Instant(
            self.now.boot, self.now.uptime_ms + passed_ms, self.now.wall_ms + passed_ms
        )

    def reboot(self) -> None:
        self.now = Instant("boot-2", 1000, self.now.wall_ms + 1000)


class SqliteBackend(Backend):
    """A SQLite store in a directory of its own below `directory`."""

    def __init__(self, directory: Path) -> None:
        self._above = directory
        self.directory = Path(tempfile.mkdtemp(dir=directory))
        self.clock = MovableClock()

    def open(self) -> Store:
        return SqliteStore.open(self.directory, self.clock)

    def pass_time(self, seconds: float) -> None:
        self.clock.pass_time(seconds)

    def fresh(self) -> "SqliteBackend":
        return SqliteBackend(self._above)


class MemoryBackend(Backend):
    """A store in memory; its clients are one object."""

    def __init__(self) -> None:
        self.clock = MovableClock()
        self._store = MemoryStore(self.clock)

    def open(self) -> Store:
        return self._store

    def pass_time(self, seconds: float) -> None:
        self.clock.pass_time(seconds)

    def fresh(self) -> "MemoryBackend":
        return MemoryBackend()
