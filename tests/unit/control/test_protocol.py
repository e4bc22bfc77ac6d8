"""Requests and answers of the control socket, as lines."""

import pytest

from calico.control.protocol import (
    AgentStatus,
    BadMessage,
    Counter,
    Cut,
    Method,
    Request,
    decode_counters,
    decode_map,
    decode_reached,
    decode_request,
    decode_status,
    encode_counters,
    encode_error,
    encode_map,
    encode_reached,
    encode_request,
    encode_status,
)
from calico.model.names import Revision

STATUS = AgentStatus(
    host="h1",
    pid=7,
    uptime_s=3,
    revision=418,
    is_ready=True,
    is_enforcing=True,
    degraded="datastore: gone",
    problems={"key": "reason"},
    limits={"net/netfilter/nf_conntrack_max": "not permitted"},
    n_endpoints=2,
    missing_interfaces=("cali0",),
    table_is_owned=True,
    n_drifts=1,
    last_drift="by nft",
    n_cuts=5,
    cuts=(Cut("2016-05-01T10:00:00Z", "tcp 10.0.0.1:1 > 10.0.0.2:80", "profile A"),),
)
WAIT = Request(Method.WAIT, Revision(4), 1.5)


@pytest.mark.parametrize("request_", [Request(Method.STATUS), WAIT])
def test_request_is_read_as_it_was_written(request_: Request) -> None:
    assert decode_request(encode_request(request_)) == request_


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"method": "reboot"}',
        b'{"method": 3}',
        b'{"method": "wait"}',
        b'{"method": "wait", "revision": true, "timeout_s": 1}',
        b'{"method": "wait", "revision": 1, "timeout_s": "1"}',
        b'{"method": "wait", "revision": 1, "timeout_s": NaN}',
        b'{"method": "wait", "revision": 1, "timeout_s": -Infinity}',
        b'{"method": "wait", "revision": 1, "timeout_s": 1e400}',
        b'{"method": "wait", "revision": 1, "timeout_s": 1' + b"0" * 400 + b"}",
        b"[" * 100_000,
    ],
)
def test_line_that_is_no_request_is_refused(line: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_request(line)


def test_status_is_read_as_it_was_written() -> None:
    assert decode_status(encode_status(STATUS)) == STATUS


def test_other_answers_are_read_as_they_were_written() -> None:
    counters = (Counter("profile A inbound rule 1", "profile-in4-A", 2, 168),)
    assert decode_counters(encode_counters(counters)) == counters
    assert decode_map(encode_map({"a": "b"})) == {"a": "b"}
    reached = encode_reached(Revision(9), is_reached=False)
    assert decode_reached(reached) == (False, Revision(9))


@pytest.mark.parametrize(
    "line",
    [
        b'{"result": []}',
        b'{"result": {"host": 3}}',
        b'{"result": {"cuts": 3}}',
        b'{"result": {"problems": {"a": 1}}}',
        b'{"result": {"pid": true}}',
        encode_error("no"),
    ],
)
def test_line_that_is_no_status_is_refused(line: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_status(line)


def test_refusal_is_told_in_its_own_words() -> None:
    with pytest.raises(BadMessage, match="try again"):
        decode_map(encode_error("64 others are connected, try again"))
