"""What a transaction refuses to be."""

import pytest

from calico.store.api import Delete, DeletePrefix, Note, Operation, Put, Transaction

NOTE = Note("a", "h", "c")


@pytest.mark.parametrize(
    "operations",
    [
        (Put("", b""),),
        (Put("/a\0b", b""),),
        (Delete(""),),
        (DeletePrefix(""),),
        (Put("/a", b"1"), Put("/a", b"2")),
        (Put("/a", b"1"), Delete("/a")),
        (Delete("/a"), Delete("/a")),
        (DeletePrefix("/a/"), Put("/a/b", b"")),
        (Delete("/a/b"), DeletePrefix("/a")),
    ],
)
def test_transaction_of_bad_or_doubly_touched_keys_is_refused(
    operations: tuple[Operation, ...],
) -> None:
    with pytest.raises(ValueError, match="key"):
        Transaction((), operations, NOTE)


def test_prefixes_may_overlap_each_other_and_touch_nothing() -> None:
    operations = (DeletePrefix("/a"), DeletePrefix("/a/b"), Put("/b", b""))
    assert Transaction((), operations, NOTE).operations == operations
