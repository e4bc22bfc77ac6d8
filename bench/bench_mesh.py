"""What a mesh of all hosts costs one of them, at 10, 100 and 1,000 hosts.

Every host has an address and two blocks. Ours: the time from the resources of
the datastore to the text of BIRD's configuration, which every host spends when
any host comes or goes. BIRD's, in a namespace of its own: how long it takes to
read it, its memory, and the processor it needs while it tries to reach them,
none of whom answers. It takes about 40 seconds and needs root and BIRD.

    python bench/bench_mesh.py [--seconds=N]
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, ip_network
from pathlib import Path

from bench_agent import namespace, report, run
from bench_growth import cpu_time
from cluster import until

from calico.compiler.routing import compile_routing
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.routing import (
    AffinityKey,
    BgpAddressKey,
    RoutingKey,
    RoutingResource,
    RoutingSnapshot,
)
from calico.model.snapshot import PoolKey
from calico.netset import Family
from calico.render.bird import render_bird

PLACE = "ctmeshbench"
SIZES = (10, 100, 1000)
POOL = ip_network("10.64.0.0/10")
BLOCKS_OF_EACH = 2
BLOCK_SIZE = 64
UNDERLAY = IPv4Address("10.200.0.0")


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--seconds", type=float, default=8.0)
    given = words.parse_args()
    if os.geteuid() != 0 or shutil.which("bird") is None:
        print("bench_mesh: needs root and bird, left out")
        return 0
    for size in SIZES:
        directory = Path(tempfile.mkdtemp(prefix="ctmeshbench"))
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            stack.enter_context(namespace(PLACE))
            measure(size, directory, given.seconds)
    return 0


def measure(size: int, directory: Path, seconds: float) -> None:
    took, text = timed(lambda: configuration(size))
    print(f"{size} hosts", flush=True)
    report(
        "  resources to BIRD's configuration",
        f"{took * 1e3:.1f} ms, {len(text) / 1024:.1f} KiB",
    )
    file = directory / "bird.conf"
    file.write_text(text)
    for line in (
        "link add eth0 type veth peer name peer0",
        "link set peer0 up",
        f"addr add {UNDERLAY + 1}/16 dev eth0",
        "link set eth0 up",
    ):
        run("ip", "-n", PLACE, *line.split())
    with bird(directory) as pid:
        begun = cpu_time(pid)
        time.sleep(seconds)
        cpu = (cpu_time(pid) - begun) / seconds
        report("  BIRD, all peers unreachable", f"{cpu * 100:.2f} % of a CPU")
        report("  BIRD's memory", f"{rss_mib(pid):.1f} MiB")
        file.write_text(configuration(size + 1))
        before = cpu_time(pid)
        took, _ = timed(lambda: control(directory, "configure"))
        report(
            "  BIRD takes one host more",
            f"{took * 1e3:.1f} ms, {(cpu_time(pid) - before) * 1e3:.1f} ms of a CPU",
        )


def configuration(size: int) -> str:
    snapshot = RoutingSnapshot.of(resources(size))
    return render_bird(compile_routing(snapshot, HostName("host1")))


def resources(size: int) -> dict[RoutingKey, RoutingResource]:
    found: dict[RoutingKey, RoutingResource] = {PoolKey(POOL): Pool(POOL)}
    for number in range(1, size + 1):
        host = HostName(f"host{number}")
        found[BgpAddressKey(host, Family.V4)] = UNDERLAY + number
        for each in range(BLOCKS_OF_EACH):
            first = POOL.network_address + (number * BLOCKS_OF_EACH + each) * BLOCK_SIZE
            found[AffinityKey(host, ip_network(f"{first}/26"))] = True
    return found


@contextlib.contextmanager
def bird(directory: Path) -> Iterator[int]:
    argv = ["ip", "netns", "exec", PLACE, "bird", "-f", "-c", "bird.conf"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*argv, "-s", "bird.ctl"], cwd=directory, stdout=log, stderr=log
        )
    try:
        until((directory / "bird.ctl").exists, "BIRD answers")
        if process.poll() is not None:
            raise SystemExit((directory / "log").read_text())
        yield process.pid
    finally:
        process.kill()
        process.wait()


def control(directory: Path, word: str) -> str:
    done = subprocess.run(
        [shutil.which("birdc") or "birdc", "-s", "bird.ctl", word],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    if "Reconfigur" not in done.stdout:
        raise SystemExit(done.stdout)
    return done.stdout


def timed(work: Callable[[], str]) -> tuple[float, str]:
    started = time.perf_counter()
    made = work()
    return time.perf_counter() - started, made


def rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main())
