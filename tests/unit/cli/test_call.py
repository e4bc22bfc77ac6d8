"""What a command may use."""

import socket

import pytest

from calico.cli.call import Call
from calico.cli.groups.status import GROUP
from calico.cli.parse import parse_command
from calico.model.errors import Unavailable


def test_datastore_that_is_away_is_asked_once() -> None:
    command = parse_command(GROUP, ["status"])
    assert command is not None
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environ = {"HOSTNAME": "h", "ETCD_ENDPOINTS": f"http://127.0.0.1:{port}"}
    call = Call(("status",), command, environ)
    with pytest.raises(Unavailable) as first:
        _ = call.store
    with pytest.raises(Unavailable) as second:
        _ = call.store
    assert second.value is first.value
