"""What does not fit is found and mended, and nothing that is alive is touched."""

import json
from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calico.codec.keys import (
    encode_key,
    ipam_affinity_key,
    ipam_block_key,
    ipam_handle_key,
)
from calico.ipam.assign import Claim, assign, assign_next
from calico.ipam.check import Kind, check
from calico.ipam.errors import NotHeld
from calico.ipam.handles import endpoint_handle, hold, tunnel_handle
from calico.ipam.mend import Mender, Outcome
from calico.ipam.release import read_attributes, release, release_handle
from calico.ipam.survey import read_survey
from calico.model.block import Attributes, block_of
from calico.model.endpoint import EndpointState, WorkloadEndpoint
from calico.model.errors import Conflict
from calico.model.names import (
    EndpointId,
    EndpointKey,
    HostName,
    InterfaceName,
    OrchestratorId,
    Revision,
    WorkloadId,
)
from calico.model.network import Pool
from calico.model.snapshot import PoolKey, SettingKey
from calico.netset import Address, Family
from calico.store.api import Decide, Delete, Note, Put, Scope, T, Transaction
from calico.store.memory import MemoryStore
from calico.store.resources import put_resource

NOTE = Note("tester", "h", "test")
POOL = ip_network("10.1.0.0/22")
OTHER_POOL = ip_network("10.9.0.0/20")
NOWHERE = ip_network("172.16.0.0/16")
HOSTS = ("h1", "h2")
Expected = set[tuple[Kind, str]]


def no_wait(_: int) -> None:
    pass


class World:
    """A datastore with hosts, in which things go wrong.

    What is planted goes to places of its own, so that faults do not disturb
    each other.
    """

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.n = 0
        self.put(put_resource(PoolKey(POOL), Pool(POOL)))
        self.put(put_resource(PoolKey(OTHER_POOL), Pool(OTHER_POOL)))
        for host in HOSTS:
            self.put(put_resource(SettingKey("marker", HostName(host)), "created"))

    def put(self, *operations: Put | Delete) -> None:
        self.store.commit(Transaction((), operations, NOTE))

    def number(self) -> int:
        self.n += 1
        return self.n

    def key(self, host: str) -> EndpointKey:
        name = f"w.{self.number()}"
        return EndpointKey(
            HostName(host),
            OrchestratorId("namespace"),
            WorkloadId(name),
            EndpointId(f"e{self.n}"),
        )

    def write(self, key: EndpointKey, *addresses: Address) -> None:
        interface = InterfaceName(f"cali{key.endpoint}")
        state = EndpointState.ACTIVE
        value = WorkloadEndpoint(key, state, interface, None, (), addresses)
        self.put(put_resource(key, value))

    def take(self, key: EndpointKey) -> Address:
        claim = Claim(key.host, Attributes(endpoint_handle(key), {"time": "t"}), NOTE)
        return assign_next(self.store, Family.V4, claim, POOL)

    def workload(self, host: str = "h1") -> tuple[EndpointKey, Address]:
        key = self.key(host)
        address = self.take(key)
        self.write(key, address)
        return key, address

    def spare(self) -> Address:
        """Return an address that nobody has, in a block that there is not."""
        return OTHER_POOL[64 * self.number() + 5]

    # Each plants one fault and says what must be found.

    def nothing(self) -> Expected:
        self.workload()
        return set()

    def leak(self) -> Expected:
        return {(Kind.LEAK, str(self.take(self.key("h2"))))}

    def leak_of_gone_host(self) -> Expected:
        """A host that is gone has left an address, in a block of its own."""
        address = self.spare()
        handle = f"lost.namespace.w.e{self.n}"
        claim = Claim(HostName("lost"), Attributes(handle), NOTE)
        assign(self.store, address, claim)
        return {(Kind.LEAK, str(address))}

    def leak_beside_endpoint(self) -> Expected:
        key, _ = self.workload()
        return {(Kind.LEAK, str(self.take(key)))}

    def leak_without_handle(self) -> Expected:
        claim = Claim(HostName("h1"), Attributes(), NOTE)
        return {(Kind.LEAK, str(assign_next(self.store, Family.V4, claim, POOL)))}

    def uncovered(self) -> Expected:
        address = self.spare()
        self.write(self.key("h2"), address)
        return {(Kind.UNCOVERED, str(address))}

    def double(self) -> Expected:
        _, address = self.workload()
        self.write(self.key("h2"), address)
        return {(Kind.DOUBLE, str(address))}

    def other_handle(self) -> Expected:
        key, address = self.workload()
        self.put(Delete(encode_key(key)))
        self.write(self.key("h2"), address)
        return {(Kind.OTHER_HANDLE, str(address))}

    def orphan_handle(self) -> Expected:
        handle = f"h1.namespace.gone.e{self.number()}"
        value = {"id": handle, "block": {"10.1.0.0/26": 2}}
        self.put(Put(ipam_handle_key(handle), json.dumps(value).encode()))
        return {(Kind.ORPHAN_HANDLE, handle)}

    def wrong_handle(self) -> Expected:
        key, address = self.workload()
        handle = endpoint_handle(key)
        value = {"id": handle, "block": {str(block_of(address)): 9}}
        self.put(Put(ipam_handle_key(handle), json.dumps(value).encode()))
        return {(Kind.WRONG_HANDLE, handle)}

    def missing_handle(self) -> Expected:
        handle = endpoint_handle(self.workload()[0])
        self.put(Delete(ipam_handle_key(handle)))
        return {(Kind.WRONG_HANDLE, handle)}

    def stray_mark(self) -> Expected:
        block = block_of(self.spare())
        self.put(Put(ipam_affinity_key(HostName("h1"), block), b""))
        return {(Kind.STRAY_MARK, str(block))}

    def missing_mark(self) -> Expected:
        address = self.spare()
        assign(self.store, address, Claim(HostName("h1"), Attributes(), NOTE))
        release(self.store, [address], NOTE)
        block = block_of(address)
        self.put(Delete(ipam_affinity_key(HostName("h1"), block)))
        return {(Kind.MISSING_MARK, str(block))}

    def outside(self) -> Expected:
        """A host keeps an empty block of a pool that is gone."""
        block = ip_network((int(NOWHERE[64 * self.number()]), 26))
        pool = put_resource(PoolKey(block), Pool(block))
        self.put(pool)
        assign(self.store, block[0], Claim(HostName("h1"), Attributes(), NOTE))
        release(self.store, [block[0]], NOTE)
        self.put(Delete(pool.key))
        return {(Kind.OUTSIDE, str(block))}

    def gone_host(self) -> Expected:
        address = self.spare()
        assign(self.store, address, Claim(HostName("gone"), Attributes(), NOTE))
        release(self.store, [address], NOTE)
        return {(Kind.GONE_HOST, str(block_of(address)))}

    def found(self) -> list[tuple[Kind, str]]:
        return [(f.kind, f.subject) for f in check(read_survey(self.store))]

    def mend(self, wait: Callable[[int], None] = no_wait) -> tuple[Outcome, ...]:
        return Mender(self.store, NOTE, "now", wait).mend()

    def live(self) -> set[Address]:
        return set(read_survey(self.store).users)


