"""The feeder of routing: only what concerns the host reaches the loop."""

from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import pytest

from calico.agent.events import Event, Routed
from calico.agent.feeders import feed_routing
from calico.codec import keys
from calico.model.bgp import BgpLogLevel
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.snapshot import PoolKey
from calico.netset import Family
from calico.settings import Settings
from calico.store.api import Note, Operation, Put, Store, Transaction
from calico.store.open import open_store
from calico.store.resources import put_resource
from calico.store.routing_feed import RoutingFeed

HOST, OTHER = HostName("here"), HostName("there")
POOL = Pool(ip_network("10.0.0.0/16"))
LEVEL = keys.bgp_config_key(HOST, "loglevel")
_WITHIN_S = 30.0


class _EnoughError(Exception):
    """The test has heard what it wanted."""


class _Events(SimpleQueue[Event]):
    """A queue whose feeder ends with the state that says `none`."""

    def put(
        self,
        item: Event,
        block: bool = True,  # noqa: FBT001, FBT002 -- the signature of the base
        timeout: float | None = None,
    ) -> None:
        super().put(item, block, timeout)
        if isinstance(item, Routed) and item.state.log_level is BgpLogLevel.NONE:
            raise _EnoughError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    environ = {"HOSTNAME": "here", "CALICO_DATA_DIR": str(tmp_path)}
    return Settings.from_environment(environ)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with closing(open_store(settings)) as opened:
        yield opened


def _commit(store: Store, *operations: Operation) -> None:
    store.commit(Transaction((), operations, Note("t", "h", "c")))


def test_only_what_makes_another_routing_is_told(
    settings: Settings, store: Store
) -> None:
    _commit(
        store,
        Put(keys.bgp_address_key(HOST, Family.V4), b"192.0.2.1"),
        put_resource(PoolKey(POOL.cidr), POOL),
    )
    events = _Events()
    ended: list[BaseException] = []

    def feed() -> None:
        try:
            feed_routing(RoutingFeed(lambda: open_store(settings)), HOST, events)
        except _EnoughError as error:
            ended.append(error)

    feeder = Thread(target=feed)
    feeder.start()
    try:
        first = events.get(timeout=_WITHIN_S)
        assert isinstance(first, Routed)
        assert first.state.announced == ()
        for number in range(5):
            block = ip_network(f"10.0.{number}.0/26")
            _commit(store, Put(keys.ipam_affinity_key(OTHER, block), b""))
        _commit(store, Put(keys.bgp_config_key(OTHER, "loglevel"), b"debug"))
        # It changes what routing is computed from, and not what comes of it.
        _commit(store, Put(keys.bgp_as_number_key(None), b"64511"))
        own = ip_network("10.0.9.0/26")
        _commit(store, Put(keys.ipam_affinity_key(HOST, own), b""))
        second = events.get(timeout=_WITHIN_S)
        assert isinstance(second, Routed)
        assert second.state.announced == (own,)
    finally:
        _commit(store, Put(LEVEL, b"none"))
        feeder.join(_WITHIN_S)
    assert len(ended) == 1
    third = events.get_nowait()
    assert isinstance(third, Routed)
    assert events.empty()
