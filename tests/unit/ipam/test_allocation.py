"""Addresses out of a whole store: where they come from and how they return."""

import json
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.codec.keys import (
    IPAM_CONFIG_KEY,
    IPAM_PREFIX,
    ipam_affinity_key,
    ipam_block_key,
    ipam_handle_key,
)
from calico.ipam.assign import Assigner, Claim, assign, assign_next
from calico.ipam.errors import (
    AlreadyAssigned,
    BlockOfAnotherHost,
    Exhausted,
    PoolNotFound,
)
from calico.ipam.release import (
    list_handles,
    read_attributes,
    release,
    release_handle,
    release_host,
    release_pool,
)
from calico.model.block import Attributes, block_of
from calico.model.errors import InvalidResource, Unavailable
from calico.model.names import HostName
from calico.model.network import Pool
from calico.model.snapshot import PoolKey
from calico.netset import Address, Family, Network
from calico.store.api import (
    Decide,
    Note,
    Put,
    Revision,
    Scope,
    Store,
    T,
    Transaction,
    View,
)
from calico.store.memory import MemoryStore
from calico.store.resources import put_resource

NOTE = Note("tester", "h", "test")
POOL = ip_network("10.1.0.0/24")
POOL_V6 = ip_network("fd80::/64")


def write(store: Store, *puts: Put) -> None:
    store.commit(Transaction((), puts, NOTE))


def pool_put(cidr: Network, **fields: bool) -> Put:
    return put_resource(PoolKey(cidr), Pool(cidr, **fields))


@pytest.fixture
def store() -> Store:
    made = MemoryStore()
    write(made, pool_put(POOL), pool_put(POOL_V6))
    return made


def claim(host: str = "h", handle: str | None = None) -> Claim:
    return Claim(HostName(host), Attributes(handle), NOTE)


def take(store: Store, host: str = "h", handle: str | None = None) -> Address:
    return assign_next(store, Family.V4, claim(host, handle))


def keys(store: Store) -> set[str]:
    return {item.key for item in store.list_prefix(IPAM_PREFIX).items}


def handle_counts(store: Store, handle: str) -> dict[str, int] | None:
    item = store.get(ipam_handle_key(handle))
    return None if item is None else json.loads(item.value)["block"]


def configure(store: Store, **config: bool) -> None:
    write(store, Put(IPAM_CONFIG_KEY, json.dumps(config).encode()))


def test_first_address_claims_a_block(store: Store) -> None:
    address = take(store)
    block = block_of(address)
    assert address == block.network_address
    assert keys(store) == {
        ipam_block_key(block),
        ipam_affinity_key(HostName("h"), block),
    }


def test_host_fills_its_block_before_it_claims_another(store: Store) -> None:
    found = [take(store) for _ in range(65)]
    assert len({block_of(address) for address in found[:64]}) == 1
    assert block_of(found[64]) != block_of(found[0])


def test_hosts_have_blocks_of_their_own(store: Store) -> None:
    blocks = {block_of(take(store, f"h{n}")) for n in range(4)}
    assert len(blocks) == 4


def test_full_pools_lend_from_the_blocks_of_others_until_empty(store: Store) -> None:
    found = {take(store, f"h{n % 5}") for n in range(256)}
    assert len(found) == 256
    with pytest.raises(Exhausted) as caught:
        take(store)
    said, _, next_step = str(caught.value).partition("\n")
    assert next_step.startswith("`calicoctl pool show` lists the pools;")
    assert said == (
        "Failed to allocate any IPs (requested 1 IPv4s and 0 IPv6s). "
        "Pools are likely exhausted."
    )


def test_strict_affinity_lends_nothing(store: Store) -> None:
    configure(store, strict_affinity=True)
    for n in range(4):
        take(store, f"h{n}")
    with pytest.raises(Exhausted):
        take(store, "h4")


def test_strict_block_of_another_host_gives_nothing_by_name(store: Store) -> None:
    configure(store, strict_affinity=True)
    address = take(store, "h1")
    with pytest.raises(BlockOfAnotherHost) as caught:
        assign(store, address + 1, claim("h2"))
    assert caught.value.host == "h1"


