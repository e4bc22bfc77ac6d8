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
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO

from calico.control.client import ask_status
from calico.lab import entry
from calico.lab.errors import LabError
from calico.lab.etcd import find_etcd, start_etcd
from calico.lab.network import check_sources, make_network
from calico.lab.plan import (
    DATA_DIR,
    ETCD,
    LAB_VARIABLE,
    MARK,
    OUTSIDE,
    ROUTER_IPV4,
    ROUTER_IPV6,
    LabHost,
    Layout,
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
from calico.lab.router import ROUTER_AS_NUMBER, has_bird, start_router
from calico.lab.session import environment

_DEFAULT_POOLS = ("192.168.0.0/16", "fd80:24e2:f998:72d6::/64")
_END_TIMEOUT_S = 30.0

CALICOCTL = (
    sys.executable,
    "-I",
    "-c",
    "from calico.cli.main import main; raise SystemExit(main())",
)
"""The program, with the interpreter that runs this one."""


def bring_up(name: str, layout: Layout) -> Lab:
    """Start a lab that stays, and wait until every host of it enforces policy.

    Raises:
        LabError: It could not be started; nothing is left of it.
    """
    _verify_outside(name)
    parse_lab_name(name)
    hosts(layout.n_hosts)
    with claim(name):
        if any(lab.name == name for lab in list_labs()):
            steps = (
                f"end it with `calicoctl lab down{name_option(name)}`",
                "give this one another `--name`",
            )
            raise LabError(f"lab `{name}`", "is running already", steps)
        with temporary_lab(name, layout) as temporary:
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
def temporary_lab(name: str, layout: Layout) -> Generator[Temporary]:
    """Start a lab for as long as the body runs.

    Raises:
        LabError: It could not be started; nothing is left of it.
    """
    if layout.has_etcd:
        find_etcd()
    with _holding(name, layout) as temporary:
        lab = temporary.lab
        entry.call(lab, None, lambda: _furnish(lab))
        if layout.has_vxlan:
            entry.call(lab, OUTSIDE, check_sources)
        if lab.has_etcd:
            entry.call(lab, ETCD, start_etcd)
        _start_nodes(lab)
        if layout.has_vxlan:
            _carry_pools(lab)
        if lab.has_bird:
            entry.call(lab, OUTSIDE, lambda: start_router(lab.hosts))
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
def _holding(name: str, layout: Layout) -> Generator[Temporary]:
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
            lab = _read_report(name, layout, stream)
        finally:
            maker.wait()
        kept: list[int] = []
        try:
            yield Temporary(lab, lambda: kept.append(line.write(b"k")))
        finally:
            if not kept:
                delete_record(lab)
                _end(lab)


def _read_report(name: str, layout: Layout, stream: IO[bytes]) -> Lab:
    """Read what the holder says until it is ready."""
    facts: dict[str, int | str] = {}
    for line in stream:
        facts |= json.loads(line)
        if "step" in facts:
            raise explain_refusal(name, str(facts["step"]), int(facts["errno"]))
        if {"pid", "ready"} <= facts.keys():
            pid = int(facts["pid"])
            return Lab(
                name,
                layout.n_hosts,
                pid=pid,
                started=start_time(pid) or 0,
                boot=boot_id(),
                space=pid_space(),
                has_etcd=layout.has_etcd,
                has_bird=has_bird(),
            )
    raise LabError(f"lab `{name}`", "its holder ended before it was ready")


def _furnish(lab: Lab) -> None:
    """Make directories, namespaces and links. Runs inside the lab."""
    for host in lab.hosts:
        host.run_dir.mkdir(parents=True)
        host.log_dir.mkdir()
    DATA_DIR.mkdir()
    inside = replace(
        lab,
        pid=1,
        started=start_time(1) or 0,
        space=pid_space(),
        is_inside=True,
    )
    put_record(inside, MARK)
    make_network(lab.hosts, with_etcd=lab.has_etcd)


def _start_nodes(lab: Lab) -> None:
    """Start the nodes of all hosts at once and wait for each to enforce."""
    # The first one alone, so that one process makes the datastore.
    for group in (lab.hosts[:1], lab.hosts[1:]):
        running = [(host, _start_node(lab, host)) for host in group]
        outputs = [(host, child.wait()) for host, child in running]
        for host, output in outputs:
            _verify(lab, host, "the agent did not start", output)
            for line in output.stderr.splitlines():
                if line.startswith("WARNING"):
                    sys.stderr.write(f"{host.name}: {line}\n")
    if lab.has_bird:
        for address in (ROUTER_IPV4, ROUTER_IPV6):
            _add_peer(lab, str(address))


def _start_node(lab: Lab, host: LabHost) -> entry.Running:
    words = [
        "node",
        f"--ip={host.ipv4}",
        f"--ip6={host.ipv6}",
        "--detach=true",
        f"--backend={'bird' if lab.has_bird else 'none'}",
    ]
    return _start_calicoctl(lab, host, words)


def _add_peer(lab: Lab, address: str) -> None:
    """Make the router of the lab a BGP peer of every host."""
    words = ["bgp", "peer", "add", address, "as", str(ROUTER_AS_NUMBER)]
    _type(lab, f"`{OUTSIDE}` did not become a BGP peer", words)


def _carry_pools(lab: Lab) -> None:
    """Have the usual pools carried by VXLAN."""
    ipv4, ipv6 = _DEFAULT_POOLS
    # The outside knows no way back to a workload; for IPv6 nothing is masqueraded.
    for words in ((ipv4, "--vxlan", "--nat-outgoing"), (ipv6, "--vxlan")):
        _type(lab, "its pools are not carried by VXLAN", ["pool", "add", *words])


def _type(lab: Lab, otherwise: str, words: Sequence[str]) -> None:
    """Run calicoctl on the first host, which must work."""
    host = lab.hosts[0]
    output = _start_calicoctl(lab, host, words).wait()
    _verify(lab, host, otherwise, output)


def _start_calicoctl(lab: Lab, host: LabHost, words: Sequence[str]) -> entry.Running:
    environ = environment(os.environ, lab, host)
    return entry.start(lab, host.name, [*CALICOCTL, *words], environ)


def _verify(lab: Lab, host: LabHost, what: str, output: entry.Output) -> None:
    if output.code:
        said = (output.stderr or output.stdout).strip()
        reason = f"{what} (exit {output.code}): {said}"
        raise LabError(f"lab `{lab.name}`, {host.name}", reason)


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
