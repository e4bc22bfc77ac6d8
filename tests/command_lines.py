"""Running `calicoctl` in tests: as a real process, and within this one."""

import io
import os
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from calico.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
HOSTNAME = "node-1"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did: its exit code and both streams."""

    code: int
    out: str
    err: str


def environment(data_dir: Path) -> dict[str, str]:
    """Return the variables that make a command use a datastore of its own."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("ETCD_")},
        "CALICO_DATA_DIR": str(data_dir),
        "CALICO_RUN_DIR": str(data_dir / "run"),
        "CALICO_LOG_DIR": str(data_dir / "log"),
        "HOSTNAME": HOSTNAME,
    }


def run_process(words: list[str], data_dir: Path, stdin: bytes = b"") -> Outcome:
    """Run `./calicoctl` of the checkout."""
    done = subprocess.run(
        [str(ROOT / "calicoctl"), *words],
        input=stdin,
        capture_output=True,
        check=False,
        env=environment(data_dir),
        cwd=ROOT,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def run_here(words: list[str], data_dir: Path, stdin: bytes = b"") -> Outcome:
    """Run the same code in this process, which is 50 times as fast."""
    out, err = io.StringIO(), io.StringIO()
    stream = io.TextIOWrapper(io.BytesIO(stdin))
    with (
        pytest.MonkeyPatch.context() as patched,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        patched.setattr(sys, "stdin", stream)
        wanted = environment(data_dir)
        for name in os.environ.keys() - wanted.keys():
            patched.delenv(name)
        for name, value in wanted.items():
            patched.setenv(name, value)
        code = main(words)
    return Outcome(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True, slots=True)
class Exchange:
    """One command of a transcript, and what is expected of it.

    Attributes:
        command: As typed after `$ `.
        stdin: What it reads.
        outcome: What it did when the transcript was recorded.
    """

    command: str
    stdin: bytes
    outcome: Outcome

    @property
    def words(self) -> list[str]:
        """The command line without the program."""
        return shlex.split(self.command)[1:]


def read_transcript(text: str) -> list[Exchange]:
    """Read a transcript.

    A line that starts with `$ ` is a command, `< ` its input, `! ` what it
    says on standard error, `= ` its exit code if that is not 0, `# ` a remark;
    every other line is its output.
    """
    exchanges: list[Exchange] = []
    command, parts = "", dict[str, list[str]]()

    def finish() -> None:
        if command:
            texts = {kind: "".join(lines) for kind, lines in parts.items()}
            code = int(texts.get("= ", "0"))
            outcome = Outcome(code, texts.get("", ""), texts.get("! ", ""))
            stdin = texts.get("< ", "").encode()
            exchanges.append(Exchange(command, stdin, outcome))

    for line in text.splitlines():
        kind = line[:2] if line[:2] in {"$ ", "< ", "! ", "= ", "# "} else ""
        if line in {"<", "!"}:
            kind = line + " "
        if kind == "$ ":
            finish()
            command, parts = line[2:], {}
        elif kind != "# ":
            parts.setdefault(kind, []).append(line[len(kind) :] + "\n")
    finish()
    return exchanges


def show_exchange(exchange: Exchange, outcome: Outcome) -> str:
    """Write a command and what it did as part of a transcript."""
    lines = [f"$ {exchange.command}"]
    lines += [f"< {line}" for line in exchange.stdin.decode().splitlines()]
    lines += outcome.out.splitlines()
    lines += [f"! {line}".rstrip() for line in outcome.err.splitlines()]
    if outcome.code:
        lines.append(f"= {outcome.code}")
    return "\n".join(lines) + "\n"
