"""The benchmarks are run by hand, so a rename could break one unnoticed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"
PROGRAMS = sorted(path.stem for path in BENCH.glob("bench_*.py"))


@pytest.mark.parametrize("program", PROGRAMS)
def test_benchmark_finds_all_that_it_imports(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import {program}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(BENCH)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_there_are_benchmarks() -> None:
    assert PROGRAMS
