import pytest

from calico.model.errors import (
    BatchTooLarge,
    CalicoError,
    Compacted,
    Conflict,
    InvalidResource,
    KernelRejected,
    LeaseExpired,
    NotPermitted,
    OutcomeUnknown,
    RuleSyntaxError,
    StoreBusy,
    StoreCorrupt,
    StoreFull,
    StoreNotPermitted,
    StoreWentBack,
    Unavailable,
    UnresolvedReference,
)


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (
            InvalidResource("pool", "`10/8`", "a network", "write 10.0.0.0/8"),
            ["pool: found `10/8`, expected a network; write 10.0.0.0/8"],
        ),
        (InvalidResource("tag", "``", "a name"), ["tag: found ``, expected a name"]),
        (
            RuleSyntaxError("allow tpc", 6, "a protocol"),
            ["rule `allow tpc`: expected a protocol at column 7"],
        ),
        (
            UnresolvedReference("endpoint e", "profile", "WEB"),
            ["endpoint e", "profile `WEB`", "it does not exist"],
        ),
        (KernelRejected("a rule", 22, "invalid argument"), ["a rule", "errno 22"]),
        (BatchTooLarge(900, 200), ["900 bytes", "200 bytes"]),
        (Conflict("/k", 3, 5), ["/k", "3", "5"]),
        (Conflict("/k", 0, 5), ["/k", "5"]),
        (Conflict("/k", 3, 0), ["/k", "3"]),
        (OutcomeUnknown("http://e", "no answer"), ["http://e", "no answer", "look"]),
        (LeaseExpired(255), ["lease ff has expired"]),
        (Compacted(3, 9), ["revision 3", "9"]),
        (
            Unavailable("/s.db", "not found", ("make it", "name another")),
            ["/s.db: not found; make it, or name another"],
        ),
        (Unavailable("/s.db", "not found"), ["/s.db: not found"]),
        (
            NotPermitted("send a packet", "CAP_NET_RAW"),
            ["not permitted to send a packet: run as root, or with CAP_NET_RAW"],
        ),
        (StoreNotPermitted("/s.db", "belongs to root"), ["belongs to root"]),
        (StoreBusy("/s.db", 2.5, "pid 7"), ["2.5 s", "pid 7"]),
        (StoreBusy("/s.db", 2.5, ""), ["unknown process"]),
        (StoreFull("/s.db", 512), ["512 bytes free", "nothing was changed"]),
        (StoreCorrupt("/s.db", "no database"), ["no database"]),
        (StoreWentBack("/s.db", 9, 4, ("restore it",)), ["9", "4", "restore it"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_error_says_where_what_and_what_next(
    error: CalicoError, parts: list[str]
) -> None:
    for part in parts:
        assert part in str(error)