def test_without_new_blocks_only_existing_ones_are_used(store: Store) -> None:
    configure(store, auto_allocate_blocks=False)
    with pytest.raises(Exhausted):
        take(store)
    assign(store, ip_address("10.1.0.200"), claim("h2"))
    assert block_of(take(store)) == ip_network("10.1.0.192/26")


def test_families_have_pools_of_their_own(store: Store) -> None:
    assert assign_next(store, Family.V6, claim()) in POOL_V6
    with pytest.raises(Exhausted) as caught:
        assign_next(MemoryStore(), Family.V6, claim())
    assert (caught.value.n_ipv4, caught.value.n_ipv6) == (0, 1)


@pytest.mark.parametrize("field", ["is_disabled", "is_for_ipam"])
def test_disabled_pool_gives_nothing(field: str) -> None:
    store = MemoryStore()
    write(store, pool_put(POOL, **{field: field == "is_disabled"}))
    with pytest.raises(Exhausted):
        take(store)
    with pytest.raises(PoolNotFound):
        assign(store, ip_address("10.1.0.1"), claim())


def test_address_comes_from_the_pool_asked_for(store: Store) -> None:
    other = ip_network("10.2.0.0/26")
    write(store, pool_put(other))
    take(store)
    found = [assign_next(store, Family.V4, claim(), other) for _ in range(64)]
    assert all(address in other for address in found)
    with pytest.raises(Exhausted):
        assign_next(store, Family.V4, claim(), other)


def test_particular_address_claims_its_block(store: Store) -> None:
    address = ip_address("10.1.0.255")
    assign(store, address, claim())
    assert ipam_affinity_key(HostName("h"), block_of(address)) in keys(store)
    assert read_attributes(store, address) == Attributes()


def test_taken_address_is_refused_with_its_pool(store: Store) -> None:
    assign(store, ip_address("10.1.0.0"), claim(handle="a"))
    with pytest.raises(AlreadyAssigned) as caught:
        assign(store, ip_address("10.1.0.0"), claim())
    assert str(caught.value) == "IP address is already assigned in pool 10.1.0.0/24."
    assert caught.value.handle == "a"


def test_address_outside_every_pool_is_refused(store: Store) -> None:
    with pytest.raises(PoolNotFound) as caught:
        assign(store, ip_address("10.9.0.1"), claim())
    assert str(caught.value) == "10.9.0.1 is not in any configured pools"
    assert keys(store) == set()


def test_release_says_what_was_free(store: Store) -> None:
    first, second = take(store), take(store)
    assert release(store, [first, second + 1], NOTE) == {second + 1}
    assert release(store, [first], NOTE) == {first}
    assert read_attributes(store, first) is None
    assert read_attributes(store, second) == Attributes()


def test_release_in_an_unknown_block_says_free(store: Store) -> None:
    address = ip_address("192.0.2.1")
    assert release(store, [address], NOTE) == {address}
    assert read_attributes(store, address) is None


def test_released_address_is_given_last(store: Store) -> None:
    first = take(store)
    release(store, [first], NOTE)
    assert [take(store) for _ in range(64)][-1] == first


def test_handle_counts_addresses_by_block(store: Store) -> None:
    assign(store, ip_address("10.1.0.1"), claim(handle="a"))
    assign(store, ip_address("10.1.0.2"), claim(handle="a"))
    assign(store, ip_address("10.1.0.70"), claim(handle="a"))
    assert handle_counts(store, "a") == {"10.1.0.0/26": 2, "10.1.0.64/26": 1}
    release(store, [ip_address("10.1.0.1")], NOTE)
    assert handle_counts(store, "a") == {"10.1.0.0/26": 1, "10.1.0.64/26": 1}
    kept = [ip_address("10.1.0.70")]
    assert release_handle(store, "a", NOTE, keep=kept) == (ip_address("10.1.0.2"),)
    assert handle_counts(store, "a") == {"10.1.0.64/26": 1}
    assert release_handle(store, "a", NOTE) == (ip_address("10.1.0.70"),)
    assert handle_counts(store, "a") is None
    assert release_handle(store, "a", NOTE) == ()


def test_one_release_may_concern_several_handles(store: Store) -> None:
    addresses = [take(store, handle=f"handle{n}") for n in range(5)]
    assert release(store, addresses, NOTE) == frozenset()
    assert list_handles(store, "handle") == ()


