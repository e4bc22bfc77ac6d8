import os
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from calico.lab.errors import LabError, NoSuchLab
from calico.lab.register import (
    Lab,
    boot_id,
    claim,
    delete_record,
    find_lab,
    list_labs,
    pid_space,
    put_record,
    start_time,
)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CALICO_LAB_DIR", str(tmp_path / "labs"))
    monkeypatch.delenv("CALICO_LAB", raising=False)
    return tmp_path / "labs"


def lab_of_this_process(name: str) -> Lab:
    started = start_time(os.getpid())
    assert started is not None
    return Lab(name, 1, os.getpid(), started, boot_id(), pid_space())


def test_lab_is_found_until_its_record_is_deleted() -> None:
    lab = lab_of_this_process("x")
    with claim("x"):
        put_record(lab)
    assert find_lab("x") == lab
    delete_record(lab)
    with pytest.raises(NoSuchLab, match="calicoctl lab up --name=x"):
        find_lab("x")


def test_record_of_another_process_with_this_number_is_removed(
    directory: Path,
) -> None:
    lab = lab_of_this_process("x")
    put_record(replace(lab, started=lab.started - 1))
    put_record(replace(lab, name="y", boot="another"))
    assert list_labs() == ()
    assert list(directory.iterdir()) == []


def test_record_of_another_pid_namespace_is_left_alone(directory: Path) -> None:
    lab = lab_of_this_process("x")
    put_record(replace(lab, space=lab.space + 1))
    assert list_labs() == ()
    assert [each.name for each in directory.iterdir()] == ["x.json"]


def test_record_that_cannot_be_read_is_removed(directory: Path) -> None:
    put_record(lab_of_this_process("x"))
    (directory / "y.json").write_text("{}", "utf-8")
    assert [lab.name for lab in list_labs()] == ["x"]
    assert not (directory / "y.json").exists()


def test_newer_lab_of_the_same_name_is_not_forgotten() -> None:
    lab = lab_of_this_process("x")
    put_record(lab)
    delete_record(replace(lab, started=lab.started - 1))
    assert list_labs() == (lab,)


def test_missing_lab_names_those_that_run() -> None:
    put_record(lab_of_this_process("x"))
    with pytest.raises(NoSuchLab, match="`--name=x`"):
        find_lab()


def test_second_claim_is_refused_and_the_first_leaves_nothing(
    directory: Path,
) -> None:
    with claim("x"), pytest.raises(LabError, match="another command"), claim("x"):
        pass
    with claim("x"):
        pass
    assert list(directory.iterdir()) == []


def test_labs_of_a_session_are_found_in_one_without_runtime_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CALICO_LAB_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    put_record(lab_of_this_process("x"))
    assert (tmp_path / "calico-lab" / "x.json").exists()
    assert "x" in [lab.name for lab in list_labs()]


def test_last_lab_takes_its_directory_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CALICO_LAB_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    lab = lab_of_this_process("x")
    with claim("x"):
        put_record(lab)
    with claim("y"):
        pass
    # The lab that runs still has its place.
    assert [each.name for each in (tmp_path / "calico-lab").iterdir()] == ["x.json"]
    with claim("x"):
        delete_record(lab)
    assert not (tmp_path / "calico-lab").exists()


def test_directory_that_was_chosen_stays(directory: Path) -> None:
    with claim("x"):
        pass
    assert directory.is_dir()


def test_claim_outlives_the_directory_that_another_one_takes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CALICO_LAB_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    stopping = Event()
    faults: list[BaseException] = []

    def come_and_go(name: str) -> None:
        try:
            while not stopping.is_set():
                with claim(name):
                    pass
        except BaseException as error:  # noqa: BLE001 -- reported by the test
            faults.append(error)

    threads = [Thread(target=come_and_go, args=(name,), daemon=True) for name in "abc"]
    for thread in threads:
        thread.start()
    try:
        for _ in range(500):
            with claim("d"):
                pass
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    assert faults == []


def test_directory_that_others_may_write_is_refused(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o777)
    with (
        pytest.raises(LabError, match="not a directory of this user alone"),
        claim("x"),
    ):
        pass
