"""How many policy tests are asked in a second, beside the target.

A cluster of 1,000 endpoints on 10 hosts, 100 profiles of ten rules, every
endpoint in two of them; 20,000 cases in JSON between endpoints that are drawn,
with ten ports a test and with one. What is timed is what `calicoctl test` does
once it has the datastore: reading the document, finding the ends, compiling
each host, and judging. The best of several runs in wall time, and in CPU time
for machines that do other things, too.
"""

import gc
import json
import tempfile
import time
from ipaddress import IPv4Address
from pathlib import Path
from random import Random

from calico.cli.cluster import Cluster
from calico.cli.endpoint_names import endpoint_name
from calico.cli.policy_cases import Suite, run_suite
from calico.cli.policy_file import read_policy_files
from calico.cli.policy_rules import find_unexercised, list_rules, try_mutations
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
from calico.model.rule import Action, Peer, PortRange, ProfileRules, Protocol, Rule
from calico.model.snapshot import Snapshot

N_ENDPOINTS = 1_000
N_HOSTS = 10
N_PROFILES = 100
N_CASES = 20_000
N_RUNS = 5
TARGET = 20_000
SEED = 20
FIRST_ADDRESS = int(IPv4Address("10.0.0.0"))


def profile_id(number: int) -> ProfileId:
    """Name a profile."""
    return ProfileId(f"P{number % N_PROFILES:03}")


def profile_rules(number: int) -> ProfileRules:
    """Make nine rules about the tags of two profiles, and one that allows out."""
    tags = TagName(f"T{number:03}"), TagName(f"T{(number + 1) % N_PROFILES:03}")
    inbound = tuple(
        Rule(
            Action.ALLOW,
            Protocol.TCP,
            source=Peer(tag=tags[n % 2]),
            destination=Peer((PortRange(8000 + n, 8000 + n),)),
        )
        for n in range(9)
    )
    return ProfileRules(inbound, (Rule(Action.ALLOW),))


def endpoint(number: int) -> WorkloadEndpoint:
    """Make an endpoint."""
    key = EndpointKey(
        HostName(f"host-{number % N_HOSTS}"),
        OrchestratorId("namespace"),
        WorkloadId(f"/run/netns/w{number}"),
        EndpointId(f"{number:032x}"),
    )
    return WorkloadEndpoint(
        key,
        EndpointState.ACTIVE,
        InterfaceName(f"cali{number:x}"),
        bytes.fromhex("eeeeeeeeeeee"),
        (profile_id(number), profile_id(number // 7)),
        (IPv4Address(FIRST_ADDRESS + number),),
    )


def document(endpoints: list[WorkloadEndpoint], n_ports: int) -> str:
    """Make tests between endpoints, each of some ports: N_CASES cases."""
    random = Random(SEED)  # noqa: S311 -- no secret is drawn
    tests: list[dict[str, object]] = []
    for number in range(N_CASES // n_ports):
        source = random.choice(endpoints)
        target = random.choice(endpoints)
        tests.append(
            {
                "name": f"test {number}",
                "from": endpoint_name(source.key),
                "to": target.key.workload.rpartition("/")[2],
                "protocol": "tcp",
                "ports": random.sample(range(8000, 8010), n_ports),
                "expect": "allow" if number % 2 else "deny",
            }
        )
    return json.dumps({"tests": tests})


def measure(cluster: Cluster, text: str, n_ports: int) -> Suite:
    """Ask the cases of a document several times, and print the best figures."""
    walls: list[float] = []
    cpus: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "tests.json"
        path.write_text(text, encoding="utf-8")
        for _ in range(N_RUNS):
            wall, cpu = time.perf_counter(), time.process_time()
            (file,) = read_policy_files(str(path))
            suite = run_suite(cluster, file, HostName("host-0"))
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    rates = f"{N_CASES / min(walls):10.0f}{N_CASES / min(cpus):10.0f}"
    print(f"{n_ports:<14}{rates}{TARGET:10}")
    return suite


def main() -> None:
    """Print how many cases are asked in a second, beside the target."""
    gc.set_threshold(100_000)  # as `calicoctl` does
    endpoints = [endpoint(number) for number in range(N_ENDPOINTS)]
    snapshot = Snapshot(
        Revision(1),
        {profile_id(n): (TagName(f"T{n:03}"),) for n in range(N_PROFILES)},
        {profile_id(n): profile_rules(n) for n in range(N_PROFILES)},
        {each.key: each for each in endpoints},
    )
    cluster = Cluster(snapshot, snapshot.revision, {}, None)
    print(f"{N_CASES} cases, {N_ENDPOINTS} endpoints on {N_HOSTS} hosts")
    print(f"{'ports a test':14}{'wall':>10}{'CPU':>10}{'target':>10}  cases a second")
    for n_ports in (10, 1):
        suite = measure(cluster, document(endpoints, n_ports), n_ports)
    start = time.process_time()
    rules = list_rules([suite])
    n_unexercised = len(find_unexercised([suite], rules))
    mutations = try_mutations([suite], rules)
    mutating = time.process_time() - start
    print(
        f"--mutate: {2 * len(rules)} changes in {mutating:.2f} s of CPU,"
        f" {len(mutations.unnoticed)} rules unnoticed, {n_unexercised} unexercised,"
        f" {len(mutations.undecided)} undecided"
    )


if __name__ == "__main__":
    main()
