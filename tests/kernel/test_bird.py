"""A real BIRD, told what to do through its control socket."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from agent_host import DEADLINE_S, Namespace, namespace, until
from routing_states import NAMED

from calico.linux.bird import BirdFiles, Outcome, put_config
from calico.linux.bird_control import BirdControl, NoBird
from calico.linux.bird_process import bird_command, find_bird, read_version
from calico.linux.namespace import call_inside
from calico.model.errors import RouterRejected, Unavailable
from calico.render.bird import render_bird

pytestmark = pytest.mark.kernel

FIRST = render_bird(NAMED["mesh"])
SECOND = render_bird(replace(NAMED["mesh"], announced=(ip_network("192.168.9.0/26"),)))


@pytest.fixture
def space() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


@pytest.fixture
def files(tmp_path: Path) -> BirdFiles:
    return BirdFiles(tmp_path)


Starting = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(space: Namespace, files: BirdFiles) -> Iterator[Starting]:
    """Start BIRD with the configuration that is there; all end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def starting() -> "subprocess.Popen[bytes]":
        command = ["nsenter", f"--net={space.path}", *_command(space, files)]
        with (files.run_dir / "log").open("ab") as log:
            process = subprocess.Popen(command, stderr=log)
        started.append(process)
        until(lambda: _answers(files), "BIRD answers")
        return process

    yield starting
    for process in started:
        process.kill()
        process.wait()


def _command(space: Namespace, files: BirdFiles) -> list[str]:
    fd = os.open(space.path, os.O_RDONLY)
    try:
        return call_inside(fd, lambda: bird_command(files))
    finally:
        os.close(fd)


def _answers(files: BirdFiles) -> bool:
    with suppress(NoBird), BirdControl(files.socket):
        return True
    return False


def _blocks(files: BirdFiles) -> str:
    with BirdControl(files.socket) as control:
        lines = control.ask("show route protocol Calico_blocks_v4")
    return "\n".join(each.text for each in lines)


def test_configuration_waits_for_bird(files: BirdFiles, start: Starting) -> None:
    with pytest.raises(NoBird, match="not running"):
        put_config(files, FIRST)
    assert files.config.read_text().startswith(FIRST)
    start()
    assert "192.168.0.64/26" in _blocks(files)
    assert put_config(files, FIRST) is Outcome.UNCHANGED


def test_another_configuration_is_taken_and_the_same_one_is_not(
    files: BirdFiles, start: Starting
) -> None:
    with suppress(NoBird):
        put_config(files, FIRST)
    start()
    assert put_config(files, SECOND) is Outcome.TAKEN
    assert "192.168.9.0/26" in _blocks(files)
    assert "192.168.0.64/26" not in _blocks(files)
    with BirdControl(files.socket) as control:
        before = control.read_status().lines
        changed = [each for each in before if "Last reconfiguration" in each]
    assert put_config(files, SECOND) is Outcome.UNCHANGED
    with BirdControl(files.socket) as control:
        assert changed[0] in control.read_status().lines
    assert not files.candidate.exists()


def test_mistake_is_found_before_anything_is_changed(
    files: BirdFiles, start: Starting
) -> None:
    with suppress(NoBird):
        put_config(files, FIRST)
    start()
    before = files.config.read_bytes()
    with pytest.raises(RouterRejected, match="syntax error"):
        put_config(files, SECOND + "protocol nonsense {")
    assert files.config.read_bytes() == before
    assert not files.candidate.exists()
    assert "192.168.0.64/26" in _blocks(files)
    assert put_config(files, SECOND) is Outcome.TAKEN


def test_bird_that_runs_something_else_is_told_though_the_file_is_right(
    files: BirdFiles, start: Starting, tmp_path: Path
) -> None:
    with suppress(NoBird):
        put_config(files, FIRST)
    start()
    right = files.config.read_bytes()
    other = tmp_path / "other.conf"
    other.write_text(SECOND)
    with BirdControl(files.socket) as control:
        control.ask(f'configure "{other}"')
    assert "192.168.9.0/26" in _blocks(files)
    assert put_config(files, FIRST) is Outcome.TAKEN
    assert "192.168.0.64/26" in _blocks(files)
    assert files.config.read_bytes() == right


