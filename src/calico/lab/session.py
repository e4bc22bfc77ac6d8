"""Programs that a user runs inside a lab: environments, and the shell."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from calico.lab import entry
from calico.lab.plan import DATA_DIR, ETCD_ENDPOINT, LAB_VARIABLE, ROOT, LabHost
from calico.lab.register import Lab

_SYSTEM_PATHS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_ETCD_ENDPOINTS = "ETCD_ENDPOINTS"
_FOREIGN = frozenset(
    {
        _ETCD_ENDPOINTS,
        "ETCD_AUTHORITY",
        "ETCD_SCHEME",
        "ETCD_CA_CERT_FILE",
        "ETCD_CERT_FILE",
        "ETCD_KEY_FILE",
        "XDG_RUNTIME_DIR",
    }
)

_RC = """\
[ -r ~/.bashrc ] && . ~/.bashrc
PS1='({lab}:{place}) \\w\\$ '
"""


def run_program(lab: Lab, place: str, argv: Sequence[str]) -> int:
    """Run a program in the network of a host, a workload or the outside.

    `calicoctl` uses the lab's datastore there, and is the host, or else the
    first host.

    Returns:
        Its exit code; 128 and the signal's number when one ended it, 127 when
        there is no such program.

    Raises:
        NoSuchLab: The holder is gone.
        NoSuchPlace: There is no such host or workload.
    """
    return entry.execute(lab, place, argv, environment_at(lab, place))


def run_shell(lab: Lab, place: str) -> int:
    """Run an interactive shell in the network of a host or workload.

    Returns:
        Its exit code.

    Raises:
        NoSuchLab: The holder is gone.
        NoSuchPlace: There is no such host or workload.
    """
    entry.look_up(lab, place)
    environ = environment_at(lab, place)
    bash = shutil.which("bash", path=environ["PATH"])
    if bash is None:
        environ["PS1"] = f"({lab.name}:{place}) $ "
        return entry.execute(lab, place, ["/bin/sh", "-i"], environ)
    path = ROOT / f"shellrc-{place}"
    text = _RC.format(lab=lab.name, place=place)
    entry.call(lab, None, lambda: path.write_text(text, "utf-8"))
    return entry.execute(lab, place, [bash, "--rcfile", str(path), "-i"], environ)


def environment_at(lab: Lab, place: str) -> dict[str, str]:
    """Say what the environment of a program at `place` is."""
    hosts = {host.name: host for host in lab.hosts}
    host = hosts.get(place, lab.hosts[0])
    environ = environment(os.environ, lab, host)
    return environ | {"PATH": _path(environ.get("PATH", os.defpath))}


def environment(base: Mapping[str, str], lab: Lab, host: LabHost) -> dict[str, str]:
    """Say what the environment of a program on `host` is.

    The datastore is the lab's, whatever `base` says.
    """
    environ = {key: value for key, value in base.items() if key not in _FOREIGN}
    environ |= {
        LAB_VARIABLE: lab.name,
        "HOSTNAME": host.name,
        "CALICO_DATA_DIR": str(DATA_DIR),
        "CALICO_RUN_DIR": str(host.run_dir),
        "CALICO_LOG_DIR": str(host.log_dir),
    }
    if lab.has_etcd:
        environ[_ETCD_ENDPOINTS] = ETCD_ENDPOINT
    return environ


def _path(given: str) -> str:
    """Add to PATH what a user's often lacks: `ip`, `nft`, and `calicoctl`."""
    own = str(Path(sys.executable).parent)
    known = given.split(os.pathsep)
    added = [each for each in (*_SYSTEM_PATHS, own) if each not in known]
    return os.pathsep.join([*known, *added])
