"""The etcd of a lab: one member, in a namespace of its own.

It keeps what it has on the lab's own file system and ends with the lab. Its
clients reach it over the network that the hosts share, so whatever cuts that
off cuts off the datastore as well; for etcdctl beside it it listens on the
loopback, too.
"""

import platform
import shutil
import subprocess
import time
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from calico.lab.errors import LabError
from calico.lab.network import PROGRAM_PATHS
from calico.lab.plan import ETCD, ETCD_ENDPOINT, ETCD_IPV4, ROOT

_DIRECTORY = ROOT / ETCD
_LOG = _DIRECTORY / "etcd.log"
_PORT = 2379
_LOCAL = f"http://127.0.0.1:{_PORT}"
_PEERS = "http://127.0.0.1:2380"
_READY_WITHIN_S = 20.0
_ANSWER_WITHIN_S = 1.0
_PAUSE_S = 0.02


def find_etcd() -> str:
    """Find the program.

    Raises:
        LabError: It is not installed.
    """
    program = shutil.which("etcd", path=PROGRAM_PATHS)
    if program is None:
        steps = (
            "install etcd; Debian's package is etcd-server",
            "leave out `--etcd`: the hosts then share a datastore in a file",
        )
        raise LabError("etcd", "not installed", steps)
    return program


def start_etcd() -> None:
    """Start the member and wait until it serves. Runs inside the lab, beside it.

    Raises:
        LabError: It is not installed, or does not serve.
    """
    program = find_etcd()
    _DIRECTORY.mkdir()
    with _LOG.open("ab") as log:
        process = subprocess.Popen(
            [program, *_OPTIONS],
            # Its options can be variables, too, and the user's are not meant.
            env=_environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + _READY_WITHIN_S
    while not _is_serving():
        if process.poll() is not None:
            raise LabError("etcd", f"ended with code {process.returncode}: {_said()}")
        if time.monotonic() > deadline:
            raise LabError(
                "etcd", f"does not serve after {_READY_WITHIN_S:g} s: {_said()}"
            )
        time.sleep(_PAUSE_S)
    # It stays, as a child of the holder's.
    process.returncode = 0


_OPTIONS = (
    "--name=lab",
    f"--data-dir={_DIRECTORY / 'data'}",
    f"--listen-client-urls={ETCD_ENDPOINT},{_LOCAL}",
    f"--advertise-client-urls={ETCD_ENDPOINT}",
    f"--listen-peer-urls={_PEERS}",
    f"--initial-advertise-peer-urls={_PEERS}",
    f"--initial-cluster=lab={_PEERS}",
    "--logger=zap",
    "--log-level=warn",
)


def _environment() -> dict[str, str]:
    environ = {"PATH": PROGRAM_PATHS}
    if platform.machine() == "aarch64":
        # Before 3.5 it starts on this machine only when told that it may.
        environ["ETCD_UNSUPPORTED_ARCH"] = "arm64"
    return environ


def _is_serving() -> bool:
    connection = HTTPConnection(str(ETCD_IPV4), _PORT, timeout=_ANSWER_WITHIN_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _said() -> str:
    lines = _LOG.read_text("utf-8", "replace").splitlines()
    return lines[-1] if lines else "it says nothing"
