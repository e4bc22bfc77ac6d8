"""The tutorials, each typed in a lab of its own, checked with real packets.

`python -m calico.lab.demo` is what `make demo` runs. The labs belong to this
process alone and end with it, however that happens. Exit code 0 means that
every command printed what its tutorial prints and every probe went as its
tutorial promises, or that whoever read the output has read enough of it.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from calico.lab import entry
from calico.lab.errors import LabError
from calico.lab.isolation_tutorial import ISOLATION
from calico.lab.lifecycle import temporary_lab
from calico.lab.matrix import draw_matrix, probe_matrix
from calico.lab.policy_tutorial import POLICY
from calico.lab.register import Lab
from calico.lab.session import environment_at
from calico.lab.style import Style
from calico.lab.tutorial import Command, Step, Tutorial
from calico.lab.workloads import refresh_routes
from calico.model.errors import CalicoError

_INTERRUPTED = 130
_SIGNALLED = 128
_WAIT = "./calicoctl wait"
TUTORIALS = (POLICY, ISOLATION)


@dataclass(slots=True)
class _Report:
    """What has been found so far, and where it is shown."""

    style: Style
    n_steps: int = 0
    n_commands: int = 0
    n_probes: int = 0
    differences: list[str] = field(default_factory=list[str])

    def say(self, text: str = "") -> None:
        try:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
        except BrokenPipeError:
            raise _ReaderGone from None


class _ReaderGone(Exception):  # noqa: N818 -- says what happened
    """Whoever read the output has closed the pipe."""


def main() -> int:
    """Run the tutorials."""
    report = _Report(Style.of(sys.stdout, os.environ))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    started = time.monotonic()
    try:
        _run_all(report)
        return _conclude(report, time.monotonic() - started)
    except _ReaderGone:
        # What Python has not written yet would make it complain when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("\ndemo: interrupted; the lab is gone\n")
        return _INTERRUPTED
    except CalicoError as error:
        sys.stdout.flush()
        sys.stderr.write(f"demo: {error}\n")
        return 1


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(_SIGNALLED + number)


def _run_all(report: _Report) -> None:
    with tempfile.TemporaryDirectory(prefix="calico-demo-") as directory:
        Path(directory, "calicoctl").symlink_to(_find_calicoctl())
        # Commands run in the current directory, as the tutorials' do.
        os.chdir(directory)
        try:
            for tutorial in TUTORIALS:
                _run(tutorial, report)
        finally:
            os.chdir("/")


def _run(tutorial: Tutorial, report: _Report) -> None:
    report.say(report.style.paint(tutorial.title, "bold"))
    report.say(f"Starting a lab: {tutorial.setting}.")
    name = f"demo-{os.getpid()}"
    with temporary_lab(name, tutorial.layout) as temporary:
        for number, step in enumerate(tutorial.steps, 1):
            _do_step(_Stage(temporary.lab, tutorial, number), step, report)
    report.say()


def _find_calicoctl() -> Path:
    """Find the command that belongs to this code: a checkout's, or installed."""
    checkout = Path(__file__).resolve().parents[3] / "calicoctl"
    installed = Path(sys.executable).parent / "calicoctl"
    for path in (checkout, installed):
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise LabError("calicoctl", f"is neither {checkout} nor {installed}")


@dataclass(frozen=True, slots=True)
class _Stage:
    """Where a tutorial is."""

    lab: Lab
    tutorial: Tutorial
    number: int

    def __str__(self) -> str:
        return f"{self.tutorial.title}, step {self.number}"


def _do_step(stage: _Stage, step: Step, report: _Report) -> None:
    report.n_steps += 1
    report.say()
    report.say(report.style.paint(f"{stage.number}. {step.title}", "bold"))
    for name, text in step.files.items():
        Path(name).write_text(text, "utf-8")
        report.say(f"   the file {name}:")
        for line in text.splitlines():
            report.say(report.style.paint(f"     {line}", "dim"))
    for command in step.commands:
        _do_command(stage, command, report)
    if step.meaning:
        _probe_step(stage, step, report)


def _do_command(stage: _Stage, command: Command, report: _Report) -> None:
    lab = stage.lab
    host = command.host or lab.hosts[0].name
    prompt = "" if lab.n_hosts == 1 else f"{host} "
    report.say(report.style.paint(f"{prompt}$ {command.line}", "bold"))
    report.n_commands += 1
    output = _type(lab, host, command.line)
    for line in (*output.stdout.splitlines(), *output.stderr.splitlines()):
        report.say(line)
    if output.code:
        raise LabError(str(stage), f"the command failed (exit {output.code})")
    if command.output is not None and not _is_same(output.stdout, command.output):
        report.differences.append(
            f"{stage}: `{command.line}` does not print what the tutorial prints"
        )


def _type(lab: Lab, host: str, line: str) -> entry.Output:
    return entry.start(
        lab, host, ["/bin/sh", "-c", line], environment_at(lab, host)
    ).wait()


def _is_same(found: str, expected: str) -> bool:
    def lines(text: str) -> Sequence[str]:
        return [line.rstrip() for line in text.splitlines()]

    return lines(found) == lines(expected)


def _probe_step(stage: _Stage, step: Step, report: _Report) -> None:
    lab, tutorial = stage.lab, stage.tutorial
    for host in lab.hosts:
        waited = _type(lab, host.name, _WAIT)
        if waited.code:
            said = (waited.stderr or waited.stdout).strip()
            raise LabError(str(stage), f"the policy is not in force: {said}")
    refresh_routes(lab)
    report.say()
    report.say(f"  {step.meaning}")
    matrix = probe_matrix(lab, tutorial, step.promise)
    for line in draw_matrix(matrix, tutorial, report.style):
        report.say(line)
    report.n_probes += len(matrix.cells) + len(matrix.controls)
    report.differences += [f"{stage}: {each}" for each in matrix.differences]


def _conclude(report: _Report, seconds: float) -> int:
    report.say(report.style.paint("Summary", "bold"))
    report.say(
        f"  {len(TUTORIALS)} tutorials, {report.n_steps} steps,"
        f" {report.n_commands} commands,"
        f" {report.n_probes} probes with real packets, {seconds:.0f} s"
    )
    if not report.differences:
        text = "everything went as the tutorials promise"
        report.say(f"  {report.style.paint(text, 'yes')}")
        return 0
    n = len(report.differences)
    text = f"{n} {'difference' if n == 1 else 'differences'} from the tutorials:"
    report.say(f"  {report.style.paint(text, 'alarm')}")
    for each in report.differences:
        report.say(f"    {each}")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
