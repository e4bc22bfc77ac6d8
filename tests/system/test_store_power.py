"""A power cut at any moment loses nothing that was acknowledged.

A writer runs under strace; from its writes and syncs every state is built that
a disk can be in after a cut: what was synced, and of what was not, nothing,
everything, or some of it, sectors torn. Each state is opened and read.
"""

import os
import random
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import store_programs

from calico.store.sqlite import SqliteStore

N_COMMITS = int(os.environ.get("CALICO_TEST_POWER_COMMITS", "10"))
SECTOR = 512

CALL = re.compile(
    r"\d+ +(?P<name>\w+)\(\d+<(?P<path>[^>]*)>"
    r'(?:, "(?P<data>(?:\\x[0-9a-f]{2})*)", \d+(?:, (?P<offset>\d+))?|, (?P<size>\d+))?'
    r"\) += \d+"
)


def unescape(text: str) -> bytes:
    """Read what strace writes as hexadecimal escapes, paths included."""
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass
class File:
    """A file on a disk that forgets what was not synced."""

    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(
        default_factory=list[tuple[int, bytes | None]]
    )

    def sync(self) -> None:
        self.durable = self.after([True] * len(self.pending))
        self.pending.clear()

    def after(self, kept: list[bool], chance: random.Random | None = None) -> bytes:
        """Return the content if these writes arrived, torn if there is chance."""
        content = bytearray(self.durable)
        for (offset, data), is_kept in zip(self.pending, kept, strict=True):
            if not is_kept:
                continue
            if data is None:
                del content[offset:]
                continue
            content.extend(bytes(max(0, offset + len(data) - len(content))))
            for at in range(0, len(data), SECTOR):
                if chance is None or chance.random() < 0.5:
                    piece = data[at : at + SECTOR]
                    content[offset + at : offset + at + len(piece)] = piece
        return bytes(content)


class Disk:
    """The files of a store, as a trace changes them.

    Args:
        directory: The store before the trace began; all of it is durable.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = {
            path.name: File(path.read_bytes()) for path in directory.iterdir()
        }
        self.acknowledged = 0

    def play(self, line: str) -> bool:
        """Apply a line of the trace; report whether a file was touched."""
        call = CALL.match(line)
        if call is None:
            return False
        data = unescape(call["data"] or "")
        where = unescape(call["path"]).decode()
        path = Path(where)
        if path.parent != self._directory:
            if call["name"] == "write" and where.startswith("pipe:"):
                self.acknowledged = int(data)
            return False
        file = self._files.setdefault(path.name, File())
        match call["name"]:
            case "fdatasync" | "fsync":
                file.sync()
            case "ftruncate":
                file.pending.append((int(call["size"]), None))
            case _:
                file.pending.append((int(call["offset"] or 0), data))
        return True

    def write_states(self, place: Path, chance: random.Random) -> list[Path]:
        """Write what the disk can hold if the power fails now."""
        states: list[Path] = []
        for variant in ("nothing", "everything", "some", "torn"):
            state = place / variant
            shutil.rmtree(state, ignore_errors=True)
            state.mkdir()
            for name, file in self._files.items():
                if name.endswith("-shm"):
                    continue  # Shared memory; SQLite never trusts it after a crash.
                share = {"nothing": 0.0, "everything": 1.0}.get(variant, 0.5)
                kept = [chance.random() < share for _ in file.pending]
                torn = chance if variant == "torn" else None
                (state / name).write_bytes(file.after(kept, torn))
            states.append(state)
        return states


def check_state(state: Path, acknowledged: int) -> None:
    store = SqliteStore.open(state)
    store.verify()
    first, second = (
        store_programs.value_of(store.get(key)) for key in ("/p/a", "/p/b")
    )
    assert first == second
    assert acknowledged <= first <= acknowledged + 1
    store.close()


@pytest.mark.skipif(
    store_programs.is_without_strace(), reason="strace is not installed"
)
def test_power_cut_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 -- shown when the test fails
    chance = random.Random(seed)
    directory, trace = tmp_path / "store", tmp_path / "trace"
    SqliteStore.open(directory).close()
    disk = Disk(directory)
    strace = (
        *("strace", "-f", "-y", "-xx", "-s", "200000", "-o", str(trace)),
        *("-e", "trace=pwrite64,write,fdatasync,fsync,ftruncate"),
    )
    writer = store_programs.start(
        "write_pairs", directory, "p", N_COMMITS, before=strace
    )
    assert store_programs.finish(writer) == list(range(1, N_COMMITS + 1))
    n_states = 0
    for line in trace.read_text().splitlines():
        if disk.play(line):
            for state in disk.write_states(tmp_path, chance):
                check_state(state, disk.acknowledged)
                n_states += 1
    assert disk.acknowledged == N_COMMITS
    assert n_states > N_COMMITS * 20, "the trace was not understood"
