"""A host's status as JSON."""

import json

import pytest

from calico.codec.host_status import (
    HostStatus,
    decode_host_status,
    encode_host_status,
)
from calico.codec.json_text import MAX_OBJECT_BYTES
from calico.model.errors import InvalidResource
from calico.model.names import Revision

STATUS = HostStatus(
    time="2016-05-01T10:00:00Z",
    uptime_s=12,
    is_first_update=True,
    revision=Revision(418),
    problems={"/calico/v1/policy/profile/A/rules": "$: found 3"},
)


def test_status_has_the_fields_of_the_original_and_ours() -> None:
    assert json.loads(encode_host_status(STATUS)) == {
        "time": "2016-05-01T10:00:00Z",
        "uptime": 12,
        "first_update": True,
        "revision": 418,
        "problems": {"/calico/v1/policy/profile/A/rules": "$: found 3"},
    }


def test_status_is_read_as_it_was_written() -> None:
    assert decode_host_status(encode_host_status(STATUS)) == STATUS


def test_fields_of_a_newer_agent_are_let_pass() -> None:
    members = json.loads(encode_host_status(STATUS))
    value = json.dumps({**members, "mood": "good"}).encode()
    assert decode_host_status(value) == STATUS


@pytest.mark.parametrize("name", ["time", "uptime", "first_update", "revision"])
def test_missing_field_is_refused(name: str) -> None:
    members = json.loads(encode_host_status(STATUS))
    del members[name]
    with pytest.raises(InvalidResource):
        decode_host_status(json.dumps(members).encode())


def test_missing_problems_are_none() -> None:
    members = json.loads(encode_host_status(STATUS))
    del members["problems"]
    assert decode_host_status(json.dumps(members).encode()).problems == {}


def test_very_many_problems_are_cut_short() -> None:
    problems = {f"key {n:06}": "x" * 100 for n in range(10_000)}
    value = encode_host_status(
        HostStatus("now", 1, is_first_update=False, problems=problems)
    )
    told = decode_host_status(value).problems
    assert len(value) < MAX_OBJECT_BYTES
    assert told["…"] == f"{len(problems) - len(told) + 1} more"
    assert "key 000000" in told
