"""How many addresses eight processes take in a second.

Prints, for each store, the rate of eight processes that stand for eight hosts,
of eight that are one host, and of one alone, with the time of one allocation.
The bare line is compare-and-sets of one key of its own by each of eight
processes, on the same store: what nobody can be faster than by much.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

from calico.ipam.assign import Assigner, Claim
from calico.model.block import Attributes
from calico.model.errors import CalicoError
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.snapshot import PoolKey
from calico.netset import Family
from calico.settings import Settings
from calico.store.api import Note, Put, Scope, Store, Transaction, View
from calico.store.open import open_store
from calico.store.resources import put_resource

NOTE = Note("bench", "host", "bench_ipam")
N_EACH = 500
N_PROCESSES = 8
UNTIL_S = 20.0


def bare(store: Store, number: int) -> Callable[[int], object]:
    """Return what compares and sets a key that is this process's alone."""
    key = f"/bench/{number}"

    def decide(_: View) -> tuple[Transaction, None]:
        return Transaction((), (Put(key, b"v" * 600),), NOTE), None

    return lambda _: store.update(Scope((key,)), decide)


def take(store: Store, host: str, number: int) -> Callable[[int], object]:
    """Return what takes the next address for an endpoint of its own."""
    assigner = Assigner(store)

    def act(n: int) -> object:
        handle = f"{host}.bench.w{number}-{time.time_ns()}-{n}.e"
        claim = Claim(HostName(host), Attributes(handle, {"time": "now"}), NOTE)
        return assigner.assign_next(Family.V4, claim)

    return act


def work(number: int, kind: str) -> None:
    """Be one of the processes: wait for the start, and say how long each took."""
    store = open_store(Settings.from_environment(os.environ))
    host = "one" if kind == "one" else f"host-{number}"
    act = bare(store, number) if kind == "bare" else take(store, host, number)
    act(-1)
    print("ready", flush=True)
    sys.stdin.readline()
    took: list[float] = []
    began = time.monotonic()
    for n in range(N_EACH):
        start = time.perf_counter()
        act(n)
        took.append((time.perf_counter() - start) * 1000)
    print(json.dumps({"began": began, "ended": time.monotonic(), "took": took}))
    store.close()


def race(name: str, environ: Mapping[str, str], kind: str, n_processes: int) -> None:
    """Let processes take addresses at once, and print how fast they were."""
    started = [
        subprocess.Popen(
            [sys.executable, "-P", __file__, str(number), kind],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(n_processes)
    ]
    for each in started:
        assert each.stdout is not None  # noqa: S101 -- it was asked for
        each.stdout.readline()
    for each in started:
        assert each.stdin is not None  # noqa: S101 -- it was asked for
        each.stdin.write("go\n")
        each.stdin.flush()
    found = [json.loads(each.communicate()[0]) for each in started]
    span = max(f["ended"] for f in found) - min(f["began"] for f in found)
    took = sorted(t for f in found for t in f["took"])
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    print(
        f"{name:44} {len(took) / span:8.0f} a second  p50 {p50:7.2f} ms"
        f"  p99 {p99:7.2f} ms"
    )


def measure(name: str, environ: Mapping[str, str]) -> None:
    """Print the figures of one store."""
    store = open_store(Settings.from_environment(environ))
    pool = ip_network("10.0.0.0/12")
    put = put_resource(PoolKey(pool), Pool(pool))
    store.commit(Transaction((), (put,), NOTE))
    race(f"{name}: bare compare-and-set, 8 processes", environ, "bare", N_PROCESSES)
    race(f"{name}: addresses, 8 hosts", environ, "hosts", N_PROCESSES)
    race(f"{name}: addresses, 8 processes of one host", environ, "one", N_PROCESSES)
    race(f"{name}: addresses, one process", environ, "hosts", 1)
    store.close()


@contextmanager
def etcd(directory: Path) -> Generator[Mapping[str, str]]:
    """Run an etcd of our own on the loopback."""
    ports: list[int] = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    client, peer = (f"http://127.0.0.1:{port}" for port in ports)
    words = ["etcd", "--name=m", f"--data-dir={directory}", "--log-level=error"]
    words += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
    words += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
    words += [f"--initial-cluster=m={peer}"]
    server = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        yield {"ETCD_ENDPOINTS": client}
    finally:
        server.kill()
        server.wait()


def wait_until_open(environ: Mapping[str, str]) -> None:
    """Return once the store answers."""
    until = time.monotonic() + UNTIL_S
    while True:
        try:
            open_store(Settings.from_environment(environ)).close()
        except CalicoError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def main() -> None:
    """Measure both stores."""
    directory = Path(
        tempfile.mkdtemp(prefix="calico-bench-", dir=os.environ.get("TMP"))
    )
    base = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
    base |= {"CALICO_DATA_DIR": str(directory / "sqlite"), "HOSTNAME": "bench"}
    try:
        measure("SQLite", base)
        with etcd(directory / "etcd") as found:
            environ = {**base, **found}
            wait_until_open(environ)
            measure("etcd", environ)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(int(sys.argv[1]), sys.argv[2])
    else:
        main()
