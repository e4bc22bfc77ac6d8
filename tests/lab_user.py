"""A user of labs for tests: runs calicoctl, and sees what is left behind."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CALICOCTL = str(ROOT / "calicoctl")
PYTHON = str(ROOT / ".venv" / "bin" / "python")
NOBODY = 65534
_DIRECTORIES = ("CALICO_DATA_DIR", "CALICO_RUN_DIR", "CALICO_LOG_DIR")
DEADLINE_S = 60.0
"""How long anything may take; nothing is expected to come near."""


@dataclass(frozen=True)
class LabUser:
    """Somebody who uses labs, with a directory of labs of his own.

    Attributes:
        uid: Who; also the group.
        directory: Where his labs are written down; he may write there.
    """

    uid: int
    directory: Path

    @property
    def environ(self) -> dict[str, str]:
        kept = ("PATH", "LANG", "PYTHONDONTWRITEBYTECODE", *_DIRECTORIES)
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "CALICO_LAB_DIR": str(self.directory / "labs"),
            "HOME": str(self.directory),
            "HISTFILE": "",
            "TMPDIR": str(self.directory),
        }

    def start(
        self, *argv: str, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        changes = os.geteuid() != self.uid
        return subprocess.Popen(
            argv,
            cwd=ROOT,
            env=self.environ,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            user=self.uid if changes else None,
            group=self.uid if changes else None,
            extra_groups=[] if changes else None,
        )

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*argv)
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
        return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)

    def lab(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(CALICOCTL, "lab", *words)

    def done(self, *words: str) -> str:
        """Run a command of the lab that must work; return what it prints."""
        ended = self.lab(*words)
        assert ended.returncode == 0, f"{words}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def holders(self) -> set[int]:
        """List the holders of this user's labs, those that tests started."""
        return {
            pid
            for pid in processes()
            if self._is_ours(pid) and _is_holder(cmdline(pid))
        }

    def left_behind(self) -> str:
        """Say what of labs there still is; empty when there is nothing."""
        files = [str(each) for each in self.directory.rglob("*") if each.is_file()]
        return "\n".join([*files, *self.running()])

    def running(self) -> list[str]:
        """List the processes of labs and of commands that tests started."""
        return [f"{pid} {cmdline(pid)}" for pid in processes() if self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        """Tell whether a process, or what started it, was started by `run`."""
        mark = f"CALICO_LAB_DIR={self.directory}/labs\0".encode()
        home = f"HOME={self.directory}\0".encode()
        try:
            found = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return mark in found or home in found


def processes() -> Iterator[int]:
    """List the processes of the machine that this process can see."""
    return (int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())


def cmdline(pid: int) -> str:
    """Read the command line of a process; empty when it is gone."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")
    except OSError:
        return ""
    return text.replace("\0", " ")


def _is_holder(command: str) -> bool:
    return "calico.lab.holder" in command


def until(condition: Callable[[], bool]) -> bool:
    """Wait for a condition; false when it has not come true in time."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def lab_user(uid: int) -> Generator[LabUser]:
    """Be a user for a while; afterwards nothing may be left of his labs."""
    if uid != os.geteuid():
        require_other_user(uid)
    with tempfile.TemporaryDirectory(prefix="ctlab-", dir="/tmp") as name:
        directory = Path(name)
        os.chown(directory, uid, uid)
        user = LabUser(uid, directory)
        try:
            yield user
        finally:
            left = user.left_behind()
            for pid in user.holders():
                os.kill(pid, 9)
            assert until(lambda: not user.holders())
        assert left == "", f"left behind:\n{left}"


def require_other_user(uid: int) -> None:
    """Skip where the user does not exist or cannot run this checkout."""
    if Path("/proc/self/uid_map").read_text("ascii").split()[2] == "1":
        pytest.skip("there is no other user in this user namespace")
    if not all(each.stat().st_mode & 0o001 for each in ROOT.parents):
        pytest.skip(f"user {uid} cannot read {ROOT}")
