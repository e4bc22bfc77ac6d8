"""The launcher of a checkout, before anything is set up."""

import shutil
import subprocess
from pathlib import Path

LAUNCHER = Path(__file__).resolve().parents[2] / "calicoctl"


def test_checkout_without_environment_says_where_to_make_one(tmp_path: Path) -> None:
    shutil.copy2(LAUNCHER, tmp_path)
    ended = subprocess.run(
        ["./calicoctl"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    said = f"calicoctl: no environment yet; run `make env` in {tmp_path}\n"
    assert ended.stderr == said
