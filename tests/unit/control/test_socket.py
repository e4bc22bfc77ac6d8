"""Both ends of the control socket, talking to each other."""

import socket
import stat
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from calico.control.client import NoAgent, ask_problems, wait_for_revision
from calico.control.protocol import (
    MAX_REQUEST_BYTES,
    SOCKET_NAME,
    BadMessage,
    Method,
    Request,
    encode_map,
    encode_reached,
)
from calico.control.server import MAX_CONNECTIONS, ControlServer
from calico.model.names import Revision


def _answer(request: Request, answer: Callable[[bytes], None]) -> None:
    if request.method is Method.WAIT:
        answer(encode_reached(request.revision, is_reached=True))
    else:
        answer(encode_map({"key": "x" * 1_000_000}))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    server = ControlServer(tmp_path, _answer)
    Thread(target=server.serve, daemon=True).start()
    return tmp_path


def _connect(run_dir: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(run_dir / SOCKET_NAME))
    return connection


def test_answer_that_is_long_arrives_whole(run_dir: Path) -> None:
    assert ask_problems(run_dir) == {"key": "x" * 1_000_000}


def test_revision_is_waited_for(run_dir: Path) -> None:
    assert wait_for_revision(run_dir, Revision(3), 5.0) == 3


def test_socket_is_closed_to_others(run_dir: Path) -> None:
    assert stat.S_IMODE((run_dir / SOCKET_NAME).stat().st_mode) == 0o660


def test_without_socket_there_is_no_agent(tmp_path: Path) -> None:
    with pytest.raises(NoAgent, match="calicoctl node"):
        ask_problems(tmp_path)


def test_socket_that_nobody_serves_is_no_agent(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(tmp_path / SOCKET_NAME))
    with pytest.raises(NoAgent):
        ask_problems(tmp_path)


def test_several_requests_of_one_connection_are_answered(run_dir: Path) -> None:
    with _connect(run_dir) as connection:
        connection.sendall(b'{"method":"wait","revision":1,"timeout_s":0}\n' * 3)
        received = b""
        while received.count(b"\n") < 3:
            received += connection.recv(65536)
    assert received.count(b'"reached": true') == 3


def test_nonsense_is_refused_and_hung_up_on(run_dir: Path) -> None:
    with _connect(run_dir) as connection:
        connection.sendall(b"nonsense\n")
        assert b"error" in connection.recv(65536)
        assert connection.recv(1) == b""


def test_endless_request_is_refused(run_dir: Path) -> None:
    with (
        _connect(run_dir) as connection,
        pytest.raises((BrokenPipeError, ConnectionError)),
    ):
        connection.sendall(b"x" * (8 * MAX_REQUEST_BYTES))


def test_too_many_connections_are_refused_by_name(run_dir: Path) -> None:
    opened = [_connect(run_dir) for _ in range(MAX_CONNECTIONS)]
    # The last one is served before the next is taken, so all of them count.
    opened[-1].sendall(b'{"method":"wait","revision":1,"timeout_s":0}\n')
    assert opened[-1].recv(65536)
    with pytest.raises(BadMessage, match="try again"):
        ask_problems(run_dir)
    for connection in opened:
        connection.close()


def test_refused_client_that_has_left_already_does_no_harm(tmp_path: Path) -> None:
    server = ControlServer(tmp_path, _answer)
    opened = [_connect(tmp_path) for _ in range(MAX_CONNECTIONS)]
    serving = Thread(target=server.serve, daemon=True)
    serving.start()
    opened[-1].sendall(b'{"method":"wait","revision":1,"timeout_s":0}\n')
    assert opened[-1].recv(65536)
    for _ in range(50):
        _connect(tmp_path).close()
    opened[0].sendall(b'{"method":"wait","revision":1,"timeout_s":0}\n')
    assert opened[0].recv(65536)
    for connection in opened:
        connection.close()
    assert serving.is_alive()
