"""Exit codes, streams, and that nothing ever ends in a traceback."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_lines import ROOT, environment, run_here, run_process

from calico.cli import version
from calico.cli.call import Call
from calico.cli.main import main
from calico.cli.refusal import Refused
from calico.model.errors import (
    CalicoError,
    Conflict,
    InvalidResource,
    OutcomeUnknown,
    RuleSyntaxError,
    StoreNotPermitted,
    Unavailable,
)
from calico.settings import Settings
from calico.store.open import open_store


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("no"), 1),
        (Refused("no", exit_code=4), 4),
        (InvalidResource("a", "b", "c"), 1),
        (Conflict("k", 1, 2), 1),
        (CalicoError("x"), 1),
        (RuleSyntaxError("x", 0, "y"), 2),
        (Unavailable("a", "b"), 5),
        (StoreNotPermitted("a", "b"), 5),
        (OutcomeUnknown("a", "b"), 6),
        (ZeroDivisionError("bug"), 1),
        (MemoryError(), 1),
        (RecursionError(), 1),
    ],
)
def test_error_has_its_exit_code_and_no_traceback(
    error: Exception,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(version, "show", raising(error))
    assert main(["version"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert str(error) in err
    assert "Traceback" not in err


def raising(error: BaseException) -> Callable[[Call], int]:
    def show(_: Call) -> int:
        raise error

    return show


def test_bug_is_called_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(version, "show", raising(ZeroDivisionError("x")))
    assert main(["version"]) == 1
    assert "internal error: ZeroDivisionError: x" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["version", "--debug"], ["--debug", "version"]])
def test_debug_shows_the_traceback(
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(version, "show", raising(CalicoError("x")))
    assert main(words) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interrupt_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(version, "show", raising(KeyboardInterrupt()))
    assert main(["version"]) == 130
    assert capsys.readouterr().err == "Aborted command.\n"


def test_interrupt_of_a_process_that_waits_for_input(tmp_path: Path) -> None:
    assert run_process(["profile", "add", "WEB"], tmp_path).code == 0
    with subprocess.Popen(
        [
            str(ROOT / "calicoctl"),
            "profile",
            "WEB",
            "rule",
            "update",
            "-f",
            "/dev/stdin",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
    ) as process:
        wait_until_reading(process.pid)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, b"Aborted command.\n")


def wait_until_reading(pid: int) -> None:
    """Wait until a process sleeps in a read of its standard input."""
    import time  # noqa: PLC0415 -- only here

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/wchan").read_text(encoding="ascii")
        if "pipe_read" in state:
            return
        time.sleep(0.01)
    pytest.fail("the command never read its input")


def test_reader_that_has_gone_is_no_error(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as nobody:
        done = subprocess.run(
            [str(ROOT / "calicoctl"), "profile", "--help"],
            stdout=nobody,
            stderr=subprocess.PIPE,
            check=False,
            env=environment(tmp_path),
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_reader_that_has_gone_hides_no_exit_code(tmp_path: Path) -> None:
    run_here(["pool", "add", "10.0.0.0/24"], tmp_path)
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as nobody:
        done = subprocess.run(
            [str(ROOT / "calicoctl"), "pool", "remove", "10.0.0.0/24", "10.1.0.0/24"],
            stdout=nobody,
            stderr=subprocess.PIPE,
            check=False,
            env=environment(tmp_path),
        )
    assert done.returncode == 1
    assert done.stderr == b"10.1.0.0/24 is not a configured pool.\n"


@pytest.mark.parametrize("is_pipe", [True, False])
def test_change_is_made_though_nobody_reads_its_warning(
    is_pipe: bool,  # noqa: FBT001 -- a case, not an option
    tmp_path: Path,
) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with Path("/dev/full").open("wb") as full, os.fdopen(write_end, "wb") as nobody:
        done = subprocess.run(
            [str(ROOT / "calicoctl"), "config", "felix", "X", "1", "--force"],
            stderr=nobody if is_pipe else full,
            check=False,
            env=environment(tmp_path),
        )
    assert done.returncode == 0
    assert run_here(["config", "felix", "X", "--force"], tmp_path).out == "1\n"


def test_usage_error_is_2_though_nobody_reads_it(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [str(ROOT / "calicoctl"), "bogus"],
            stderr=full,
            check=False,
            env=environment(tmp_path),
        )
    assert done.returncode == 2


def test_socket_that_breaks_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(version, "show", raising(BrokenPipeError()))
    assert main(["version"]) == 1
    assert "internal error: BrokenPipeError" in capsys.readouterr().err


def test_full_disk_under_the_output_is_an_error(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [str(ROOT / "calicoctl"), "version"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            env=environment(tmp_path),
        )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"No space left" in done.stderr


def test_store_that_cannot_be_opened_is_5(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    outcome = run_here(["profile", "show"], file / "below")
    assert outcome.code == 5
    assert str(file) in outcome.err


@pytest.mark.parametrize(
    "line",
    [
        *("profile show", "profile WEB rule show", "profile WEB rule json"),
        *("profile WEB tag show", "endpoint show", "pool show", "ipam info 10.0.0.1"),
        *("config felix loglevel", "node show", "wait --timeout=0"),
        *("container /proc/self/ns/net endpoint show", "endpoint E profile show"),
    ],
)
def test_command_that_shows_something_makes_no_datastore(
    line: str, tmp_path: Path
) -> None:
    outcome = run_here(line.split(), tmp_path / "mistyped")
    assert (outcome.code, outcome.out) == (5, "")
    assert f"{tmp_path}/mistyped/calico.db: does not exist" in outcome.err
    assert "CALICO_DATA_DIR" in outcome.err
    assert not (tmp_path / "mistyped").exists()
    # What changes something makes one.
    assert run_here(["profile", "add", "WEB"], tmp_path / "mistyped").code == 0
    again = run_here(line.split(), tmp_path / "mistyped")
    assert "does not exist" not in again.err


def test_etcd_is_never_replaced_by_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ETCD_AUTHORITY", "127.0.0.1:1")
    assert main(["profile", "add", "WEB"]) == 5
    assert "127.0.0.1:1" in capsys.readouterr().err
    assert not (tmp_path / "calico.db").exists()


def test_malformed_etcd_authority_is_refused_in_the_words_of_the_original(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ETCD_AUTHORITY", "noport")
    assert main(["profile", "show"]) == 1
    said = "Invalid ETCD_AUTHORITY. Address must take the form <address>:<port>."
    assert capsys.readouterr().err == f"{said} Value\nprovided is 'noport'\n\n"


def test_odd_bytes_in_words_are_named_and_refused(tmp_path: Path) -> None:
    outcome = run_here(["profile", "add", "a\udcff\n"], tmp_path)
    assert outcome.code == 1
    outcome = run_here(["pro\udcff\nfile"], tmp_path)
    assert outcome.code == 2
    assert "$'pro\\udcff\\nfile'" in outcome.err


def test_terminal_that_cannot_show_a_character_is_no_error(tmp_path: Path) -> None:
    words = ["config", "felix", "X", "--force"]
    assert run_here([*words[:3], "ü\u20ac", "--force"], tmp_path).code == 0
    done = subprocess.run(
        [str(ROOT / "calicoctl"), *words],
        capture_output=True,
        check=False,
        env={**environment(tmp_path), "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0


def test_every_change_says_who_typed_what(tmp_path: Path) -> None:
    run_here(["profile", "add", "WEB"], tmp_path)
    run_here(["profile", "WEB", "rule", "add", "inbound", "allow"], tmp_path)
    run_here(["config", "felix", "X", "a b", "--force"], tmp_path)
    store = open_store(Settings.from_environment(environment(tmp_path)))
    notes = [entry.note for entry in store.history()]
    store.close()
    assert [note.command for note in notes] == [
        "calicoctl config felix X 'a b' --force",
        "calicoctl profile WEB rule add inbound allow",
        "calicoctl profile add WEB",
    ]
    assert {note.host for note in notes} == {"node-1"}
    assert all(note.actor for note in notes)


FORBIDDEN = {
    "argparse",
    "asyncio",
    "difflib",
    "email",
    "hashlib",
    "http",
    "locale",
    "logging",
    "platform",
    "prettytable",
    "pyroute2",
    "random",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "textwrap",
    "threading",
    "traceback",
    "uuid",
    "yaml",
    "calico.agent",
    "calico.attach",
    "calico.compiler",
    "calico.control",
    "calico.ipam",
    "calico.ir",
    "calico.lab",
    "calico.linux",
    "calico.node",
    "calico.render",
    "calico.verdict",
    "calico.cli.endpoints",
    "calico.cli.help",
    "calico.store.memory",
    "calico.store.sqlite_watch",
}
"""Modules that cost time to import, and that commands which read or write a
profile, or ask for the version, have no use for."""


@pytest.mark.parametrize(
    "line",
    ["version", "profile add WEB", "profile WEB rule show", "profile show -o name"],
)
def test_command_imports_only_what_it_needs(line: str, tmp_path: Path) -> None:
    run_here(["profile", "add", "WEB"], tmp_path)
    program = (
        "import sys; from calico.cli.main import main; code = main(sys.argv[1:]);"
        "print(*sorted(sys.modules), file=sys.stderr);"
        "raise SystemExit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, *line.split()],
        capture_output=True,
        check=True,
        env=environment(tmp_path),
        text=True,
    )
    assert FORBIDDEN & set(done.stderr.split()) == set()
