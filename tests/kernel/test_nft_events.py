"""Who commits what is told, once per commit."""

import os
import subprocess
import threading

import pytest
from namespaces import in_new_netns

from calico.linux.grace import membarrier
from calico.linux.nft_events import Committed, Lost, NftEvents
from calico.linux.nft_socket import NftSocket
from calico.render.objects import Chain, Field, SetSpec
from calico.render.transaction import AddChain, AddMembers, AddSet

pytestmark = pytest.mark.kernel

DEADLINE_S = 20.0
TAG = SetSpec("tag", (Field.IP4_SOURCE,))


def one(events: NftEvents) -> Committed:
    (found,) = events.read(DEADLINE_S)
    assert isinstance(found, Committed)
    return found


def nft8(*words: str) -> None:
    subprocess.run(["nft", *words], check=True)


def test_commit_is_told_with_its_author() -> None:
    def body() -> None:
        events = NftEvents()
        nft = NftSocket.open()
        nft.create_table(owned=False)
        ours = one(events)
        assert (ours.port_id, ours.process_id) == (nft.port_id, os.getpid())
        assert (ours.generation, ours.is_ours) == (nft.generation(), True)
        nft8("add", "table", "ip", "other")
        other = one(events)
        assert (other.process_name, other.is_ours) == ("nft", False)
        assert other.port_id != nft.port_id
        nft8("add", "table", "ip", "calico")
        assert not one(events).is_ours
        nft8("flush", "ruleset")
        gone = one(events)
        assert (gone.is_ours, gone.generation) == (True, nft.generation())
        assert events.read(0) == ()

    in_new_netns(body)


def test_own_commits_can_be_kept_away() -> None:
    def body() -> None:
        nft = NftSocket.open()
        events = NftEvents(without=nft.port_id)
        nft.create_table(owned=False)
        nft.commit([AddSet(TAG), AddChain(Chain("x", ()))])
        assert events.read(0) == ()
        nft8("add", "rule", "inet", "calico", "x", "drop")
        assert one(events).is_ours

    in_new_netns(body)


def test_overrun_is_told_and_reading_goes_on() -> None:
    def body() -> None:
        nft = NftSocket.open()
        nft.create_table(owned=False)
        nft.commit([AddSet(TAG)])
        events = NftEvents()
        keys = tuple(n.to_bytes(4, "big") for n in range(100_000))
        nft.commit([AddMembers(TAG, keys)])
        found = events.read(DEADLINE_S)
        assert any(isinstance(each, Lost) for each in found)
        nft8("add", "chain", "inet", "calico", "y")
        assert one(events).is_ours

    # There the buffer stays small.
    in_new_netns(body, rootless=True)


def test_reader_in_a_thread_sees_a_foreign_flush() -> None:
    def body() -> bool:
        nft = NftSocket.open()
        nft.create_table(owned=False)
        events = NftEvents(without=nft.port_id)
        found: list[Committed | Lost] = []
        thread = threading.Thread(target=lambda: found.extend(events.read(DEADLINE_S)))
        thread.start()
        nft8("delete", "table", "inet", "calico")
        thread.join()
        return [each.is_ours for each in found if isinstance(each, Committed)] == [True]

    assert in_new_netns(body)


def test_grace_period_is_waited_for() -> None:
    assert membarrier() in {True, False}
