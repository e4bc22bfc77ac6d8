"""The agent's process: put the parts together, run the loop, end loudly."""

import argparse
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from types import FrameType

from calico.agent.cutter import FlowCutter
from calico.agent.cutting import Cutting
from calico.agent.dataplane import Dataplane, Ownership
from calico.agent.events import (
    NameContested,
    Queue,
    RouterSaid,
    Stop,
    TunnelAddressed,
)
from calico.agent.feeders import (
    feed_checks,
    feed_drops,
    feed_links,
    feed_policy,
    feed_routing,
    feed_tables,
    feed_tidying,
    queue_request,
    start_feeder,
)
from calico.agent.journal import Journal
from calico.agent.loop import Agent, Hands
from calico.agent.overlay import OverlayPart
from calico.agent.publisher import Publisher
from calico.agent.reporting import Reporting, Sources
from calico.agent.router import Router
from calico.agent.tunnel_addresses import TunnelAddresses
from calico.control.cuts import CutFile
from calico.control.server import ControlServer
from calico.ir.drop_name import LOG_GROUP
from calico.linux import syscalls
from calico.linux.conntrack import Conntrack
from calico.linux.grace import membarrier
from calico.linux.host_links import LinkEvents, RouteSocket
from calico.linux.nflog import Nflog
from calico.linux.nft_events import NftEvents
from calico.linux.nft_socket import NftSocket
from calico.linux.rtnetlink import Netlink
from calico.linux.sysctl import MEMORY_NAME, configure_host
from calico.linux.tunnels import Tunnels
from calico.linux.workloads import Workloads
from calico.model.errors import Unavailable
from calico.settings import Settings
from calico.store.api import Store
from calico.store.feed import PolicyFeed
from calico.store.following import MEMORY_NAME as DATASTORE_NAME
from calico.store.open import open_existing_store
from calico.store.routing_feed import RoutingFeed

_WITHDRAW_WITHIN_S = 2.0


class _Parts:
    """Everything that is made once.

    Args:
        settings: Where things are.
        nft: The socket that may change our table.
        ownership: Whether nobody else may.
    """

    def __init__(
        self, settings: Settings, nft: NftSocket, ownership: Ownership
    ) -> None:
        self.settings = settings
        self.journal = Journal.open(settings.log_dir)
        self.queue: Queue = Queue()
        self.dataplane = Dataplane(nft, self.journal, ownership)
        self.routes = RouteSocket()
        self.workloads = Workloads(self.routes)
        self.publisher = Publisher(
            self.open_store,
            settings.hostname,
            lambda reason: self.journal.warning("status", f"host status: {reason}"),
            lambda reason: self.queue.put(NameContested(reason)),
        )
        self.reporting = Reporting(
            settings.hostname,
            self.journal,
            self.publisher,
            Sources(
                counters=self.dataplane.counters,
                missing=self.workloads.missing,
                interface_problems=lambda: self.workloads.problems,
                table_is_owned=ownership is Ownership.OWNED,
            ),
            CutFile(settings.log_dir),
        )
        self.tunnel_netlink = Netlink()
        self.tunnel_addresses = TunnelAddresses(
            self.open_store,
            settings.hostname,
            lambda found: self.queue.put(TunnelAddressed(found)),
        )
        self.router = Router(
            settings.run_dir,
            self.journal,
            lambda reason: self.queue.put(RouterSaid(reason)),
        )

    def open_store(self) -> Store:
        """Open the datastore, for the thread that calls this."""
        return open_existing_store(self.settings)


def main() -> int:
    """Run the agent until told to stop.

    Returns:
        The exit code: 1 after an error.
    """
    words = argparse.ArgumentParser(prog="calico.agent")
    words.add_argument("--nft-fd", type=int, required=True)
    words.add_argument("--supervisor", type=int, required=True)
    words.add_argument("--table-owned", action="store_true")
    words.add_argument("--backend", choices=("bird", "none"), default="bird")
    given = words.parse_args()
    _die_with(given.supervisor)
    # Everything that is read at the start stays; the loop begins it again.
    gc.disable()
    settings = Settings.from_environment(os.environ)
    nft = NftSocket.from_fd(given.nft_fd)
    ownership = Ownership.OWNED if given.table_owned else Ownership.SHARED
    parts = _Parts(settings, nft, ownership)
    try:
        _run(parts, nft, has_bird=given.backend == "bird")
    except BaseException as error:  # noqa: BLE001 -- the top of the process
        parts.journal.critical(f"the agent ends: {error!r}")
        parts.journal.critical(traceback.format_exc())
        return 1
    return 0


