"""The agent under load: latency of changes, start-up, memory, beside `nft -f`.

The load: 1,000 local endpoints (veth pairs, the other ends in one namespace),
100 profiles of 10 rules, one tag with 100,000 members on other hosts. It takes
about two minutes and needs root.

A change is made by one transaction on the store in this process, as the
command makes it; the time runs from its return until the kernel's own event
says that the commit has been made. The rival makes the same change with one
`nft -f` on a copy of the same ruleset in another namespace, where nobody else
listens; its time is that of the whole process, as a program that drives nft
would pay it.

    python bench/bench_agent.py [--endpoints=N] [--members=N] [--rounds=N]
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from calico.codec.keys import POLICY_PREFIXES, READY_KEY
from calico.control.client import NoAgent, wait_for_revision
from calico.linux.namespace import call_inside, open_namespace
from calico.linux.nft_events import Committed, NftEvents
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
from calico.model.rule import (
    Action,
    Peer,
    PortRange,
    ProfileRules,
    Protocol,
    Rule,
)
from calico.model.snapshot import ProfileRulesKey, ProfileTagsKey
from calico.settings import Settings
from calico.store.api import Note, Operation, Put, Store, Transaction
from calico.store.open import open_store
from calico.store.resources import put_resource

HERE, THERE, COPY = "ctagentbench1", "ctagentbench2", "ctagentbench3"
HOST = HostName("bench1")
N_PROFILES = 100
N_RULES = 10
BIG = ProfileId("BIG")
BIG_TAG = TagName("BIG")
CHANGING = ProfileId("PROFILE0")
NOTE = Note("bench", HOST, "bench_agent")
PER_TRANSACTION = 1000
N_COMMITS_AT_START = 4


@dataclass(frozen=True)
class Load:
    n_endpoints: int
    n_members: int
    n_rounds: int
    n_profiles: int = N_PROFILES
    n_elsewhere: int = 0


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--endpoints", type=int, default=1000)
    words.add_argument("--members", type=int, default=100_000)
    words.add_argument("--rounds", type=int, default=200)
    given = words.parse_args()
    load = Load(given.endpoints, given.members, given.rounds)
    if os.geteuid() != 0:
        print("bench_agent: needs root, left out")
        return 0
    with contextlib.ExitStack() as stack:
        for name in (HERE, THERE, COPY):
            stack.enter_context(namespace(name))
        directory = Path(tempfile.mkdtemp(prefix="ctagentbench"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        run_all(load, directory, stack)
    return 0


def run_all(load: Load, directory: Path, stack: contextlib.ExitStack) -> None:
    settings = Settings.from_environment(environment(directory))
    store = open_store(settings)
    stack.callback(store.close)
    commit(store, [Put(READY_KEY, b"true")])
    with agent(directory) as idle:
        wait(settings, store)
        report("memory, idle", f"{rss_mb(idle):.1f} MB (to reach: 60)")
    run("ip", "netns", "exec", HERE, "nft", "delete", "table", "inet", "calico")
    make_links(load.n_endpoints + load.n_rounds)
    fill(store, load)
    events = events_in(HERE)
    with agent(directory) as loaded:
        started = time.monotonic()
        wait_for_policy(events)
        took = time.monotonic() - started
        wait(settings, store)
        all_took = time.monotonic() - started
        report("memory, loaded", f"{rss_mb(loaded):.1f} MB (to reach: 350)")
        report("start to first commit of policy", f"{took:.2f} s (to reach: 6)")
        report("  beside: nft -f of the same", ratio(took, copy_ruleset(directory)))
        report("start until interfaces are up", f"{all_took:.2f} s")
        for kind in kinds(load):
            compare(kind, load, store, events)
        report("memory, at the end", f"{rss_mb(loaded):.1f} MB")
        events.close()


@dataclass(frozen=True)
class Kind:
    """A kind of change: what we write, and what the rival is told."""

    name: str
    ours: Callable[[int], Operation]
    rival: Callable[[int], str]


def kinds(load: Load) -> tuple[Kind, ...]:
    def add_endpoint(number: int) -> Operation:
        endpoint = local_endpoint(load.n_endpoints + number, load.n_profiles)
        return put_resource(endpoint.key, endpoint)

    return (
        Kind("rule add", add_rule, nft_rule),
        Kind("tag add", add_tag, nft_tag),
        Kind(
            "endpoint add", add_endpoint, lambda n: nft_endpoint(load.n_endpoints + n)
        ),
    )


def add_rule(number: int) -> Operation:
    rules = profile_rules(0)
    # The profile keeps its size: what is measured is one change, not many rules.
    added = port_rule(40_000 + number)
    changed = ProfileRules((*rules.inbound, added), rules.outbound)
    return put_resource(ProfileRulesKey(CHANGING), changed)


def nft_rule(number: int) -> str:
    return "".join(
        f"add rule inet calico profile-in{version}-{CHANGING} meta l4proto tcp"
        f" th dport {40_000 + number} counter accept\n"
        for version in (4, 6)
    )


def add_tag(number: int) -> Operation:
    return put_resource(ProfileTagsKey(ProfileId(f"SMALL{number}")), (BIG_TAG,))


def nft_tag(number: int) -> str:
    address = IPv4Address(0x0A000000 + small_address(number))
    return f"add element inet calico tag4-{BIG_TAG} {{ {address} }}\n"


def small_address(number: int) -> int:
    return 250 << 16 | number


def nft_endpoint(number: int) -> str:
    endpoint = local_endpoint(number)
    name = endpoint.interface
    mac = ":".join(f"{each:02x}" for each in endpoint.mac or b"")
    add = "add element inet calico"
    lines = [f'{add} interfaces {{ "{name}" }}']
    for version, address in zip((4, 6), endpoint.addresses, strict=True):
        key = f'"{name}" . {mac} . {address}'
        lines.append(f"{add} source{version}-mac {{ {key} }}")
        for direction, short in (("outbound", "out"), ("inbound", "in")):
            chain = CHAINS[f"{short}{version}"]
            entry = f'"{name}" . {address} : goto {chain}'
            lines.append(f"{add} {direction}{version}-dispatch {{ {entry} }}")
    return "\n".join(lines) + "\n"


CHAINS: dict[str, str] = {}
"""The chain of the changing profile's list, by direction and family."""

