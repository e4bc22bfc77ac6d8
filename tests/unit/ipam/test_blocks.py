"""The algebra of one block: nothing is given twice, nothing is lost."""

from ipaddress import ip_network
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.ipam.blocks import (
    allocated,
    allocated_under,
    candidate_blocks,
    give_back,
    has_free,
    is_empty,
    take,
    take_next,
)
from calico.model.block import Attributes, Block, make_block
from calico.model.names import HostName
from calico.netset import Address

HOST = HostName("h")
FRESH = make_block(ip_network("10.0.0.0/26"), HOST, is_strict=False)
HANDLES = (Attributes(None), Attributes("a"), Attributes("b", {"time": "1"}))


def addresses(block: Block) -> list[Address]:
    return [address for address, _ in allocated(block)]


steps = st.lists(
    st.tuples(st.sampled_from(["next", "take", "back"]), st.integers(0, 63)),
    max_size=150,
)


@given(steps)
def test_any_history_keeps_every_address_once(history: list[tuple[str, int]]) -> None:
    block = FRESH
    taken: dict[Address, Attributes] = {}
    for verb, number in history:
        address, known = block.address(number), HANDLES[number % 3]
        if verb == "next" and has_free(block):
            block, given_away = take_next(block, known)
            assert given_away not in taken
            taken[given_away] = known
        elif verb == "take" and address not in taken:
            block = take(block, address, known)
            taken[address] = known
        elif verb == "back":
            block = give_back(block, [address])
            taken.pop(address, None)
        assert dict(allocated(block)) == taken
        free = {block.address(n) for n in block.unallocated}
        assert len(free) == len(block.unallocated) == 64 - len(taken)
        assert not free & taken.keys()
        assert len(set(map(repr, block.attributes))) == len(block.attributes)
    assert is_empty(block) == (not taken)


def test_addresses_are_handed_out_in_order() -> None:
    block = FRESH
    found: list[str] = []
    while has_free(block):
        block, address = take_next(block, HANDLES[0])
        found.append(str(address))
    assert found == [f"10.0.0.{n}" for n in range(64)]


def test_released_address_comes_last() -> None:
    block, first = take_next(FRESH, HANDLES[0])
    block = give_back(block, [first])
    found: list[Address] = []
    while has_free(block):
        block, address = take_next(block, HANDLES[0])
        found.append(address)
    assert found[-1] == first
    assert len(set(found)) == 64


def test_unused_attributes_are_dropped() -> None:
    block = take(FRESH, FRESH.address(5), HANDLES[1])
    block = take(block, FRESH.address(6), HANDLES[2])
    left = give_back(block, [FRESH.address(5)])
    assert left.attributes == (HANDLES[2],)
    assert left.attributes_of(FRESH.address(6)) == HANDLES[2]


def test_giving_back_what_is_free_changes_nothing() -> None:
    assert give_back(FRESH, [FRESH.address(1)]) == FRESH


def test_addresses_are_found_by_handle() -> None:
    block = take(FRESH, FRESH.address(9), HANDLES[1])
    block = take(block, FRESH.address(3), HANDLES[1])
    block = take(block, FRESH.address(4), HANDLES[2])
    assert allocated_under(block, "a") == (FRESH.address(3), FRESH.address(9))
    assert addresses(block) == [FRESH.address(n) for n in (3, 4, 9)]


@pytest.mark.parametrize("pool", ["10.0.0.0/26", "10.0.0.0/20", "fd80::/114"])
def test_candidates_are_all_blocks_of_the_pool_once(pool: str) -> None:
    network = ip_network(pool)
    found = list(candidate_blocks(network, HOST))
    assert len(set(found)) == len(found) == network.num_addresses // 64
    assert sum(each.num_addresses for each in found) == network.num_addresses
    assert all(each.network_address in network for each in found)


def test_hosts_begin_at_different_blocks() -> None:
    pool = ip_network("fd80:24e2:f998:72d6::/64")
    firsts = {
        next(iter(islice(candidate_blocks(pool, HostName(f"host{n}")), 1)))
        for n in range(50)
    }
    assert len(firsts) == 50
    assert list(islice(candidate_blocks(pool, HOST), 3)) == list(
        islice(candidate_blocks(pool, HOST), 3)
    )
