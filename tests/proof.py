"""Judge a million packets: what `make proof` runs.

`N` is how many, `CALICO_TEST_SEED` the number of the first policy. What is
compared is said in `differential`. On a terminal a line shows how far it is.
"""

import os
import sys
import time
from functools import partial
from random import Random

from differential import Outcome, run_cases
from namespaces import in_new_netns

N_CASES = 1_000_000
# The namespace is made anew after so many: a child process may not live long.
N_POLICIES = 100
MANY = 10**12


def main() -> int:
    """Run the proof; return 0 when there was no difference, 1 when there was."""
    wanted = _number("N", N_CASES, least=1)
    seed = _number("CALICO_TEST_SEED", Random().randrange(2**32), least=0)
    if wanted is None or seed is None:
        return 2
    sys.stdout.write(f"proof: seed {seed}\n")
    begun = time.monotonic()
    total = Outcome()
    while total.n_cases < wanted and not total.problems:
        first = seed + total.tally["policies"]
        one = in_new_netns(partial(run_cases, first, N_POLICIES))
        tally, met = total.tally + one.tally, total.met + one.met
        total = Outcome(one.problems, one.policy, tally, met)
        _show(total, wanted, time.monotonic() - begun)
    _report(total, seed, time.monotonic() - begun)
    return 1 if total.problems else 0


def _number(variable: str, default: int, *, least: int) -> int | None:
    """Read a number from the environment; `None` and a message when it is none."""
    text = os.environ.get(variable) or str(default)
    if text.isascii() and text.isdigit() and least <= int(text) < MANY:
        return int(text)
    sys.stderr.write(
        f"proof: {variable} is `{text}`, expected a number from {least} to {MANY - 1}\n"
    )
    return None


def _show(total: Outcome, wanted: int, elapsed_s: float) -> None:
    if sys.stdout.isatty():
        rate = total.n_cases / elapsed_s
        text = f"{total.n_cases:,} of {wanted:,} cases, {rate:,.0f} a second"
        sys.stdout.write(f"\rproof: {text}  ")
        sys.stdout.flush()


def _report(total: Outcome, seed: int, elapsed_s: float) -> None:
    if sys.stdout.isatty():
        sys.stdout.write("\r")
    for counter in (total.tally, total.met):
        counts = ", ".join(f"{n:,} {kind}" for kind, n in sorted(counter.items()))
        sys.stdout.write(f"proof: {counts}\n")
    sys.stdout.write(
        f"proof: seed {seed}: {total.n_cases:,} cases,"
        f" {len(total.problems)} mismatches,"
        f" {total.n_cases / elapsed_s:,.0f} cases a second, {elapsed_s:.0f} s\n"
    )
    if total.problems:
        sys.stdout.write(f"{total.report}\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
