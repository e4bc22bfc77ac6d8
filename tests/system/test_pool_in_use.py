"""A pool is removed under its workloads: packets, policy and words stay right."""

import contextlib
import json
import subprocess
from collections.abc import Generator, Iterator

import pytest
from lab_user import CALICOCTL, PYTHON, LabUser, lab_user

pytestmark = pytest.mark.system

SERVER = """
import socket
listening = socket.create_server(("0.0.0.0", 5432))
print("ready", flush=True)
connection, _ = listening.accept()
while piece := connection.recv(100):
    connection.sendall(piece)
"""
CLIENT = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 5432), 10)
for line in sys.stdin:
    connection.sendall(line.encode())
    print(connection.recv(100).decode().strip(), flush=True)
"""


@pytest.fixture
def user() -> Iterator[LabUser]:
    with lab_user(0) as someone:
        someone.done("up", "--hosts=1")
        for profile in ("WEB", "DB"):
            calicoctl(someone, "profile", "add", profile)
        rule = "profile DB rule add inbound allow tcp from tag WEB to ports 5432"
        calicoctl(someone, *rule.split())
        calicoctl(someone, "pool", "add", "10.44.0.0/24", "--nat-outgoing")
        someone.done("add", "web", "--profile=WEB", "10.44.0.1")
        someone.done("add", "db", "--profile=DB", "10.44.0.2")
        calicoctl(someone, "wait")
        yield someone
        someone.done("down")


def calicoctl(user: LabUser, *words: str) -> str:
    return user.done("run", "--", CALICOCTL, *words)


@contextlib.contextmanager
def running(
    user: LabUser, place: str, *argv: str
) -> Generator["subprocess.Popen[str]"]:
    words = (CALICOCTL, "lab", "exec", place, "--", *argv)
    process = user.start(*words, stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ask(client: "subprocess.Popen[str]", word: str) -> str:
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(f"{word}\n")
    client.stdin.flush()
    return client.stdout.readline().strip()


def test_workloads_keep_connection_and_policy_when_their_pool_goes(
    user: LabUser,
) -> None:
    table = ("run", "--", "nft", "list", "table", "inet", "calico")
    assert "10.44.0.0" in user.done(*table)
    with running(user, "db", PYTHON, "-c", SERVER) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        with running(user, "web", PYTHON, "-c", CLIENT, "10.44.0.2") as client:
            assert ask(client, "before") == "before"
            calicoctl(user, "pool", "remove", "10.44.0.0/24")
            calicoctl(user, "wait")
            assert "10.44.0.0/24" not in calicoctl(user, "pool", "show")
            assert ask(client, "after") == "after"
    # New connections are judged by the same policy, the denied one too.
    probe = ("probe", "web", "db", "tcp")
    assert user.lab(*probe, "5432", "--ipv4").returncode == 0
    assert user.lab(*probe, "5433", "--ipv4").returncode == 1
    for port, code in (("5432", 0), ("5433", 1)):
        words = ("explain", "web", "db", "tcp", port, "--ipv4", "--prove")
        ended = user.lab("run", "--", CALICOCTL, *words)
        assert ended.returncode == code, ended.stderr
        assert "The kernel and the explainer agree." in ended.stdout
    # What leaves is no longer given the host's address.
    assert "10.44.0.0" not in user.done(*table)
    # Their addresses are theirs, in a block that is nobody's and in no pool.
    checked = user.lab("run", "--", CALICOCTL, "ipam", "check")
    assert checked.returncode == 0, checked.stdout
    blocks = json.loads(calicoctl(user, "ipam", "show", "--blocks", "-o", "json"))
    (block,) = [each for each in blocks if each["cidr"] == "10.44.0.0/26"]
    assert (block["pool"], block["host"], block["used"]) == (None, None, 2)
