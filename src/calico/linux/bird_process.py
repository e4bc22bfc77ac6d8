"""How BIRD is started on this host, and whether the one installed will do.

Not here: who starts it and again when it ends (`node`).
"""

import os
import re
import shutil
import subprocess
from socket import AF_INET, AF_INET6

from calico.linux.bird import BirdFiles
from calico.linux.rtmessage import Kind, Message
from calico.linux.rtnetlink import Netlink, NetlinkRefused
from calico.model.errors import Unavailable

PROGRAM = "bird"
OLDEST_VERSION = (2, 0, 12)
"""The oldest one that this has been tried with."""

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_ROUTE_PROTOCOL = 12
_VERSION_TIMEOUT_S = 5.0
_VERSION = re.compile(r"BIRD version (\d+(?:\.\d+)*)")
_INSTALL = ("install Debian's package bird2", "use `calicoctl node --backend=none`")


def bird_command(files: BirdFiles) -> list[str]:
    """Return the command that starts BIRD in the foreground.

    If routes of one before it are in the kernel, it takes them over and tells
    its peers so. Otherwise it waits for nobody.

    Raises:
        Unavailable: The kernel does not list its routes.
    """
    argv = [PROGRAM, "-f", "-c", str(files.config), "-s", str(files.socket)]
    argv += ["-P", str(files.pid)]
    return [*argv, "-R"] if _has_left_routes() else argv


def find_bird() -> str:
    """Return the path of BIRD's binary.

    It is also looked for where administrators' programs are, which not every
    `PATH` of root holds.

    Raises:
        Unavailable: It is not installed.
    """
    found = shutil.which(PROGRAM, path=f"{os.environ.get('PATH', '')}:{_SBIN}")
    if found is None:
        raise Unavailable("BIRD", "is not installed", _INSTALL)
    return found


def find_usable_bird() -> str:
    """Return the path of BIRD's binary, which is one that we can use.

    Raises:
        Unavailable: It is not installed, too old, or does not say; with what to
            do about it.
    """
    program = find_bird()
    read_version(program)
    return program


def _has_left_routes() -> bool:
    """Report whether the kernel has routes that a BIRD put there.

    Source:
        include/uapi/linux/rtnetlink.h, RTPROT_BIRD.
    """
    sock = Netlink()
    try:
        for family in (AF_INET, AF_INET6):
            wanted = {"family": family, "proto": _ROUTE_PROTOCOL}
            # A kernel that does not select by protocol lists all there is.
            for each in sock.dump(Message(Kind.GETROUTE, wanted)):
                if each.fields["proto"] == _ROUTE_PROTOCOL:
                    return True
    except NetlinkRefused as error:
        raise Unavailable("route netlink", error.reason) from None
    finally:
        sock.close()
    return False


def read_version(program: str) -> tuple[int, ...]:
    """Ask a BIRD for its version, and make sure that it is one we can use.

    Raises:
        Unavailable: It is not installed, too old, or does not say; with what to
            do about it.
    """
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise Unavailable("BIRD", "is not installed", _INSTALL) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable("BIRD", f"cannot be run: {error}", _INSTALL) from None
    said = (done.stdout + done.stderr).strip()
    found = _VERSION.search(said)
    if found is None:
        reason = f"says {said[:60]!r} instead of its version"
        raise Unavailable("BIRD", reason, _INSTALL)
    version = tuple(int(each) for each in found[1].split("."))
    if version < OLDEST_VERSION:
        oldest = ".".join(str(each) for each in OLDEST_VERSION)
        reason = f"is version {found[1]}, and {oldest} or later is needed"
        raise Unavailable("BIRD", reason, _INSTALL)
    return version
