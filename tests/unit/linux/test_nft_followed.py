from collections.abc import Iterable

from calico.linux.nft_followed import TABLE_PREFIX, FollowedPacket
from calico.linux.nft_path import PathEnd
from calico.linux.nft_trace import TraceEvent, TraceKind, TraceVerdict

OWN, ANOTHERS = TABLE_PREFIX + "1", TABLE_PREFIX + "2"
ACCEPT, DROP = TraceVerdict.ACCEPT, TraceVerdict.DROP


def start(packet: int, table: str = OWN) -> TraceEvent:
    """The rule that sets the bit."""
    kind, verdict = TraceKind.RULE, TraceVerdict.CONTINUE
    return TraceEvent(packet, 1, table, "prerouting", kind, 4, verdict)


def passed(packet: int, chain: str, table: str = OWN) -> TraceEvent:
    """The end of an empty chain."""
    return TraceEvent(packet, 1, table, chain, TraceKind.POLICY, 0, ACCEPT)


def met(packet: int, handle: int, verdict: TraceVerdict = ACCEPT) -> TraceEvent:
    """A rule of the agent's table."""
    return TraceEvent(packet, 1, "calico", "x", TraceKind.RULE, handle, verdict)


def followed(events: Iterable[TraceEvent]) -> FollowedPacket:
    packet = FollowedPacket(OWN)
    for event in events:
        packet.take(event)
    return packet


def test_packet_is_followed_from_its_start_to_where_it_leaves() -> None:
    way = [start(7), passed(7, "prerouting"), met(7, 1), met(7, 2)]
    assert followed(way).end is None
    found = followed([*way, passed(7, "postrouting"), met(7, 3)])
    assert found.events == [met(7, 1), met(7, 2)]
    assert found.end is PathEnd.LEFT
    assert followed([*way, passed(7, "input")]).end is PathEnd.DELIVERED


def test_drop_ends_the_way() -> None:
    found = followed([start(7), met(7, 1, DROP), met(7, 2)])
    assert (found.end, found.events) == (PathEnd.DROPPED, [met(7, 1, DROP)])


def test_other_packets_are_left_out() -> None:
    others = [met(7, 9), start(8, ANOTHERS), met(8, 9), passed(8, "postrouting")]
    assert not followed(others).was_seen
    found = followed([*others, start(7), *others[2:], met(7, 1)])
    assert (found.events, found.end) == ([met(7, 1)], None)


def test_end_in_anothers_table_is_not_the_end() -> None:
    found = followed([start(7), passed(7, "postrouting", ANOTHERS), met(7, 1)])
    assert (found.events, found.end) == ([met(7, 1)], None)


def test_number_that_passed_to_another_packet_is_not_followed() -> None:
    found = followed([start(7), met(7, 1), start(7, ANOTHERS), met(7, 2, DROP)])
    assert (found.events, found.end) == ([met(7, 1)], None)


def test_packet_that_is_sent_again_does_not_count() -> None:
    for again in (7, 8):
        found = followed([start(7), met(7, 1), start(again), met(again, 2, DROP)])
        assert (found.events, found.end) == ([met(7, 1)], None)


def test_end_of_the_starting_rules_chain_is_no_other_start() -> None:
    kind, verdict = TraceKind.RULE, TraceVerdict.CONTINUE
    marker = TraceEvent(7, 1, OWN, "prerouting", kind, 0, verdict)
    assert followed([start(7), marker, met(7, 1)]).events == [met(7, 1)]
