"""What the agent tells of routing, beside what it tells of policy."""

import time
from pathlib import Path

import pytest

from calico.agent.journal import Journal
from calico.agent.publisher import Publisher
from calico.agent.reporting import ROUTING_PATIENCE_S, Reporting, Sources
from calico.control.cuts import CutFile
from calico.model.names import HostName
from calico.store.memory import MemoryStore


@pytest.fixture
def reporting(tmp_path: Path) -> Reporting:
    host = HostName("h")
    return Reporting(
        host,
        Journal.open(tmp_path),
        Publisher(MemoryStore, host, lambda _: None, lambda _: None),
        Sources(lambda: (), list, dict, table_is_owned=True),
        CutFile(tmp_path),
    )


def _long_ago() -> float:
    return time.monotonic() - ROUTING_PATIENCE_S - 1


def test_what_routing_cannot_use_is_a_problem_until_it_can(
    reporting: Reporting,
) -> None:
    reporting.note_routing({"/key": "is none"})
    assert reporting.problems() == {"/key": "is none"}
    reporting.note_routing({})
    assert reporting.problems() == {}


def test_routing_that_cannot_be_read_is_named_when_policy_can(
    reporting: Reporting,
) -> None:
    reporting.routing_is_silent("not permitted", _long_ago())
    assert reporting.problems() == {"routing": "not permitted"}
    reporting.routing_is_silent(None, time.monotonic())
    assert reporting.problems() == {}


def test_datastore_that_is_silent_is_named_once(reporting: Reporting) -> None:
    reporting.store_is_silent("gone")
    reporting.routing_is_silent("gone", _long_ago())
    assert reporting.problems() == {}
    assert "gone" in reporting.status().degraded
    # When it answers again routing has a while to notice.
    reporting.store_answers()
    assert reporting.problems() == {}


def test_routing_that_was_silent_for_a_moment_is_no_problem(
    reporting: Reporting,
) -> None:
    reporting.routing_is_silent("gone", time.monotonic())
    assert reporting.problems() == {}
