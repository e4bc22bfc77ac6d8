"""The launcher of a checkout, before anything is set up."""

import shutil
import subprocess
import sys
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


def test_checkout_that_was_moved_says_where_to_build_anew(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    venv = before / ".venv"
    make = [sys.executable, "-m", "venv", "--without-pip", str(venv)]
    subprocess.run(make, check=True)
    shutil.copy2(LAUNCHER, before)
    package = before / "src" / "calico" / "cli"
    package.mkdir(parents=True)
    (package / "main.py").write_text("def run():\n    print('runs')\n", "utf-8")
    (packages,) = venv.glob("lib/*/site-packages")
    (packages / "checkout.pth").write_text(f"{before / 'src'}\n", "utf-8")

    def run(directory: Path) -> tuple[int, str, str]:
        command = ["./calicoctl", "version"]
        ended = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, check=False
        )
        return ended.returncode, ended.stdout, ended.stderr

    assert run(before) == (0, "runs\n", "")
    before.rename(after)
    said = f"the environment was built elsewhere; run `make env` in {after}\n"
    assert run(after) == (1, "", f"calicoctl: {said}")
    # A fault of our own is not taken for it.
    (after / ".venv/lib").joinpath(packages.relative_to(venv / "lib")).joinpath(
        "checkout.pth"
    ).write_text(f"{after / 'src'}\n", "utf-8")
    (after / "src/calico/cli/main.py").write_text("import absent\n", "utf-8")
    code, _, err = run(after)
    assert (code, "No module named 'absent'" in err) == (1, True)