def test_bird_that_is_stopped_is_waited_for_no_longer_than_given(
    files: BirdFiles, start: Starting
) -> None:
    with suppress(NoBird):
        put_config(files, FIRST)
    process = start()
    with BirdControl(files.socket, timeout_s=0.2) as control:
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(NoBird, match=r"no answer within 0\.2 s"):
            control.read_protocols()
        with pytest.raises(NoBird, match=r"no answer within 0\.2 s"):
            BirdControl(files.socket, timeout_s=0.2)
        process.send_signal(signal.SIGCONT)
    until(lambda: _answers(files), "BIRD goes on")


def test_bird_that_ends_amid_a_conversation_is_gone(
    files: BirdFiles, start: Starting
) -> None:
    with suppress(NoBird):
        put_config(files, FIRST)
    process = start()
    with BirdControl(files.socket) as control:
        process.kill()
        process.wait()
        with pytest.raises(NoBird):
            control.read_status()
    with pytest.raises(NoBird, match="not running"):
        BirdControl(files.socket)


def test_bird_that_leaves_gracefully_keeps_the_kernels_routes(
    space: Namespace, files: BirdFiles, start: Starting
) -> None:
    with suppress(NoBird):
        put_config(files, FIRST)
    assert "-R" not in _command(space, files)
    process = start()
    show = ("ip", "route", "show", "type", "blackhole")
    until(lambda: "192.168.0.64/26" in space.run(*show), "a route")
    with BirdControl(files.socket) as control:
        control.leave_gracefully()
    assert process.wait(DEADLINE_S) == 0
    assert "192.168.0.64/26" in space.run(*show)
    # The one after it takes them over, and says so.
    assert "-R" in _command(space, files)
    start()
    assert "Graceful restart started" in (files.run_dir / "log").read_text()


def test_command_that_bird_does_not_know_is_refused(
    files: BirdFiles, start: Starting
) -> None:
    with suppress(NoBird):
        put_config(files, FIRST)
    start()
    with BirdControl(files.socket) as control:
        with pytest.raises(RouterRejected, match="syntax error"):
            control.ask("show nonsense")
        # And the conversation goes on.
        assert control.read_status().version == "2.0.12"


def test_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    files = BirdFiles(tmp_path / "nowhere")
    with pytest.raises(Unavailable, match=r"bird\.conf\.new"):
        put_config(files, FIRST)


def test_path_that_bird_cannot_read_is_refused(
    start: Starting, files: BirdFiles
) -> None:
    with suppress(NoBird):
        put_config(files, FIRST)
    start()
    with (
        BirdControl(files.socket) as control,
        pytest.raises(RouterRejected, match="character"),
    ):
        control.check(Path('/tmp/"x'))  # noqa: S108 -- never opened


def test_version_of_the_one_installed_will_do() -> None:
    assert read_version(find_bird()) >= (2, 0, 12)


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("BIRD version 1.6.8", r"is version 1\.6\.8, and 2\.0\.12 or later is needed"),
        ("BIRD version 2.0", r"is version 2\.0, and"),
        ("a bird", "says 'a bird' instead of its version"),
        ("", "says '' instead"),
    ],
)
def test_bird_that_will_not_do_is_described(
    tmp_path: Path, says: str, reason: str
) -> None:
    program = tmp_path / "bird"
    program.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    program.chmod(0o755)
    with pytest.raises(Unavailable, match=reason) as caught:
        read_version(str(program))
    assert "bird2" in str(caught.value)


def test_missing_bird_is_described_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="is not installed") as caught:
        read_version(str(tmp_path / "bird"))
    assert "--backend=none" in str(caught.value)