FAULTS: tuple[Callable[[World], Expected], ...] = (
    World.leak,
    World.leak_of_gone_host,
    World.leak_beside_endpoint,
    World.leak_without_handle,
    World.uncovered,
    World.double,
    World.other_handle,
    World.orphan_handle,
    World.wrong_handle,
    World.missing_handle,
    World.stray_mark,
    World.missing_mark,
    World.outside,
    World.gone_host,
)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([*FAULTS, World.nothing]), max_size=30),
    st.integers(0, 5),
)
def test_exactly_what_was_planted_is_found_and_mended(
    faults: list[Callable[[World], Expected]], n_workloads: int
) -> None:
    world = World()
    for n in range(n_workloads):
        world.workload(HOSTS[n % 2])
    planted: Expected = set()
    for fault in faults:
        planted |= fault(world)
    before = world.store.list_prefix("")
    found = world.found()
    assert set(found) == planted
    assert len(found) == len(planted)
    assert world.store.list_prefix("") == before

    alive = world.live()
    outcomes = world.mend()
    assert world.live() == alive
    # Nothing that is alive is free, or can be given to somebody else.
    survey = read_survey(world.store)
    for address in alive:
        assert survey.blocks[block_of(address)].attributes_of(address) is not None
    left = {(o.finding.kind, o.finding.subject) for o in outcomes if o.left}
    assert left == {each for each in planted if each[0] is Kind.DOUBLE}
    assert set(world.found()) == left
    assert planted <= {(o.finding.kind, o.finding.subject) for o in outcomes}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_each_fault_alone_is_found(fault: Callable[[World], Expected]) -> None:
    world = World()
    world.workload()
    assert world.found() == []
    planted = fault(world)
    assert set(world.found()) == planted
    world.mend()
    assert {kind for kind, _ in world.found()} <= {Kind.DOUBLE}


def test_endpoint_written_between_the_looks_keeps_its_address() -> None:
    world = World()
    keys = [world.key("h1") for _ in range(2)]
    addresses = [world.take(key) for key in keys]
    told: list[int] = []

    def wait(n_leaks: int) -> None:
        told.append(n_leaks)
        world.write(keys[0], addresses[0])

    outcomes = world.mend(wait)
    assert told == [2]
    assert [o.finding.address for o in outcomes] == [addresses[1]]
    assert read_attributes(world.store, addresses[0]) is not None
    assert read_attributes(world.store, addresses[1]) is None


