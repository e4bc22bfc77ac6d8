"""BIRD as the supervisor runs it: one process, files in the run directory.

The agent writes its configuration; without one it is not started. It outlives
a supervisor that is killed, for it carries the routes of every workload, and
the next supervisor adopts it. It is told from whatever else has its process id
by the control socket in its command line.

To end it so that routes stay is to kill it: it leaves what is in the kernel,
and its peers, who are told nothing, keep what they know for as long as graceful
restart lets them (RFC 4724). SIGTERM has it withdraw everything from its peers.
"""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from calico.model.errors import Unavailable
from calico.node.child import Adopted, Child
from calico.settings import DEFAULT_LOG_DIR

CONFIG_NAME = "bird.conf"
CONTROL_NAME = "bird.ctl"
PID_NAME = "bird.pid"
LOG_NAME = "bird.log"

MAX_LOG_BYTES = 10_000_000

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_MAX_LAST_WORDS = 300
_KILLED_WITHIN_S = 5.0


def find_bird() -> str | None:
    """Return the path of BIRD's binary, if there is one."""
    return shutil.which("bird", path=f"{os.environ.get('PATH', '')}:{_SBIN}")


class BirdFiles:
    """Where BIRD's files are.

    Args:
        run_dir: The run directory.
        log_dir: The directory of the logs; only who starts it needs that.
    """

    def __init__(self, run_dir: Path, log_dir: Path = DEFAULT_LOG_DIR) -> None:
        self.config = run_dir / CONFIG_NAME
        self.control = run_dir / CONTROL_NAME
        self.pid = run_dir / PID_NAME
        self.log = log_dir / LOG_NAME
        self._log_begins = 0

    def make_child(self) -> Child:
        """Return BIRD as a child that is not started yet."""
        return Child("BIRD", self._start, self.config.exists, self._last_words)

    def running_pid(self) -> int | None:
        """Return the process id of the BIRD that uses these files, if one runs."""
        try:
            pid = int(self.pid.read_text("ascii"))
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self.control) in words else None

    def adopt(self, child: Child, now: float) -> None:
        """Let a child be the BIRD that a killed supervisor has left, if any.

        One in another network namespace serves nobody here, and is ended.
        """
        pid = self.running_pid()
        if pid is None:
            return
        try:
            space = Path(f"/proc/{pid}/ns/net")
            if space.samefile("/proc/self/ns/net"):
                child.adopt(Adopted(pid), now)
            else:
                self.kill_leftover()
        except (FileNotFoundError, ProcessLookupError):
            # It has ended meanwhile.
            return

    def kill_leftover(self) -> None:
        """End the BIRD that a killed supervisor has left, so that routes stay."""
        if (pid := self.running_pid()) is not None:
            with suppress(ProcessLookupError):
                running = Adopted(pid)
                running.send_signal(signal.SIGKILL)
                running.wait(_KILLED_WITHIN_S)

    def retire(self) -> None:
        """Take everything of BIRD out of this host, if it was ours here.

        Without our configuration it was not: another BIRD may be at work.

        Raises:
            Unavailable: The kernel keeps its routes.
        """
        self.kill_leftover()
        self.remove()
        if self.config.exists():
            from calico.linux.bird_routes import (  # noqa: PLC0415 -- as below
                delete_bird_routes,
            )

            delete_bird_routes()
            self.config.unlink()

    def remove(self) -> None:
        """Remove what a BIRD that has ended leaves; its configuration stays."""
        self.pid.unlink(missing_ok=True)
        self.control.unlink(missing_ok=True)

    def limit_log(self) -> None:
        """Begin the log anew when it has become too long; the old one is kept.

        BIRD has the file open and always writes at its end.
        """
        with suppress(OSError):
            if self.log.stat().st_size > MAX_LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_name(f"{LOG_NAME}.1"))
                os.truncate(self.log, 0)

    def _start(self) -> "subprocess.Popen[bytes]":
        binary = find_bird()
        if binary is None:
            raise FileNotFoundError(2, "not found: install the package bird2", "bird")
        words = [binary, "-f", "-c", str(self.config), "-s", str(self.control)]
        words += ["-P", str(self.pid)]
        # With routes in the kernel, there was one before it. With this, it lets
        # them be until its peers have told it all.
        if _has_routes():
            words.append("-R")
        with self.log.open("ab") as log:
            self._log_begins = log.tell()
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                # It would never hear of the signals that are blocked in us.
                preexec_fn=_unblock_signals,  # noqa: PLW1509 -- we have one thread
            )

    def _last_words(self) -> str:
        try:
            with self.log.open("rb") as log:
                log.seek(self._log_begins)
                lines = log.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        said = [each.strip() for each in lines if each.strip()]
        return said[-1][-_MAX_LAST_WORDS:] if said else ""


def _has_routes() -> bool:
    # Imported late: a host without BIRD needs none of it.
    from calico.linux.bird_routes import has_bird_routes  # noqa: PLC0415 -- see above

    try:
        return has_bird_routes()
    except Unavailable:
        # If there are none, it is late with the first ones, and that is all.
        return True


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
