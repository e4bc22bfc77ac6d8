"""How long it takes to say who can talk to whom.

1,000 endpoints on 10 hosts, 100 profiles of 10 rules each (5 inbound, 5
outbound). Ten endpoints have each profile first, every third of them a common
one behind it, and each has an IPv4 and an IPv6 address.
Medians of several runs: the whole process `calicoctl reach`, and within one
process the compilation of all hosts and the matrices of both families. The
target is 5 s for the process as a whole.
"""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from random import Random

from calico.analysis.reach import reach
from calico.analysis.shadow import find_shadows
from calico.compiler.host import compile_host
from calico.compiler.rules import compile_profile
from calico.ir.state import DesiredState
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    ProfileId,
    Revision,
    TagName,
    WorkloadId,
)
from calico.model.rule import (
    Action,
    Cidr,
    Peer,
    PortRange,
    ProfileRules,
    Protocol,
    Rule,
)
from calico.model.snapshot import ProfileRulesKey, ProfileTagsKey, Snapshot
from calico.netset import Family
from calico.settings import Settings
from calico.store.api import Note, Transaction
from calico.store.open import open_store
from calico.store.resources import put_resource

ROOT = Path(__file__).parent.parent
N_RUNS = 3
N_ENDPOINTS = 1_000
N_HOSTS = 10
N_PROFILES = 100
N_RULES = 5
TARGET_S = 5.0
PROFILES = tuple(ProfileId(f"P{number}") for number in range(N_PROFILES))


def rule(random: Random) -> Rule:
    """Draw a rule as people write them: a tag or a network, and a port."""
    tag = cidr = None
    kind = random.choice(("tag", "tag", "tag", "network", "anybody"))
    if kind == "tag":
        tag = TagName(random.choice(PROFILES))
    elif kind == "network":
        text = f"10.{random.randrange(4)}.{random.randrange(16)}.0/24"
        cidr = Cidr(ip_network(text), text)
    action = random.choice((*[Action.ALLOW] * 9, Action.DENY))
    port = random.choice((22, 53, 80, 443, 5432, 8080))
    protocol = random.choice((Protocol.TCP, Protocol.TCP, Protocol.UDP))
    return Rule(
        action=action,
        protocol=protocol,
        source=Peer(tag=tag, cidr=cidr),
        destination=Peer(ports=(PortRange(port, port),)),
    )


def snapshot(random: Random) -> Snapshot:
    """Draw a cluster."""
    endpoints: dict[EndpointKey, WorkloadEndpoint] = {}
    for number in range(N_ENDPOINTS):
        key = EndpointKey(
            HostName(f"host-{number % N_HOSTS}"),
            OrchestratorId("docker"),
            WorkloadId(f"w{number}"),
            EndpointId(f"e{number}"),
        )
        endpoints[key] = WorkloadEndpoint(
            key,
            EndpointState.ACTIVE,
            InterfaceName(f"cali{number}"),
            bytes((2, 0, 0, 0, *divmod(number, 256))),
            (PROFILES[number % N_PROFILES], *random.choice(((), (), PROFILES[:1]))),
            (
                ip_address(f"10.{number % 4}.{number >> 8}.{number & 255}"),
                ip_address(f"fd00::{number + 1:x}"),
            ),
        )
    rules = {
        profile: ProfileRules(
            tuple(rule(random) for _ in range(N_RULES)),
            (*(rule(random) for _ in range(N_RULES - 1)), Rule(Action.ALLOW)),
        )
        for profile in PROFILES
    }
    tags = {profile: (TagName(profile),) for profile in PROFILES}
    return Snapshot(Revision(1), tags, rules, endpoints)


def fill(drawn: Snapshot, environment: Mapping[str, str]) -> None:
    """Write a cluster into a store of its own."""
    puts = [
        *(put_resource(key, each) for key, each in drawn.endpoints.items()),
        *(put_resource(ProfileTagsKey(p), each) for p, each in drawn.tags.items()),
        *(put_resource(ProfileRulesKey(p), each) for p, each in drawn.rules.items()),
    ]
    store = open_store(Settings.from_environment(environment))
    for put in puts:
        store.commit(Transaction((), (put,), Note("bench", "bench", "bench")))
    store.close()


def median_s(run: Callable[[], object]) -> float:
    """Run several times and return the median of the seconds."""
    taken: list[float] = []
    for _ in range(N_RUNS):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    """Print the figures beside the target."""
    drawn = snapshot(Random(1))  # noqa: S311 -- a cluster, not a key
    hosts = sorted({key.host for key in drawn.endpoints})
    taken = {a for each in drawn.endpoints.values() for a in each.addresses}
    states: dict[HostName, DesiredState] = {}

    def compile_all() -> None:
        states.update({host: compile_host(drawn, host) for host in hosts})

    def both_matrices() -> None:
        for family in Family:
            reach(states, taken, family)

    def all_shadows() -> None:
        for name, rules in drawn.rules.items():
            find_shadows(compile_profile(name, rules), states)

    figures = {
        "compile 10 hosts": median_s(compile_all),
        "matrices of both families": median_s(both_matrices),
        "shadowed rules of all profiles": median_s(all_shadows),
    }
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "CALICO_DATA_DIR": directory}
        fill(drawn, environment)
        for words in (
            ("reach",),
            ("reach", "-o", "json"),
            ("reach", "--by=profile", "-o", "json"),
            ("reach", "--shadowed"),
        ):
            figures[f"calicoctl {' '.join(words)}"] = median_s(
                lambda words=words: subprocess.run(
                    [str(ROOT / "calicoctl"), *words],
                    env=environment,
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
            )
    print(f"{'median s':>9} {'target s':>9}  what")
    for what, seconds in figures.items():
        print(f"{seconds:9.2f} {TARGET_S:9.1f}  {what}")


if __name__ == "__main__":
    main()
