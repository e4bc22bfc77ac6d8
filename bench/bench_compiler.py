"""What the incremental compiler costs: memory by tracemalloc, time per turn.

A cluster of 100,000 endpoints on other hosts, 1,000 on this one, 200 profiles
of ten rules, every endpoint in two of them. Beside each turn: what compiling
the host from nothing costs.
"""

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

from calico.compiler.host import compile_host
from calico.compiler.incremental import HostCompiler
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
from calico.model.snapshot import ProfileRulesKey, ProfileTagsKey, Snapshot

N_REMOTE = 100_000
N_LOCAL = 1_000
N_PROFILES = 200
N_REMOTE_HOSTS = 500
FIRST_ADDRESS = int(IPv4Address("10.0.0.0"))
HOST = HostName("here")
MIB = 1024 * 1024


def profile_id(number: int) -> ProfileId:
    """Name a profile."""
    return ProfileId(f"profile-{number % N_PROFILES:03}")


def profile_rules(number: int) -> ProfileRules:
    """Make ten rules about the tags of two profiles."""
    tags = TagName(f"tag-{number:03}"), TagName(f"tag-{(number + 1) % N_PROFILES:03}")
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
    """Make an endpoint; the first ones are of this host. Nothing is shared."""
    is_local = number < N_LOCAL
    host = "here" if is_local else f"host-{number % N_REMOTE_HOSTS}"
    key = EndpointKey(
        HostName(host),
        OrchestratorId("docker"),
        WorkloadId(f"{number:064x}"),
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


def fill(compiler: HostCompiler, numbers: range) -> None:
    """Tell of endpoints one by one, as a listing does."""
    for number in numbers:
        each = endpoint(number)
        compiler.set_resource(each.key, each, Revision(1))


def timed_ms(work: Callable[[], object]) -> float:
    """Return how long some work takes once."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def changes(compiler: HostCompiler) -> Iterator[tuple[str, Callable[[int], None]]]:
    """Name each kind of change, and how to make the n-th one."""

    def add_remote(n: int) -> None:
        each = endpoint(N_LOCAL + N_REMOTE + n)
        compiler.set_resource(each.key, each, Revision(2))

    def change_rules(n: int) -> None:
        rules = profile_rules(n)
        more = ProfileRules((*rules.inbound, Rule(Action.DENY)), rules.outbound)
        compiler.set_resource(ProfileRulesKey(profile_id(n)), more, Revision(2))

    def add_tag(n: int) -> None:
        tags = TagName(f"tag-{n:03}"), TagName(f"tag-{n + 100:03}")
        compiler.set_resource(ProfileTagsKey(profile_id(n)), tags, Revision(2))

    def remove_local(n: int) -> None:
        compiler.set_resource(endpoint(n).key, None, Revision(2))

    yield "an endpoint of another host appears", add_remote
    yield "a rule is added to a profile", change_rules
    yield "a tag is added to a profile (1,000 members)", add_tag
    yield "an endpoint of this host goes", remove_local


def print_memory() -> None:
    """Print what endpoints of other hosts cost, with all their tags in use."""
    tracemalloc.start()
    compiler = HostCompiler(HOST)
    for number in range(N_PROFILES):
        tags = (TagName(f"tag-{number:03}"),)
        key = ProfileTagsKey(profile_id(number))
        compiler.set_resource(key, tags, Revision(1))
        rules = ProfileRulesKey(profile_id(number))
        compiler.set_resource(rules, profile_rules(number), Revision(1))
    fill(compiler, range(N_LOCAL))
    compiler.turn()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    fill(compiler, range(N_LOCAL, N_LOCAL + N_REMOTE))
    compiler.turn()
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    per_endpoint = used / N_REMOTE
    print(
        f"{N_REMOTE} remote endpoints: {used / MIB:.1f} MiB, {per_endpoint:.0f} B each"
    )


def print_times() -> None:
    """Print the median turn after each kind of change, and the full compilation."""
    compiler = HostCompiler(HOST)
    numbers = range(N_LOCAL + N_REMOTE)
    tags = {profile_id(n): (TagName(f"tag-{n:03}"),) for n in range(N_PROFILES)}
    rules = {profile_id(n): profile_rules(n) for n in range(N_PROFILES)}

    def start() -> None:
        for name, value in tags.items():
            compiler.set_resource(ProfileTagsKey(name), value, Revision(1))
            compiler.set_resource(ProfileRulesKey(name), rules[name], Revision(1))
        fill(compiler, numbers)
        compiler.turn()

    print(f"first turn: {timed_ms(start):.0f} ms")
    endpoints = {each.key: each for each in map(endpoint, numbers)}
    snapshot = Snapshot(Revision(1), tags, rules, endpoints)
    full = timed_ms(lambda: compile_host(snapshot, HOST))
    print(f"compile_host: {full:.0f} ms")
    for name, change in changes(compiler):
        times: list[float] = []
        for n in range(50):

            def once(n: int = n, change: Callable[[int], None] = change) -> None:
                change(n)
                compiler.turn()

            times.append(timed_ms(once))
        median = statistics.median(times)
        print(f"{name}: {median:.3f} ms, 1/{full / median:.0f} of compile_host")


if __name__ == "__main__":
    print_memory()
    print_times()