def test_address_taken_anew_between_the_looks_is_no_leak_yet() -> None:
    world = World()
    key = world.key("h1")
    address = world.take(key)
    claim = Claim(key.host, Attributes(endpoint_handle(key), {"time": "t"}), NOTE)

    def wait(_: int) -> None:
        release_handle(world.store, endpoint_handle(key), NOTE)
        assign(world.store, address, claim)

    (outcome,) = world.mend(wait)
    assert outcome.left == "it was changed meanwhile; check again"
    assert read_attributes(world.store, address) is not None


class LateStore(MemoryStore):
    """A store in which somebody is just ahead of the change of a block."""

    ahead: Callable[[], None] | None = None

    def update(self, scope: Scope, decide: Decide[T]) -> tuple[Revision, T]:
        """Let the other one write first."""
        if self.ahead is not None:
            act, self.ahead = self.ahead, None
            act()
        return super().update(scope, decide)


def test_endpoint_written_after_the_second_look_keeps_its_address() -> None:
    store = LateStore()
    world = World(store)
    key = world.key("h1")
    address = world.take(key)

    def write_as_attach_does() -> None:
        held = hold(store, endpoint_handle(key), [address])
        value = WorkloadEndpoint(
            key, EndpointState.ACTIVE, InterfaceName("cali1"), None, (), (address,)
        )
        put = put_resource(key, value)
        store.commit(Transaction((held.compare,), (put, held.put), NOTE))

    def wait(_: int) -> None:
        store.ahead = write_as_attach_does

    (outcome,) = world.mend(wait)
    assert store.ahead is None
    assert outcome.left == "it was changed meanwhile; check again"
    assert read_attributes(store, address) is not None
    assert world.found() == []


def test_endpoint_is_not_written_once_its_address_was_given_back() -> None:
    world = World()
    key = world.key("h1")
    address = world.take(key)
    handle = endpoint_handle(key)
    held = hold(world.store, handle, [address])
    (outcome,) = world.mend()
    assert outcome.left is None
    with pytest.raises(Conflict):
        world.store.commit(Transaction((held.compare,), (held.put,), NOTE))
    with pytest.raises(NotHeld, match="given back meanwhile"):
        hold(world.store, handle, [address])


def test_handle_without_enough_addresses_holds_nothing() -> None:
    world = World()
    key, address = world.workload()
    with pytest.raises(NotHeld):
        hold(world.store, endpoint_handle(key), [address, ip_address("10.1.3.9")])


def test_address_of_an_endpoint_that_cannot_be_read_is_no_leak() -> None:
    world = World()
    keys = [world.key("h1") for _ in range(3)]
    addresses = [world.take(key) for key in keys]
    world.put(Put(encode_key(keys[0]), b"{"))
    world.put(Put(encode_key(world.key("h2")), b'{"x": "%b/32"}' % str(
        addresses[1]
    ).encode()))  # fmt: skip
    assert world.found() == [(Kind.LEAK, str(addresses[2]))]
    world.mend()
    assert [read_attributes(world.store, a) is None for a in addresses] == [
        False,
        False,
        True,
    ]


def test_unreadable_block_is_named_and_left() -> None:
    world = World()
    _, address = world.workload()
    key = ipam_block_key(block_of(address))
    world.put(Put(key, b"[]"))
    (outcome,) = world.mend()
    assert (outcome.finding.kind, outcome.finding.subject) == (Kind.UNREADABLE, key)
    assert outcome.left == "it must be repaired by hand, or from a backup"
    item = world.store.get(key)
    assert item is not None
    assert item.value == b"[]"


def test_address_of_a_tunnel_is_no_leak() -> None:
    world = World()
    claim = Claim(HostName("h1"), Attributes(), NOTE)
    address = assign_next(world.store, Family.V4, claim, POOL)
    tunnel = SettingKey("IpInIpTunnelAddr", HostName("h1"))
    world.put(put_resource(tunnel, str(address)))
    assert world.found() == []


def test_address_that_a_host_has_itself_is_a_leak_once_the_host_is_gone() -> None:
    world = World()
    taken: list[Address] = []
    for host in ("h1", "gone"):
        handle = tunnel_handle(HostName(host))
        claim = Claim(HostName(host), Attributes(handle), NOTE)
        taken.append(assign_next(world.store, Family.V4, claim, POOL))
    assert world.found() == [(Kind.LEAK, str(taken[1]))]


def test_many_leaks_without_a_handle_are_all_freed() -> None:
    world = World()
    claim = Claim(HostName("h1"), Attributes(), NOTE)
    for _ in range(150):
        assign_next(world.store, Family.V4, claim, POOL)
    outcomes = world.mend()
    assert len(outcomes) == 150
    assert {o.left for o in outcomes} == {None}
    assert world.found() == []


def test_many_leaks_of_one_handle_in_many_blocks_are_all_freed() -> None:
    world = World()
    claim = Claim(HostName("h1"), Attributes("bulk"), NOTE)
    for _ in range(150):
        assign_next(world.store, Family.V4, claim, POOL)
    assert {o.left for o in world.mend()} == {None}
    assert world.found() == []
    assert world.store.get(ipam_handle_key("bulk")) is None