# How nft prints our expressions, which it then cannot read again.
RAW_FIELDS = {
    "@ll,48,48": "ether saddr",
    "@nh,96,32": "ip saddr",
    "@nh,128,32": "ip daddr",
    "@nh,64,128": "ip6 saddr",
    "@nh,192,128": "ip6 daddr",
    "ip6 saddr 0x0": "ip6 saddr ::",
}
PATIENCE_S = 30


def compare(kind: Kind, load: Load, store: Store, events: NftEvents) -> None:
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(load.n_rounds):
        ours.append(time_change(kind, number, store, events))
        theirs.append(nft_in_copy(kind.rival(number)))
    median, last = statistics.median(ours), percentile(ours, 99)
    report(
        f"{kind.name}: in the kernel after",
        f"median {median * 1e3:.2f} ms, 99 % {last * 1e3:.2f} ms (to reach: 10, 30)",
    )
    report("  beside: nft -f", ratio(median, statistics.median(theirs)))


def time_change(kind: Kind, number: int, store: Store, events: NftEvents) -> float:
    """Make a change and return how long the kernel's event takes, in seconds."""
    events.read(0)
    commit(store, [kind.ours(number)])
    started = time.perf_counter()
    while not any(
        isinstance(each, Committed) and each.is_ours for each in events.read(PATIENCE_S)
    ):
        if time.perf_counter() - started > PATIENCE_S:
            raise SystemExit(f"{kind.name}: nothing arrived in the kernel")
    return time.perf_counter() - started


def wait_for_policy(events: NftEvents) -> None:
    """Wait for the fourth commit: table, trial of the log, catch-all drop, policy."""
    deadline = time.monotonic() + 60
    n_commits = 0
    while n_commits < N_COMMITS_AT_START:
        n_commits += sum(
            isinstance(each, Committed) and each.is_ours for each in events.read(1)
        )
        if time.monotonic() > deadline:
            raise SystemExit("the agent commits nothing")


def percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def ratio(ours: float, theirs: float) -> str:
    return f"{theirs * 1e3:.2f} ms, that is x{theirs / ours:.2f}"


def report(what: str, value: str) -> None:
    print(f"{what:42} {value}", flush=True)


# The load.