def _run(parts: _Parts, nft: NftSocket, *, has_bird: bool) -> None:
    queue, reporting = parts.queue, parts.reporting

    def stop(_number: int, _frame: FrameType | None) -> None:
        queue.put(Stop())

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Both are listened to before anything is read, so that nothing is missed.
    tables = NftEvents(nft.table, without=nft.port_id)
    links = LinkEvents()
    nflog = _listen_to_drops(parts)
    if parts.dataplane.is_fresh():
        parts.dataplane.put_guard()

    memory = Path(parts.settings.run_dir, MEMORY_NAME)
    reporting.note_limits(configure_host(memory))
    server = ControlServer(parts.settings.run_dir, queue_request(queue))
    followed = Path(parts.settings.run_dir, DATASTORE_NAME)
    feed = PolicyFeed(parts.open_store, followed)
    routing = RoutingFeed(parts.open_store, followed)
    host = parts.settings.hostname
    feeders: dict[str, Callable[[], None]] = {
        "control": server.serve,
        "links": lambda: feed_links(links, queue),
        "tables": lambda: feed_tables(tables, queue),
        "policy": lambda: feed_policy(feed, queue),
        "routing": lambda: feed_routing(routing, host, queue),
        "tunnel address": parts.tunnel_addresses.run,
        "checks": lambda: feed_checks(parts.open_store, queue),
        "tidying": lambda: feed_tidying(parts.open_store),
    }
    if nflog is not None:
        feeders["drops"] = partial(feed_drops, nflog, queue)
    if has_bird:
        feeders["router"] = parts.router.run
    for name, run in feeders.items():
        start_feeder(name, queue, run)
    status = Thread(target=parts.publisher.run, name="status", daemon=True)
    status.start()
    conntrack = Conntrack()
    drop_limits = () if nflog is None else nflog.limits
    limits = _numbered(nft.limits, tables.limits, conntrack.limits, drop_limits)
    reporting.note_limits(limits)
    cutter = FlowCutter(conntrack, parts.routes, reporting.note_cuts)
    cutting = Cutting(
        cutter, membarrier, lambda reason: reporting.note_problem("conntrack", reason)
    )
    overlay = OverlayPart(Tunnels(parts.tunnel_netlink), parts.tunnel_addresses)
    hands = Hands(parts.dataplane, parts.workloads, cutting, parts.router, overlay)
    Agent(host, hands, reporting).run(queue)
    parts.publisher.end()
    status.join(_WITHDRAW_WITHIN_S)
    parts.journal.info(
        "stop", "the agent ends as asked, and takes nothing out of the kernel"
    )


def _listen_to_drops(parts: _Parts) -> Nflog | None:
    """Begin to hear of drops; without, report why and go on."""
    reason = parts.dataplane.probe_log()
    nflog = None
    if not reason:
        try:
            nflog = Nflog(LOG_GROUP)
        except Unavailable as error:
            reason = str(error)
    if reason:
        parts.reporting.note_limits({"drop log": reason})
        parts.reporting.drops.note_deaf(reason)
    return nflog


def _numbered(*limits: Sequence[str]) -> dict[str, str]:
    """Give what the kernel refuses a socket a name to be reported under."""
    every = dict.fromkeys(each for some in limits for each in some)
    return {f"netlink {number}": text for number, text in enumerate(every, 1)}


def _die_with(supervisor: int) -> None:
    """Let the kernel end this process when its supervisor ends."""
    syscalls.die_with_parent(signal.SIGKILL)
    if os.getppid() != supervisor:
        # It ended before we could ask for that.
        sys.exit(1)


if __name__ == "__main__":
    code = main()
    # Feeders are waiting in the kernel; nothing of theirs has to be finished.
    sys.stderr.flush()
    os._exit(code)
