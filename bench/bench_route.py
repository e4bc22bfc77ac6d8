"""A new workload: how long until another host reaches it, by packets.

Two hosts on one etcd, each with `calicoctl node`: agent and BIRD, which peer
with each other. A workload on the second host sends a datagram every
millisecond to an address that nobody has yet; then a workload is attached with
this address on the first host, as plugins do. The time runs from the beginning
of that until the first datagram arrives in it. Once each address is the first
of a block, so that BIRD has to tell of the block; once the block is known and
nothing but policy is new. It takes about a minute and needs root and BIRD.

    python bench/bench_route.py [--rounds=N]
"""

import argparse
import contextlib
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from threading import Event, Thread

from bench_agent import commit, namespace, report, run
from cluster import (
    PATIENCE_S,
    Site,
    datagrams,
    environment,
    host_address,
    lacks,
    site,
    until,
)

from calico.attach import site as attaching
from calico.attach.in_force import wait_connected
from calico.attach.workload import (
    Connection,
    attach_workload,
    container_at,
    detach_workload,
)
from calico.model.names import HostName, ProfileId, TagName
from calico.model.rule import Action, ProfileRules, Rule
from calico.model.snapshot import ProfileRulesKey, ProfileTagsKey
from calico.settings import Settings
from calico.store.api import Note, Store
from calico.store.resources import put_resource

CALICOCTL = Path(__file__).resolve().parent.parent / "calicoctl"
SENDER, TARGET = "ctroutesender", "ctroutetarget"
OPEN = ProfileId("OPEN")
POOL = IPv4Address("192.168.0.0")
BLOCK_SIZE = 64
PORT = 5000
EVERY_S = 0.001
NOTE = Note("bench", "bench", "bench_route")


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("--rounds", type=int, default=20)
    n_rounds: int = words.parse_args().rounds
    why = lacks() or ("" if shutil.which("bird") else "needs bird")
    if why:
        print(f"bench_route: {why}, left out")
        return 0
    with site(2) as made, contextlib.ExitStack() as stack:
        stack.enter_context(namespace(SENDER))
        for number in (1, 2):
            stack.enter_context(node(made, number))
        run_all(made, n_rounds)
    return 0


def run_all(made: Site, n_rounds: int) -> None:
    store = made.open_store()
    rules = ProfileRules((Rule(Action.ALLOW),), (Rule(Action.ALLOW),))
    tags = put_resource(ProfileTagsKey(OPEN), (TagName(OPEN),))
    commit(store, [tags, put_resource(ProfileRulesKey(OPEN), rules)])
    path = f"/run/netns/{SENDER}"
    calicoctl(made, 2, "container", "add", path, str(POOL + 1000 * BLOCK_SIZE))
    calicoctl(made, 2, "container", path, "profile", "set", OPEN)
    await_peers(made)
    kinds = {
        "first address of a block": [POOL + BLOCK_SIZE * n for n in range(n_rounds)],
        "next address of a block": [POOL + 1 + n for n in range(n_rounds)],
    }
    for what, addresses in kinds.items():
        spans = [reach(made, store, address) for address in addresses]
        report(
            f"{what}: reached after",
            f"median {statistics.median(spans) * 1e3:.0f} ms,"
            f" worst {max(spans) * 1e3:.0f} ms (to reach: 500)",
        )


def reach(made: Site, store: Store, address: IPv4Address) -> float:
    """Attach a workload and return when the first datagram arrives in it."""
    settings = Settings.from_environment(
        environment(made.directory, made.hosts[0], made.etcd)
    )
    path = f"/run/netns/{TARGET}"
    with namespace(TARGET), contextlib.ExitStack() as stack:
        target = datagrams(TARGET, PORT)
        stack.callback(target.close)
        stack.enter_context(sending(address))
        target.settimeout(PATIENCE_S)
        where = attaching.Site(store, HostName(made.hosts[0]), settings.run_dir, NOTE)
        connection = Connection(
            container_at(path), path, (address,), profile_ids=(OPEN,)
        )
        begun = time.perf_counter()
        attached = attach_workload(where, connection)
        stack.callback(detach_workload, where, connection.container)
        wait_connected(where, connection, attached, PATIENCE_S)
        target.recv(64)
        return time.perf_counter() - begun


@contextlib.contextmanager
def sending(address: IPv4Address) -> Iterator[None]:
    """Send datagrams from the workload of the second host all the while."""
    source = datagrams(SENDER, PORT)
    is_over = Event()

    def send() -> None:
        while not is_over.wait(EVERY_S):
            # Nobody knows the way yet, and the host says so.
            with contextlib.suppress(OSError):
                source.sendto(b"x", socket.MSG_DONTWAIT, (str(address), PORT))

    thread = Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        source.close()


@contextlib.contextmanager
def node(made: Site, number: int) -> Iterator[None]:
    # Routers forward; a namespace of its own may not begin with it.
    run("ip", "netns", "exec", made.hosts[number - 1], "sysctl", "-qw", *FORWARD)
    calicoctl(made, number, "node", f"--ip={host_address(number)}")
    try:
        yield
    finally:
        calicoctl(made, number, "node", "stop", "--force")


FORWARD = ("net.ipv4.ip_forward=1",)


def await_peers(made: Site) -> None:
    def is_established() -> bool:
        shown = calicoctl(made, 1, "status")
        return "Established" in shown

    until(is_established, "BIRD has its peer")


def calicoctl(made: Site, number: int, *words: str) -> str:
    host = made.hosts[number - 1]
    done = subprocess.run(
        ["/usr/bin/env", "ip", "netns", "exec", host, str(CALICOCTL), *words],
        env=environment(made.directory, host, made.etcd),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"calicoctl {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
