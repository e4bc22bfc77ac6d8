"""The threads that put what happens on the agent's queue.

Each reads one source and nothing else. One that ends for whatever reason says
so on the queue, and the loop ends the process.
"""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Thread

from calico.agent.events import (
    Asked,
    Dropped,
    FeederDied,
    LinksLost,
    Queue,
    Routed,
    RoutingSilent,
    StoreChecked,
    TableTouched,
)
from calico.compiler.routing import compile_routing, concerns
from calico.control.protocol import Method, Request, decode_reached
from calico.ir.routing import RoutingState
from calico.linux.host_links import LinkEvents
from calico.linux.nflog import Nflog
from calico.linux.nft_events import Committed, Lost, NftEvents
from calico.model.errors import OutcomeUnknown, StoreCorrupt, Unavailable
from calico.model.names import NO_REVISION, HostName
from calico.store.api import Store
from calico.store.feed import PolicyFeed
from calico.store.following import EventsLost, StoreAnswers, StoreSilent
from calico.store.routing_feed import RoutingFeed, RoutingRead

CHECK_EVERY_S = 86_400.0
CHECK_AGAIN_S = 60.0
"""When to check a datastore that could not be read; the policy feed says so."""

TIDY_EVERY_S = 300.0

_PATIENCE_S = 3600.0
_MAX_DROPS_PER_S = 1000


class FeederReturned(Exception):  # noqa: N818 -- says what happened
    """A feeder came to an end without an error."""


def start_feeder(name: str, queue: Queue, feed: Callable[[], None]) -> Thread:
    """Run a feeder in a thread of its own."""

    def run() -> None:
        try:
            feed()
        except BaseException as error:  # noqa: BLE001 -- the loop raises it again
            queue.put(FeederDied(name, error))
        else:
            queue.put(FeederDied(name, FeederReturned(name)))

    thread = Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def feed_policy(feed: PolicyFeed, queue: Queue) -> None:
    """Put what the datastore holds, and its changes, on the queue."""
    for event in feed.events():
        queue.put(event)


def feed_routing(feed: RoutingFeed, host: HostName, queue: Queue) -> None:
    """Put the routing of a host on the queue whenever it is another one.

    It is worked out here: a cluster has much that does not concern this host,
    and policy does not wait for that.
    """
    state: RoutingState | None = None
    for event in feed.events():
        match event:
            case RoutingRead() if state is not None and not _concerns(
                event, state, host
            ):
                pass
            case RoutingRead():
                compiled = compile_routing(event.snapshot, host)
                if compiled != state:
                    state = compiled
                    queue.put(Routed(state))
            case EventsLost():
                queue.put(event)
            case StoreSilent():
                queue.put(RoutingSilent(event.reason))
            case StoreAnswers():
                queue.put(RoutingSilent(None))


def _concerns(event: RoutingRead, state: RoutingState, host: HostName) -> bool:
    return event.changed is None or any(
        concerns(key, state, host) for key in event.changed
    )


def feed_checks(open_store: Callable[[], Store], queue: Queue) -> None:
    """Read all of the datastore once policy is in force, and every day.

    A key that policy does not need is read by nobody here otherwise, and one
    whose name is damaged by nobody at all: it looks as if it were absent.
    """
    _wait_until_enforcing(queue)
    while True:
        pause_s = CHECK_EVERY_S
        try:
            queue.put(StoreChecked(_find_damage(open_store)))
        except Unavailable:
            pause_s = CHECK_AGAIN_S
        # The thread is for this alone, and nothing happens that it could wait for.
        time.sleep(pause_s)


def _wait_until_enforcing(queue: Queue) -> None:
    """Wait as a client does, so that the first commit comes before the check."""
    is_enforcing = False
    while not is_enforcing:
        answers: SimpleQueue[bytes] = SimpleQueue()
        request = Request(Method.WAIT, NO_REVISION, _PATIENCE_S)
        queue.put(Asked(request, answers.put))
        is_enforcing, _ = decode_reached(answers.get())


def feed_tidying(open_store: Callable[[], Store]) -> None:
    """Let the datastore forget what is old, from time to time."""
    while True:
        # Not all agents at once.
        time.sleep(TIDY_EVERY_S * random.uniform(0.75, 1.25))  # noqa: S311 -- as said
        with suppress(Unavailable, OutcomeUnknown):
            store = open_store()
            try:
                store.tidy(time.time())
            finally:
                store.close()


def _find_damage(open_store: Callable[[], Store]) -> str | None:
    try:
        store = open_store()
        try:
            store.verify()
        finally:
            store.close()
    except StoreCorrupt as error:
        return str(error)
    return None


def feed_links(links: LinkEvents, queue: Queue) -> None:
    """Put what happens to interfaces on the queue."""
    while True:
        events = links.read()
        if events is None:
            queue.put(LinksLost())
            continue
        for event in events:
            queue.put(event)


def feed_tables(tables: NftEvents, queue: Queue) -> None:
    """Put what others do to our table on the queue."""
    while True:
        for event in tables.read(_PATIENCE_S):
            match event:
                case Lost():
                    queue.put(TableTouched("somebody, in too many commits to follow"))
                case Committed(is_ours=True):
                    by = f"{event.process_name} (process {event.process_id})"
                    queue.put(TableTouched(by))
                case Committed():
                    pass


def feed_drops(nflog: Nflog, queue: Queue) -> None:
    """Put what rules dropped on the queue, so many packets a second at most.

    The kernel limits what it logs of each endpoint; this bounds the work for
    all of them together, and the loop's.
    """
    begun, n_taken = time.monotonic(), 0
    while True:
        packets = nflog.read(_PATIENCE_S, _MAX_DROPS_PER_S - n_taken)
        if time.monotonic() - begun >= 1.0:
            begun, n_taken = time.monotonic(), 0
        n_taken += len(packets)
        if packets:
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            queue.put(Dropped(at.replace("+00:00", "Z"), packets))


def queue_request(queue: Queue) -> Callable[[Request, Callable[[bytes], None]], None]:
    """Make what the control server calls with each request."""

    def put(request: Request, answer: Callable[[bytes], None]) -> None:
        queue.put(Asked(request, answer))

    return put
