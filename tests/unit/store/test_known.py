import pytest
from store_backends import MemoryBackend

from calico.codec.keys import CONFIG_PREFIX
from calico.store.api import Note, Put, Transaction
from calico.store.known import COMPARE_EVERY_S, COMPARE_KEYS, Known, compare_every

NOTE = Note("t", "t", "t")


@pytest.mark.parametrize(
    ("n_keys", "expected_s"),
    [
        (0, COMPARE_EVERY_S),
        (COMPARE_KEYS, COMPARE_EVERY_S),
        (10 * COMPARE_KEYS, 10 * COMPARE_EVERY_S),
    ],
)
def test_many_keys_are_compared_less_often(n_keys: int, expected_s: float) -> None:
    assert compare_every(COMPARE_EVERY_S, n_keys) == expected_s


def test_those_who_begin_together_compare_at_different_times() -> None:
    dues = [Known((CONFIG_PREFIX,), 1_000_000.0).due_in() for _ in range(50)]
    assert max(dues) - min(dues) > 100_000
    assert 700_000 < min(dues) < max(dues) < 1_300_000


def test_lost_event_is_told_the_second_time_it_is_seen() -> None:
    store = MemoryBackend().open()
    known = Known((CONFIG_PREFIX,), 1000.0)
    listing = store.list_prefix(CONFIG_PREFIX)
    known.replace(listing.items, listing.revision)
    assert known.compare(store) is None
    store.commit(Transaction((), (Put(f"{CONFIG_PREFIX}A", b"1"),), NOTE))
    assert known.compare(store) is None
    assert known.due_in() < 10
    assert known.compare(store) == (
        f"1 keys are not as they were told, first {CONFIG_PREFIX}A"
    )
