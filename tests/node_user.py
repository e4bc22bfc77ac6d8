"""Somebody who types `calicoctl` on a host that is a network namespace."""

import subprocess
from pathlib import Path

from agent_host import Host

CALICOCTL = Path(__file__).resolve().parents[1] / "calicoctl"


class User:
    """Somebody at the shell of a host."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["nsenter", f"--net={self.host.space.path}", str(CALICOCTL), *words],
            env=self.host.environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        started = self.start(*words)
        out, err = started.communicate(timeout=60)
        return started.returncode, out, err

    def done(self, *words: str) -> str:
        code, out, err = self.run(*words)
        assert code == 0, (words, out, err)
        return out
