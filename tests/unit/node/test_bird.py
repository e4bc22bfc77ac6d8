"""BIRD's files as the supervisor keeps them; a BIRD at work is in the system tests."""

import os
import signal
from pathlib import Path

from calico.linux.bird import BirdFiles
from calico.node.bird import LOG_NAME, MAX_LOG_BYTES, BirdProcess, bird_signal
from calico.node.signals import WITHDRAW


def test_process_that_is_no_bird_of_ours_is_not_believed(tmp_path: Path) -> None:
    bird = BirdProcess(tmp_path)
    assert bird.running_pid() is None
    for text in (f"{os.getpid()}\n", "x", "", "999999999"):
        BirdFiles(tmp_path).pid.write_text(text)
        assert bird.running_pid() is None
    # So this process is not ended, either.
    bird.end_leftover(signal.SIGKILL)
    bird.remove()
    assert list(tmp_path.iterdir()) == []


def test_bird_withdraws_only_when_told_to() -> None:
    assert bird_signal(WITHDRAW) is signal.SIGTERM
    assert bird_signal(signal.SIGTERM) is signal.SIGKILL
    assert bird_signal(signal.SIGINT) is signal.SIGKILL


def test_long_log_begins_anew_and_goes_on_at_its_end(tmp_path: Path) -> None:
    log = tmp_path / LOG_NAME
    bird = BirdProcess(tmp_path, tmp_path)
    bird.limit_log()
    assert not log.exists()
    with log.open("ab", buffering=0) as writer:
        writer.write(b"first\n")
        bird.limit_log()
        assert log.read_bytes() == b"first\n"
        writer.write(bytes(MAX_LOG_BYTES))
        bird.limit_log()
        writer.write(b"last\n")
    assert log.read_bytes() == b"last\n"
    old = tmp_path / f"{LOG_NAME}.1"
    assert old.stat().st_size == MAX_LOG_BYTES + len(b"first\n")
