"""How long a person waits for `calicoctl`, as a whole process.

Beside it, in turn: the same interpreter doing nothing, and nft(8) listing one
chain of an empty table in a namespace of its own. Medians of many runs; the
ratios are what to compare between machines.
"""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
N_RUNS = 40


def wall_ms(words: Sequence[str], environment: Mapping[str, str]) -> float:
    """Run a command once and return how long it took."""
    start = time.perf_counter()
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def main() -> None:
    """Print the medians and their ratios to the bare interpreter."""
    calicoctl = str(ROOT / "calicoctl")
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "CALICO_DATA_DIR": directory}
        for words in (
            ("profile", "add", "WEB"),
            ("pool", "add", "192.168.0.0/16"),
        ):
            wall_ms((calicoctl, *words), environment)
        commands: dict[str, tuple[str, ...]] = {
            "python -I -c pass": (str(ROOT / ".venv/bin/python"), "-I", "-c", "pass"),
            "calicoctl profile WEB rule show": (
                calicoctl,
                "profile",
                "WEB",
                "rule",
                "show",
            ),
            "calicoctl profile WEB tag add X": (
                calicoctl,
                "profile",
                "WEB",
                "tag",
                "add",
                "X",
            ),
            "calicoctl pool show (a table)": (calicoctl, "pool", "show"),
            "calicoctl version": (calicoctl, "version"),
        }
        if shutil.which("nft") and os.geteuid() == 0:
            commands["nft list tables"] = ("nft", "list", "tables")
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(N_RUNS):
            for name, words in commands.items():
                times[name].append(wall_ms(words, environment))
    base = statistics.median(next(iter(times.values())))
    print(f"{'median ms':>10} {'p90 ms':>8} {'ratio':>6}  command")
    for name, taken in times.items():
        median = statistics.median(taken)
        p90 = statistics.quantiles(taken, n=10)[8]
        print(f"{median:10.1f} {p90:8.1f} {median / base:6.2f}  {name}")


if __name__ == "__main__":
    main()