def fill(store: Store, load: Load) -> None:
    operations: list[Operation] = [
        put_resource(ProfileTagsKey(BIG), (BIG_TAG,)),
        put_resource(ProfileRulesKey(BIG), ProfileRules()),
    ]
    for number in range(load.n_profiles):
        profile = ProfileId(f"PROFILE{number}")
        operations.append(put_resource(ProfileTagsKey(profile), (TagName(profile),)))
        operations.append(put_resource(ProfileRulesKey(profile), profile_rules(number)))
    for number in range(load.n_elsewhere):
        profile = ProfileId(f"ELSEWHERE{number}")
        operations.append(put_resource(ProfileTagsKey(profile), (TagName(profile),)))
        operations.append(put_resource(ProfileRulesKey(profile), profile_rules(number)))
    for number in range(load.n_rounds):
        member = remote_endpoint(
            250 << 16 | (number // 250) << 8 | number % 250, ProfileId(f"SMALL{number}")
        )
        operations.append(put_resource(member.key, member))
    for number in range(load.n_endpoints):
        endpoint = local_endpoint(number, load.n_profiles)
        operations.append(put_resource(endpoint.key, endpoint))
    for number in range(load.n_members):
        member = remote_endpoint((1 << 16) + number, BIG)
        operations.append(put_resource(member.key, member))
    for start in range(0, len(operations), PER_TRANSACTION):
        commit(store, operations[start : start + PER_TRANSACTION])


def profile_rules(number: int) -> ProfileRules:
    inbound = [port_rule(1000 + number * N_RULES + each) for each in range(N_RULES - 2)]
    inbound.append(Rule(Action.ALLOW, Protocol.TCP, source=Peer(tag=BIG_TAG)))
    return ProfileRules(tuple(inbound), (Rule(Action.ALLOW),))


def port_rule(port: int) -> Rule:
    return Rule(
        Action.ALLOW,
        Protocol.TCP,
        destination=Peer(ports=(PortRange(port, port),)),
    )


def local_endpoint(number: int, n_profiles: int = N_PROFILES) -> WorkloadEndpoint:
    return WorkloadEndpoint(
        key=EndpointKey(
            HOST,
            OrchestratorId("bench"),
            WorkloadId(f"w{number}"),
            EndpointId(f"e{number}"),
        ),
        state=EndpointState.ACTIVE,
        interface=InterfaceName(f"cali{number}"),
        mac=bytes.fromhex("eeeeeeeeeeee"),
        profile_ids=(ProfileId(f"PROFILE{number % n_profiles}"),),
        addresses=(
            IPv4Address(0x0A400000 + number),
            IPv6Address((0xFD80 << 112) + number),
        ),
    )


def remote_endpoint(number: int, profile: ProfileId) -> WorkloadEndpoint:
    return WorkloadEndpoint(
        key=EndpointKey(
            HostName(f"other{number % 100}"),
            OrchestratorId("bench"),
            WorkloadId(f"w{number}"),
            EndpointId(f"e{number}"),
        ),
        state=EndpointState.ACTIVE,
        interface=InterfaceName(f"cali{number}"),
        mac=bytes.fromhex("eeeeeeeeeeee"),
        profile_ids=(profile,),
        addresses=(IPv4Address(0x0A000000 + number),),
    )


def make_links(number: int) -> None:
    lines = "".join(
        f"link add cali{n} type veth peer name peer{n} netns {THERE}\n"
        for n in range(number)
    )
    run("ip", "-n", HERE, "-batch", "-", text=lines)


def commit(store: Store, operations: Sequence[Operation]) -> int:
    return store.commit(Transaction((), tuple(operations), NOTE))


# Processes and namespaces.


@contextlib.contextmanager
def namespace(name: str) -> Iterator[None]:
    if Path("/run/netns", name).exists():
        run("ip", "netns", "del", name)
    run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")
    try:
        yield
    finally:
        run("ip", "netns", "del", name)


def environment(directory: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOSTNAME": HOST,
        "CALICO_DATA_DIR": str(directory / "data"),
        "CALICO_RUN_DIR": str(directory / "run"),
        "CALICO_LOG_DIR": str(directory / "log"),
    }


@contextlib.contextmanager
def agent(directory: Path) -> Iterator[int]:
    argv = ["ip", "netns", "exec", HERE, sys.executable, "-I", "-m"]
    with (directory / "out").open("ab") as out:
        supervisor = subprocess.Popen(
            [*argv, "calico.node.supervisor"],
            env=environment(directory),
            stdout=out,
            stderr=out,
        )
    try:
        yield supervisor.pid
    finally:
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait()


def wait(settings: Settings, store: Store) -> None:
    revision = store.last_change(POLICY_PREFIXES)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if wait_for_revision(settings.run_dir, revision, 60) >= revision:
                return
        except NoAgent:
            time.sleep(0.005)
    raise SystemExit("the agent does not enforce policy")


def rss_mb(supervisor: int) -> float:
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text()
    status = Path(f"/proc/{children.split()[0]}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


def events_in(name: str) -> NftEvents:
    with open_namespace(f"/run/netns/{name}") as fd:
        return call_inside(fd, NftEvents)


def copy_ruleset(directory: Path) -> float:
    listed = run("ip", "netns", "exec", HERE, "nft", "list", "table", "inet", "calico")
    text = re.sub(r"\tflags [a-z,]*\n", "", listed)
    for raw, word in RAW_FIELDS.items():
        text = text.replace(raw, word)
    for match in re.finditer(
        r"cali0\" \. [0-9.:a-f]+ : goto (list-(\w+)-[0-9a-f]+)", text
    ):
        CHAINS[match[2]] = match[1]
    file = directory / "copy.nft"
    file.write_text(text)
    started = time.perf_counter()
    run("ip", "netns", "exec", COPY, "nft", "-f", str(file))
    return time.perf_counter() - started


def nft_in_copy(text: str) -> float:
    argv = ["ip", "netns", "exec", COPY, "nft", "-f", "-"]
    started = time.perf_counter()
    subprocess.run(argv, input=text, text=True, check=True, capture_output=True)
    return time.perf_counter() - started


def run(*argv: str, text: str | None = None) -> str:
    done = subprocess.run(argv, input=text, text=True, check=False, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: {done.stderr[:2000]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