def test_handles_are_found_by_what_they_start_with(store: Store) -> None:
    for handle in ("h.namespace./run/a.1", "h.namespace./run/a.2", "h.docker.x.3"):
        take(store, handle=handle)
    assert list_handles(store, "h.namespace./run/a.") == (
        "h.namespace./run/a.1",
        "h.namespace./run/a.2",
    )


def test_removed_pool_keeps_only_what_is_in_use(store: Store) -> None:
    used = take(store, "h1")
    free = take(store, "h2")
    other = assign_next(store, Family.V6, claim("h1"))
    release(store, [free], NOTE)
    release_pool(store, POOL, NOTE)
    assert keys(store) == {
        ipam_block_key(block_of(used)),
        ipam_block_key(block_of(other)),
        ipam_affinity_key(HostName("h1"), block_of(other)),
    }
    assert release(store, [used], NOTE) == frozenset()
    assert ipam_block_key(block_of(used)) not in keys(store)


def test_removed_host_keeps_only_what_is_in_use(store: Store) -> None:
    used = take(store, "h1", "a")
    other = take(store, "h2")
    empty = assign_next(store, Family.V6, claim("h1"))
    release(store, [empty], NOTE)
    release_host(store, HostName("h1"), NOTE)
    release_host(store, HostName("h1"), NOTE)
    assert keys(store) == {
        ipam_block_key(block_of(used)),
        ipam_handle_key("a"),
        ipam_block_key(block_of(other)),
        ipam_affinity_key(HostName("h2"), block_of(other)),
    }


def test_mark_without_block_goes_with_its_host(store: Store) -> None:
    key = ipam_affinity_key(HostName("h1"), ip_network("10.1.0.0/26"))
    write(store, Put(key, b""))
    release_host(store, HostName("h1"), NOTE)
    assert keys(store) == set()


def test_block_that_cannot_be_read_is_passed_over_and_named(store: Store) -> None:
    first = take(store)
    key = ipam_block_key(block_of(first))
    write(store, Put(key, b"{}"))
    assert block_of(take(store)) != block_of(first)
    with pytest.raises(InvalidResource, match="assignment/ipv4/block"):
        release(store, [first], NOTE)
    with pytest.raises(InvalidResource, match="assignment/ipv4/block"):
        assign(store, first, claim())


steps = st.lists(
    st.tuples(
        st.sampled_from(["next", "take", "back", "host"]),
        st.integers(0, 255),
        st.sampled_from(["h1", "h2", "h3"]),
    ),
    max_size=40,
)


@given(steps)
def test_no_history_gives_an_address_twice(
    history: list[tuple[str, int, str]],
) -> None:
    store = MemoryStore()
    write(store, pool_put(POOL))
    owners: dict[Address, str] = {}
    for verb, number, host in history:
        address = POOL[number]
        match verb:
            case "next":
                found = take(store, host, host)
                assert found not in owners
                owners[found] = host
            case "take" if address in owners:
                with pytest.raises(AlreadyAssigned):
                    assign(store, address, claim(host, host))
            case "take":
                assign(store, address, claim(host, host))
                owners[address] = host
            case "back":
                was_free = release(store, [address], NOTE)
                assert bool(was_free) == (owners.pop(address, None) is None)
            case _:
                release_host(store, HostName(host), NOTE)
        for each in ("h1", "h2", "h3"):
            counts = handle_counts(store, each) or {}
            assert sum(counts.values()) == list(owners.values()).count(each)
    for address in POOL:
        known = read_attributes(store, address)
        assert (known.handle if known else None) == owners.get(address)


class CountingStore(MemoryStore):
    """A store that knows how large its largest transaction was."""

    n_most = 0

    def update(self, scope: Scope, decide: Decide[T]) -> tuple[Revision, T]:
        def counted(view: View) -> tuple[Transaction | None, T]:
            made, result = decide(view)
            n_operations = 0 if made is None else len(made.operations)
            # What was read is compared, and prefixes are short: pools.
            self.n_most = max(self.n_most, n_operations, len(view.items))
            self.n_most = max(self.n_most, len(scope.keys))
            return made, result

        return super().update(scope, counted)

    def commit(self, transaction: Transaction) -> Revision:
        """Count, and commit."""
        n_operations = len(transaction.operations)
        self.n_most = max(self.n_most, n_operations, len(transaction.compares))
        return super().commit(transaction)


