"""What the supervisor leaves to be read."""

from pathlib import Path

import pytest

from calico.node.state import STATE_NAME, Backend, NodeState, read_state, write_state


@pytest.mark.parametrize(
    "state",
    [
        NodeState(Backend.NONE),
        NodeState(Backend.BIRD),
        NodeState(Backend.BIRD, bird_pid=17, n_bird_ends=3),
        NodeState(Backend.BIRD, bird_problem='ended with "signal 9"\n: ü'),
    ],
)
def test_what_is_written_is_read(tmp_path: Path, state: NodeState) -> None:
    write_state(tmp_path, NodeState(Backend.BIRD, bird_pid=1))
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    assert [each.name for each in tmp_path.iterdir()] == [STATE_NAME]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"backend": "gobgp", "bird_pid": null, "bird_problem": "", "n_bird_ends": 0}',
        '{"backend": "bird", "bird_pid": "1", "bird_problem": "", "n_bird_ends": 0}',
        '{"backend": "bird", "bird_pid": 1, "bird_problem": "", "n_bird_ends": null}',
    ],
)
def test_what_cannot_be_understood_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / STATE_NAME).write_text(text)
    assert read_state(tmp_path) is None


def test_nothing_is_read_where_nothing_is(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
