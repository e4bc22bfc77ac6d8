"""How a supervisor is stopped while others start and stop it, too."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from calico.cli.node_process import stop_supervisor
from calico.node.pidfile import FILE_NAME
from calico.settings import Settings

_REPLACED = """
import fcntl, os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print(os.getpid(), file=file, flush=True)
print("begun", flush=True)
signal.sigwait({signal.SIGTERM})
os.pwrite(file.fileno(), b"%d\\n" % os.getppid(), 0)
os.ftruncate(file.fileno(), len("%d\\n" % os.getppid()))
sys.stdin.read()
"""


def _settings(run_dir: Path) -> Settings:
    return Settings.from_environment({"CALICO_RUN_DIR": str(run_dir)})


def test_stop_does_not_wait_for_a_supervisor_that_began_meanwhile(
    tmp_path: Path,
) -> None:
    path = tmp_path / FILE_NAME
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _REPLACED, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"begun\n"
        try:
            assert stop_supervisor(_settings(tmp_path))
            assert path.read_text() == f"{os.getpid()}\n"
        finally:
            holder.stdin.close()


def test_stop_takes_a_supervisor_that_has_just_ended_for_stopped(
    tmp_path: Path,
) -> None:
    with subprocess.Popen([sys.executable, "-I", "-c", ""]) as ended:
        pass
    with (tmp_path / FILE_NAME).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{ended.pid}\n")
        file.flush()
        assert stop_supervisor(_settings(tmp_path))
