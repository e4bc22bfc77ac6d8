"""Bring a lab up, and take it down.

Until everything works, the lab hangs on this process: the holder ends when
the other end of its life line closes, for whatever reason. Only then is the
lab written down and let go.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from calico.control.client import ask_status
from calico.lab import entry
from calico.lab.errors import LabError
from calico.lab.network import make_network
from calico.lab.plan import (
    DATA_DIR,
    LAB_VARIABLE,
    MARK,
    LabHost,
    environment,
    hosts,
    name_option,
    parse_lab_name,
)
from calico.lab.refusal import explain_refusal
from calico.lab.register import (
    Lab,
    boot_id,
    claim,
    delete_record,
    list_labs,
    pid_space,
    put_record,
    start_time,
)

_END_TIMEOUT_S = 30.0

CALICOCTL = (
    sys.executable,
    "-I",
    "-c",
    "from calico.cli.main import main; raise SystemExit(main())",
)
"""The program, with the interpreter that runs this one."""


def bring_up(name: str, n_hosts: int) -> Lab:
    """Start a lab that stays, and wait until every host of it enforces policy.

    Raises:
        LabError: It could not be started; nothing is left of it.
    """
    _verify_outside(name)
    parse_lab_name(name)
    hosts(n_hosts)
    with claim(name):
        if any(lab.name == name for lab in list_labs()):
            steps = (
                f"end it with `calicoctl lab down{name_option(name)}`",
                "give this one another `--name`",
            )
            raise LabError(f"lab `{name}`", "is running already", steps)
        with temporary_lab(name, n_hosts) as temporary:
            put_record(temporary.lab)
            temporary.keep()
        return temporary.lab


@dataclass(frozen=True, slots=True)
class Temporary:
    """A lab that ends with this process, however it ends.

    Attributes:
        lab: The lab. Only this process knows it.
        keep: Lets it go its own way instead.
    """

    lab: Lab
    keep: Callable[[], None]


@contextmanager
def temporary_lab(name: str, n_hosts: int) -> Generator[Temporary]:
    """Start a lab for as long as the body runs.

    Raises:
        LabError: It could not be started; nothing is left of it.
    """
    with _holding(name, n_hosts) as temporary:
        lab = temporary.lab
        entry.call(lab, None, lambda: _furnish(lab))
        _start_agents(lab)
        yield temporary


def read_limits(lab: Lab) -> Mapping[str, str]:
    """Read what the kernel refuses the agents of a lab, by name.

    Raises:
        CalicoError: The agent of the first host does not answer.
    """
    host = lab.hosts[0]
    return entry.call(lab, host.name, lambda: ask_status(host.run_dir)).limits


def take_down(lab: Lab) -> None:
    """End a lab and everything in it.

    Raises:
        LabError: It cannot be ended from here, or did not end.
    """
    if lab.is_inside:
        step = "leave it and run this from outside"
        raise LabError(f"lab `{lab.name}`", "this is inside it", (step,))
    with claim(lab.name):
        _end(lab)
        delete_record(lab)


def _verify_outside(name: str) -> None:
    if LAB_VARIABLE in os.environ and MARK.exists():
        inside = os.environ[LAB_VARIABLE]
        step = "leave it and start the other one from outside"
        raise LabError(f"lab `{name}`", f"this is inside lab `{inside}`", (step,))


@contextmanager
def _holding(name: str, n_hosts: int) -> Generator[Temporary]:
    """Start a holder; unless it is kept, end it when the body ends."""
    near, life_line = os.pipe()
    report, far = os.pipe()
    with os.fdopen(life_line, "wb", 0) as line, os.fdopen(report, "rb") as stream:
        maker = subprocess.Popen(
            [sys.executable, "-I", "-m", "calico.lab.holder", name],
            stdin=near,
            stdout=far,
            start_new_session=True,
        )
        os.close(near)
        os.close(far)
        try:
            lab = _read_report(name, n_hosts, stream)
        finally:
            maker.wait()
        kept: list[int] = []
        try:
            yield Temporary(lab, lambda: kept.append(line.write(b"k")))
        finally:
            if not kept:
                delete_record(lab)
                _end(lab)


def _read_report(name: str, n_hosts: int, stream: IO[bytes]) -> Lab:
    """Read what the holder says until it is ready."""
    facts: dict[str, int | str] = {}
    for line in stream:
        facts |= json.loads(line)
        if "step" in facts:
            raise explain_refusal(name, str(facts["step"]), int(facts["errno"]))
        if {"pid", "ready"} <= facts.keys():
            pid = int(facts["pid"])
            return Lab(name, n_hosts, pid, start_time(pid) or 0, boot_id(), pid_space())
    raise LabError(f"lab `{name}`", "its holder ended before it was ready")


def _furnish(lab: Lab) -> None:
    """Make directories, namespaces and links. Runs inside the lab."""
    for host in lab.hosts:
        host.run_dir.mkdir(parents=True)
        host.log_dir.mkdir()
    DATA_DIR.mkdir()
    inside = Lab(
        lab.name,
        lab.n_hosts,
        pid=1,
        started=start_time(1) or 0,
        boot=lab.boot,
        space=pid_space(),
        is_inside=True,
    )
    put_record(inside, MARK)
    make_network(lab.hosts)


def _start_agents(lab: Lab) -> None:
    """Start the agents of all hosts at once and wait for each to enforce."""
    # The first one alone, so that one process makes the datastore.
    for group in (lab.hosts[:1], lab.hosts[1:]):
        running = [(host, _start_agent(lab, host)) for host in group]
        outputs = [(host, child.wait()) for host, child in running]
        for host, output in outputs:
            if output.code:
                said = (output.stderr or output.stdout).strip()
                reason = f"the agent did not start (exit {output.code}): {said}"
                raise LabError(f"lab `{lab.name}`, {host.name}", reason)
            for line in output.stderr.splitlines():
                if line.startswith("WARNING"):
                    sys.stderr.write(f"{host.name}: {line}\n")


def _start_agent(lab: Lab, host: LabHost) -> entry.Running:
    argv = [
        *CALICOCTL,
        "node",
        f"--ip={host.ipv4}",
        f"--ip6={host.ipv6}",
        "--detach=true",
    ]
    return entry.start(lab, host.name, argv, environment(os.environ, lab.name, host))


def _end(lab: Lab) -> None:
    try:
        holder = os.pidfd_open(lab.pid)
    except ProcessLookupError:
        return
    try:
        if not lab.is_running():
            return
        signal.pidfd_send_signal(holder, signal.SIGKILL)
        # Readable means that the holder has ended, and it ends last: the
        # kernel first ends and waits for everything in its PID namespace.
        readable, _, _ = select.select([holder], [], [], _END_TIMEOUT_S)
        if not readable:
            reason = f"its holder, process {lab.pid}, does not end"
            raise LabError(f"lab `{lab.name}`", reason)
    finally:
        os.close(holder)
