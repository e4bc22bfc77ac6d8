"""What one agent reads at its start: 100,000 endpoints out of etcd.

The listing alone, which shows one revision; then the same as the agent takes
it, decoded. Beside the listing: `etcdctl` reading the same keys and throwing
them away. Then what it costs etcd, from which follows what a thousand agents
cost that start together. It takes about a minute and needs root.

    python bench/bench_snapshot.py [--keys=N] [--rounds=N]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench_agent import remote_endpoint, report
from cluster import Member, Site, environment, fill, lacks, site

from calico.codec.keys import POLICY_PREFIX
from calico.model.names import ProfileId
from calico.settings import Settings
from calico.store.feed import Everything, PolicyFeed
from calico.store.open import open_store
from calico.store.resources import put_resource

MIB = 1 << 20
N_PROFILES = 200


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--keys", type=int, default=100_000)
    words.add_argument("--rounds", type=int, default=7)
    words.add_argument("--only-list", action="store_true", help=argparse.SUPPRESS)
    given = words.parse_args()
    if given.only_list:
        only_list()
        return 0
    if why := lacks():
        print(f"bench_snapshot: {why}, left out")
        return 0
    with site(1) as made:
        run_all(made, given.keys, given.rounds)
    return 0


def run_all(made: Site, n_keys: int, n_rounds: int) -> None:
    store = made.open_store()
    started = time.perf_counter()
    endpoints = (
        remote_endpoint((1 << 16) + n, ProfileId(f"PROFILE{n % N_PROFILES}"))
        for n in range(n_keys)
    )
    fill(store, [put_resource(each.key, each) for each in endpoints])
    report(f"{n_keys:,} keys written", f"{time.perf_counter() - started:.1f} s")
    member = made.etcd.members[0]
    before = member.cost()
    listings = [
        timed(lambda: store.list_prefix(POLICY_PREFIX)) for _ in range(n_rounds)
    ]
    cost = member.cost().since(before)
    took = statistics.median(listings)
    report(
        "listing at one revision",
        f"median {took:.3f} s, longest {max(listings):.3f} s (to reach: 1)",
    )
    report("  beside: etcdctl get --prefix", beside(member, took))
    report("  memory at its peak", f"+{memory_of_listing(made)} MiB (to reach: 100)")
    report(
        "  costs etcd",
        f"{cost.cpu_s / n_rounds:.3f} s of a CPU, {cost.sent / n_rounds / MIB:.1f} MiB",
    )
    before = member.cost()
    newest = store.last_change((POLICY_PREFIX,))
    surveys = [timed(lambda: store.survey(POLICY_PREFIX, newest)) for _ in range(3)]
    cost = member.cost().since(before)
    report("compared with what is known", f"median {statistics.median(surveys):.3f} s")
    report(
        "  costs etcd",
        f"{cost.cpu_s / 3:.3f} s of a CPU, {cost.sent / 3 / 1024:.1f} KiB",
    )
    settings = made.etcd.settings(made.directory)
    decoded = timed(lambda: read_decoded(settings, n_keys))
    report("listed and decoded, as at a start", f"{decoded:.2f} s")
    report("  beside: the listing", f"x{decoded / took:.2f}")


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def beside(member: Member, took: float) -> str:
    if not member.figures():
        return "not measured"
    argv = [
        "/usr/bin/env",
        "etcdctl",
        f"--endpoints={member.url}",
        "get",
        "--prefix",
        POLICY_PREFIX,
    ]
    rival = timed(
        lambda: subprocess.run(
            argv, check=True, stdout=subprocess.DEVNULL, env={"ETCDCTL_API": "3"}
        )
    )
    return f"{rival:.3f} s, that is x{rival / took:.2f}"


def read_decoded(settings: Settings, n_keys: int) -> None:
    events = PolicyFeed(lambda: open_store(settings)).events()
    for event in events:
        if isinstance(event, Everything):
            if len(event.items) < n_keys:
                raise SystemExit(f"{len(event.items)} of {n_keys} keys were read")
            return


def memory_of_listing(made: Site) -> str:
    """Let a process of its own list, and say how far its memory grows."""
    values = environment(made.directory, "bench", made.etcd)
    argv = [sys.executable, "-P", __file__, "--only-list"]
    path = {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        argv, env={**values, **path}, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def only_list() -> None:
    store = open_store(Settings.from_environment(os.environ))
    store.list_prefix(f"{POLICY_PREFIX}Ready")
    before = peak_mib()
    listing = store.list_prefix(POLICY_PREFIX)
    print(f"{peak_mib() - before:.0f}" if listing.items else "nothing listed")
    store.close()


def peak_mib() -> float:
    # Not getrusage: that remembers the process which started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main())
