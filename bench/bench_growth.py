"""Does what one change costs grow with what it does not concern?

The same changes as in `bench_agent`, each at two sizes of one thing, all else
being equal: the members of a tag, the profiles that no local endpoint lists,
the local endpoints, and the profiles that these list. A ratio near one says
that the size does not matter. The time of the processor says so on a busy
machine too, and contains what comes after the commit: the look for flows that
the change may deny. It takes about two minutes and needs root.

    python bench/bench_growth.py [--rounds=N]
"""

import argparse
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench_agent import (
    HERE,
    THERE,
    Load,
    agent,
    commit,
    environment,
    events_in,
    fill,
    kinds,
    make_links,
    namespace,
    report,
    time_change,
    wait,
)

from calico.codec.keys import READY_KEY
from calico.control.client import ask_status
from calico.settings import Settings
from calico.store.api import Put
from calico.store.open import open_store


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--rounds", type=int, default=100)
    n_rounds: int = words.parse_args().rounds
    if os.geteuid() != 0:
        print("bench_growth: needs root, left out")
        return 0
    small = measure(Load(100, 100, n_rounds, 10, 10))
    show("members 100 to 100,000", small, Load(100, 100_000, n_rounds, 10, 10))
    show("profiles elsewhere 10 to 1,000", small, Load(100, 100, n_rounds, 10, 1000))
    many = show("endpoints 100 to 1,000", small, Load(1000, 100, n_rounds, 10, 10))
    show("profiles here 10 to 1,000", many, Load(1000, 100, n_rounds, 1000, 10))
    return 0


@dataclass(frozen=True)
class Cost:
    """What a change costs.

    Attributes:
        cpu_s: Time of a processor in the agent, the kernel's work for it included.
        delay_s: Median until the kernel says that it is in.
    """

    cpu_s: float
    delay_s: float


def show(what: str, before: dict[str, Cost], load: Load) -> dict[str, Cost]:
    print(what, flush=True)
    after = measure(load)
    for kind, cost in before.items():
        grown = after[kind]
        report(f"  {kind}: CPU", compared(cost.cpu_s, grown.cpu_s))
        report("    in the kernel after", compared(cost.delay_s, grown.delay_s))
    return after


def compared(before_s: float, after_s: float) -> str:
    ratio = after_s / before_s
    return f"{before_s * 1e3:.2f} ms, {after_s * 1e3:.2f} ms, that is x{ratio:.2f}"


def measure(load: Load) -> dict[str, Cost]:
    """Return what each kind of change costs."""
    with contextlib.ExitStack() as stack:
        for name in (HERE, THERE):
            stack.enter_context(namespace(name))
        directory = Path(tempfile.mkdtemp(prefix="ctgrowthbench"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        settings = Settings.from_environment(environment(directory))
        store = open_store(settings)
        stack.callback(store.close)
        commit(store, [Put(READY_KEY, b"true")])
        make_links(load.n_endpoints + load.n_rounds)
        fill(store, load)
        stack.enter_context(agent(directory))
        wait(settings, store)
        pid = ask_status(settings.run_dir).pid
        events = events_in(HERE)
        stack.callback(events.close)
        costs: dict[str, Cost] = {}
        for kind in kinds(load):
            started = cpu_time(pid)
            delays = [
                time_change(kind, number, store, events)
                for number in range(load.n_rounds)
            ]
            wait(settings, store)
            cpu_s = (cpu_time(pid) - started) / load.n_rounds
            costs[kind.name] = Cost(cpu_s, statistics.median(delays))
        return costs


def cpu_time(pid: int) -> float:
    """Return how long all threads of a process have run, in seconds."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in threads) / 1e9


if __name__ == "__main__":
    sys.exit(main())
