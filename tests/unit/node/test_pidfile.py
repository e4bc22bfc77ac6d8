"""Who supervises this host."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from calico.node.pidfile import FILE_NAME, AlreadyRunning, hold_pidfile, running_pid


def test_nobody_runs_where_nothing_is(tmp_path: Path) -> None:
    assert running_pid(tmp_path) is None


def test_holder_is_known_by_its_process(tmp_path: Path) -> None:
    with hold_pidfile(tmp_path):
        assert running_pid(tmp_path) == os.getpid()


def test_second_holder_is_told_of_the_first(tmp_path: Path) -> None:
    with (
        ExitStack() as other,
        hold_pidfile(tmp_path),
        pytest.raises(AlreadyRunning) as raised,
    ):
        other.enter_context(hold_pidfile(tmp_path))
    assert raised.value.pid == os.getpid()


def test_process_id_that_is_left_over_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(f"{os.getpid()}\n")
    assert running_pid(tmp_path) is None
    with hold_pidfile(tmp_path):
        assert running_pid(tmp_path) == os.getpid()


def test_file_goes_with_its_holder(tmp_path: Path) -> None:
    with hold_pidfile(tmp_path):
        pass
    assert not (tmp_path / FILE_NAME).exists()
    assert running_pid(tmp_path) is None


def test_file_of_another_holder_stays(tmp_path: Path) -> None:
    with ExitStack() as other:
        with hold_pidfile(tmp_path):
            # Somebody tidies up the directory.
            (tmp_path / FILE_NAME).unlink()
            other.enter_context(hold_pidfile(tmp_path))
        assert running_pid(tmp_path) == os.getpid()
    assert not (tmp_path / FILE_NAME).exists()
