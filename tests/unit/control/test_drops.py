import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.control.drops import Drop, Drops, decode_drops, encode_drops
from calico.control.protocol import (
    BadMessage,
    Method,
    Request,
    decode_request,
    encode_request,
)

texts = st.text(max_size=8)
numbers = st.none() | st.integers(0, 65535)
drops = st.builds(
    Drop,
    sequence=st.integers(0),
    at=texts,
    direction=texts,
    reason=texts,
    rule=texts,
    profile=texts,
    number=numbers,
    interface=texts,
    orchestrator=texts,
    workload=texts,
    endpoint=texts,
    source=texts,
    destination=texts,
    protocol=numbers,
    source_port=numbers,
    destination_port=numbers,
    icmp_type=numbers,
    icmp_code=numbers,
    n_lost=st.integers(0),
)


@given(st.builds(Drops, st.integers(0), st.lists(drops, max_size=3).map(tuple), texts))
def test_answer_survives_the_way(answer: Drops) -> None:
    line = encode_drops(answer)
    assert line.count(b"\n") == 1
    assert decode_drops(line) == answer


def test_request_survives_the_way() -> None:
    request = Request(Method.DROPS, since=7, timeout_s=1.5)
    assert decode_request(encode_request(request)) == request


@pytest.mark.parametrize(
    "message",
    [
        {"method": "drops"},
        {"method": "drops", "since": "1", "timeout_s": 1},
        {"method": "drops", "since": True, "timeout_s": 1},
        {"method": "drops", "since": 1, "timeout_s": None},
    ],
)
def test_request_without_numbers_is_refused(message: dict[str, object]) -> None:
    with pytest.raises(BadMessage):
        decode_request(json.dumps(message).encode())


@pytest.mark.parametrize(
    "line",
    [
        b'{"error": "no"}',
        b'{"result": {"drops": 1}}',
        b'{"result": {"drops": [{"number": "x"}]}}',
    ],
)
def test_other_answers_are_refused(line: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_drops(line)


def test_members_of_a_newer_agent_pass() -> None:
    line = b'{"result": {"newest": 3, "more": 1, "drops": [{"at": "x", "new": []}]}}'
    assert decode_drops(line) == Drops(3, (Drop(0, "x", "", ""),))
