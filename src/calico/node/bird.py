"""BIRD as the supervisor runs it: one process, files in the run directory.

The agent writes its configuration; without one it is not started. It outlives
a supervisor that is killed, for it carries the routes of every workload, and
the next supervisor adopts it. It is told from whatever else has its process id
by the control socket in its command line.

To end it so that routes stay is to kill it: it leaves what is in the kernel,
and its peers, who are told nothing, keep what they know for as long as graceful
restart lets them (RFC 4724). SIGTERM has it withdraw everything from its peers.

Not here: what its files are called and with which words it is started
(`linux.bird`, `linux.bird_process`).
"""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from calico.linux.bird import BirdFiles
from calico.linux.bird_process import bird_command, find_bird
from calico.linux.bird_routes import delete_bird_routes
from calico.model.errors import Unavailable
from calico.node.child import Adopted, Child
from calico.node.signals import WITHDRAW
from calico.settings import DEFAULT_LOG_DIR

LOG_NAME = "bird.log"
MAX_LOG_BYTES = 10_000_000

_MAX_LAST_WORDS = 300
_ENDS_WITHIN_S = 5.0


def bird_signal(number: int) -> signal.Signals:
    """Return what ends BIRD when the supervisor is ended by a signal."""
    return signal.SIGTERM if number == WITHDRAW else signal.SIGKILL


class BirdProcess:
    """The BIRD of this host.

    Args:
        run_dir: The run directory.
        log_dir: The directory of the logs; only who starts it needs that.
    """

    def __init__(self, run_dir: Path, log_dir: Path = DEFAULT_LOG_DIR) -> None:
        self._files = BirdFiles(run_dir)
        self._log = log_dir / LOG_NAME
        self._log_begins = 0

    def make_child(self) -> Child:
        """Return BIRD as a child that is not started yet."""
        return Child("BIRD", self._start, self._files.config.exists, self._last_words)

    def running_pid(self) -> int | None:
        """Return the process id of the BIRD that uses these files, if one runs."""
        try:
            pid = int(self._files.pid.read_text("ascii"))
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self._files.socket) in words else None

    def adopt(self, child: Child, now: float) -> None:
        """Let a child be the BIRD that a killed supervisor has left, if any.

        One in another network namespace serves nobody here, and is ended.
        """
        pid = self.running_pid()
        if pid is None:
            return
        # It may end meanwhile.
        with suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/ns/net").samefile("/proc/self/ns/net"):
                child.adopt(Adopted(pid), now)
            else:
                self.end_leftover(signal.SIGKILL)

    def end_leftover(self, number: signal.Signals) -> None:
        """End the BIRD that a killed supervisor has left, if any, and wait for it."""
        if (pid := self.running_pid()) is None:
            return
        with suppress(ProcessLookupError):
            running = Adopted(pid)
            for each in (number, signal.SIGKILL):
                running.send_signal(each)
                running.wait(_ENDS_WITHIN_S)

    def retire(self) -> None:
        """Take everything of BIRD out of this host, if it was ours here.

        Without our configuration it was not: another BIRD may be at work.

        Raises:
            Unavailable: The kernel keeps its routes.
        """
        self.end_leftover(signal.SIGTERM)
        self.remove()
        if self._files.config.exists():
            delete_bird_routes()
            self._files.config.unlink()
            self._files.candidate.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove what a BIRD that has ended leaves; its configuration stays."""
        self._files.pid.unlink(missing_ok=True)
        self._files.socket.unlink(missing_ok=True)

    def limit_log(self) -> None:
        """Begin the log anew when it has become too long; the old one is kept.

        BIRD has the file open and always writes at its end.
        """
        with suppress(OSError):
            if self._log.stat().st_size > MAX_LOG_BYTES:
                shutil.copyfile(self._log, self._log.with_name(f"{LOG_NAME}.1"))
                os.truncate(self._log, 0)

    def _start(self) -> "subprocess.Popen[bytes]":
        try:
            binary = find_bird()
            words = bird_command(self._files)
        except Unavailable as error:
            raise OSError(0, str(error)) from None
        with self._log.open("ab") as log:
            self._log_begins = log.tell()
            return subprocess.Popen(
                [binary, *words[1:]],
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
            with self._log.open("rb") as log:
                log.seek(self._log_begins)
                lines = log.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        said = [each.strip() for each in lines if each.strip()]
        return said[-1][-_MAX_LAST_WORDS:] if said else ""


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
