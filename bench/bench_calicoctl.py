"""How long a person waits for `calicoctl`, as a whole process.

One datastore holds one profile and one pool; the other, which `explain` is
asked about, 1,000 endpoints of this host and 100 profiles of 10 rules.
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
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    ProfileId,
    TagName,
    WorkloadId,
)
from calico.model.rule import Action, Peer, PortRange, ProfileRules, Protocol, Rule
from calico.model.snapshot import ProfileRulesKey, ProfileTagsKey
from calico.settings import Settings
from calico.store.api import Note, Put, Transaction
from calico.store.open import open_store
from calico.store.resources import put_resource

ROOT = Path(__file__).parent.parent
N_RUNS = 40
N_ENDPOINTS = 1000
N_PROFILES = 100
N_RULES = 10
HOST = HostName("bench1")
EXPLAIN = "calicoctl explain (1,000 endpoints; target 150 ms)"


def wall_ms(words: Sequence[str], environment: Mapping[str, str]) -> float:
    """Run a command once and return how long it took."""
    start = time.perf_counter()
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def write_load(environment: Mapping[str, str]) -> None:
    """Fill a datastore with endpoints and profiles."""
    puts: list[Put] = []
    for number in range(N_PROFILES):
        name = f"P{number}"
        inbound = tuple(
            Rule(
                Action.ALLOW,
                Protocol.TCP,
                source=Peer(tag=TagName(f"P{(number + rule) % N_PROFILES}")),
                destination=Peer(ports=(PortRange(8000 + rule, 8000 + rule),)),
            )
            for rule in range(N_RULES)
        )
        rules = ProfileRules(inbound, (Rule(Action.ALLOW),))
        puts.append(put_resource(ProfileRulesKey(ProfileId(name)), rules))
        puts.append(put_resource(ProfileTagsKey(ProfileId(name)), (TagName(name),)))
    for number in range(N_ENDPOINTS):
        key = EndpointKey(
            HOST,
            OrchestratorId("namespace"),
            WorkloadId(f"/run/netns/w{number}"),
            EndpointId(f"{number:032x}"),
        )
        endpoint = WorkloadEndpoint(
            key,
            EndpointState.ACTIVE,
            InterfaceName(f"cali{number}"),
            b"\xee" * 6,
            (ProfileId(f"P{number % N_PROFILES}"),),
            (
                IPv4Address("10.65.0.1") + number,
                IPv6Address("fd65::1") + number,
            ),
        )
        puts.append(put_resource(key, endpoint))
    store = open_store(Settings.from_environment(environment))
    store.commit(Transaction((), tuple(puts), Note("bench", HOST, "bench_calicoctl")))
    store.close()


def main() -> None:
    """Print the medians and their ratios to the bare interpreter."""
    calicoctl = str(ROOT / "calicoctl")
    with (
        tempfile.TemporaryDirectory() as directory,
        tempfile.TemporaryDirectory() as full,
    ):
        environment = {**os.environ, "CALICO_DATA_DIR": directory, "HOSTNAME": HOST}
        loaded = {**environment, "CALICO_DATA_DIR": full}
        write_load(loaded)
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
            EXPLAIN: (calicoctl, "explain", "w1", "w101", "tcp", "8000"),
        }
        if shutil.which("nft") and os.geteuid() == 0:
            commands["nft list tables"] = ("nft", "list", "tables")
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(N_RUNS):
            for name, words in commands.items():
                where = loaded if name == EXPLAIN else environment
                times[name].append(wall_ms(words, where))
    base = statistics.median(next(iter(times.values())))
    print(f"{'median ms':>10} {'p90 ms':>8} {'ratio':>6}  command")
    for name, taken in times.items():
        median = statistics.median(taken)
        p90 = statistics.quantiles(taken, n=10)[8]
        print(f"{median:10.1f} {p90:8.1f} {median / base:6.2f}  {name}")


if __name__ == "__main__":
    main()