N_ETCD_TAKES = 128


def test_hundreds_of_blocks_go_in_steps_that_etcd_takes() -> None:
    store = CountingStore()
    pool = ip_network("10.2.0.0/18")
    write(store, pool_put(pool))
    for n in range(0, 256, 2):
        for host in ("a", "b"):
            # One block that is used and one that is empty, of each host.
            used = pool[64 * (n + (host == "b"))]
            assign(store, used, claim(host, f"handle-{n % 7}"))
            if n % 4 == 0:
                release(store, [used], NOTE)
    assert len([k for k in keys(store) if "/block/" in k]) == 512
    remains = release_pool(store, pool, NOTE)
    assert remains == (128, 128)
    assert not any("/host/" in key for key in keys(store))
    assert len([k for k in keys(store) if "/block/" in k]) == 128
    assert release_pool(store, pool, NOTE) == (128, 128)
    for n in range(7):
        release_handle(store, f"handle-{n}", NOTE)
    assert keys(store) == set()
    assert 0 < store.n_most < N_ETCD_TAKES


def test_removal_of_a_host_goes_in_steps() -> None:
    counting = CountingStore()
    pool = ip_network("10.2.0.0/18")
    write(counting, pool_put(pool))
    for n in range(200):
        assign(counting, pool[64 * n], claim("a"))
    release(counting, [pool[64 * n] for n in range(100)], NOTE)
    release_host(counting, HostName("a"), NOTE)
    assert not any("/host/" in key for key in keys(counting))
    assert len(keys(counting)) == 100
    assert counting.n_most < N_ETCD_TAKES


def test_full_cluster_is_searched_a_block_at_a_time() -> None:
    store = CountingStore()
    pool = ip_network("10.2.0.0/20")
    write(store, pool_put(pool))
    for n in range(64):
        host = "full" if n < 40 else "other"
        for ordinal in range(64 if n < 60 else 63):
            assign(store, pool[64 * n + ordinal], claim(host))
    found = {take(store, "full") for _ in range(4)}
    assert found == {pool[64 * n + 63] for n in range(60, 64)}
    with pytest.raises(Exhausted):
        take(store, "full")
    assert store.n_most < N_ETCD_TAKES


def test_interrupted_removal_of_a_pool_goes_on() -> None:
    class Dying(CountingStore):
        n_left = 3

        def update(self, scope: Scope, decide: Decide[T]) -> tuple[Revision, T]:
            if self.n_left == 0:
                raise Unavailable("etcd", "is gone")
            self.n_left -= 1
            return super().update(scope, decide)

    store = Dying()
    pool = ip_network("10.2.0.0/18")
    write(store, pool_put(pool))
    store.n_left = 200
    for n in range(200):
        assign(store, pool[64 * n], claim("a"))
    store.n_left = 3
    with pytest.raises(Unavailable):
        release_pool(store, pool, NOTE)
    assert 0 < len([k for k in keys(store) if "/host/" in k]) < 200
    store.n_left = 100
    assert release_pool(store, pool, NOTE) == (200, 200)
    assert not any("/host/" in key for key in keys(store))


def test_process_that_stays_looks_where_it_was_and_believes_nothing(
    store: Store,
) -> None:
    assigner = Assigner(store)
    taken = [assigner.assign_next(Family.V4, claim("a")) for _ in range(65)]
    assert len(set(taken)) == 65
    (first, *_, second) = map(block_of, taken)
    assert first != second
    # The block is nobody's any more: another one becomes the host's.
    release_host(store, HostName("a"), NOTE)
    assert block_of(take(store, "b")) not in {first, second}
    another = assigner.assign_next(Family.V4, claim("a"))
    assert block_of(another) not in {first, second}
    # So is one that is gone altogether.
    release(store, [another], NOTE)
    release_host(store, HostName("a"), NOTE)
    again = assigner.assign_next(Family.V4, claim("a"))
    assert ipam_affinity_key(HostName("a"), block_of(again)) in keys(store)
