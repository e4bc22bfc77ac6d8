"""`calicoctl node`, `status` and `wait` as a user types them."""

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_host import a_host, namespace, until
from node_user import CALICOCTL, User

from calico.codec.keys import READY_KEY
from calico.linux.sysctl import CONNTRACK_MAX, FORWARDING, PICK_UP
from calico.model.names import HostName
from calico.node.pidfile import running_pid
from calico.store.api import Delete, Note, Put, Transaction
from calico.store.host_status import HostStatus, HostStatusWriter

pytestmark = pytest.mark.system


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    with a_host(tmp_path / "h1") as host:
        host.commit(Delete(READY_KEY))
        host.space.run(
            "ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"
        )
        host.space.run("ip", "addr", "add", "172.31.0.2/24", "dev", "up0")
        someone = User(host)
        yield someone
        someone.run("node", "stop", "--force")
        assert running_pid(host.run_dir) is None


def test_node_from_start_to_removal(user: User) -> None:
    out = user.done("node", "--ip=172.31.0.2", "--ip6=fd31::2", "--as=64512")
    assert out.splitlines()[-1] == "Calico node started successfully"
    before = running_pid(user.host.run_dir)
    # Again changes nothing, and is no error.
    user.done("node", "--ip=172.31.0.2", "--ip6=fd31::2", "--as=64512")
    assert running_pid(user.host.run_dir) == before

    status = json.loads(user.done("status", "-o", "json"))
    assert status["is_enforcing"]
    assert status["other_chains"] == []
    assert "calico-node is running." in user.done("status")
    shown = json.loads(user.done("node", "show", "-o", "json"))
    assert [(each["hostname"], each["bird_ipv4"]) for each in shown] == [
        ("h1", "172.31.0.2")
    ]
    assert "64512" in user.done("node", "show")
    assert "192.168.0.0/16" in user.done("pool", "show")
    user.done("wait")

    code, _, err = user.run("node", "remove")
    assert (code, "while it is running" in err) == (1, True)
    assert user.done("node", "stop", "--remove-rules") == "Node stopped\n"
    assert user.host.space.run("nft", "list", "tables") == ""
    assert user.done("node", "remove") == "Node configuration removed\n"
    assert "h1" not in user.done("node", "show")
    code, _, err = user.run("status")
    assert (code, err.splitlines()[0]) == (1, "calico-node not running")


def test_node_is_not_taken_for_another_one_that_answers(user: User) -> None:
    user.done("node", "--ip=172.31.0.2")
    first = running_pid(user.host.run_dir)
    assert first is not None
    (user.host.run_dir / "node.pid").unlink()
    try:
        code, out, err = user.run("node", "--ip=172.31.0.2")
    finally:
        os.kill(first, signal.SIGTERM)
        until(lambda: not Path(f"/proc/{first}").exists(), "the first has ended")
    assert (code, "started successfully" in out) == (1, False)
    assert "another process owns it" in err


@pytest.mark.parametrize("killed", ["", "agent", "supervisor"])
def test_stopped_node_leaves_no_files_of_its_own(user: User, killed: str) -> None:
    before = sorted(user.host.run_dir.glob("*"))
    user.done("node", "--ip=172.31.0.2")
    assert (user.host.run_dir / "agent.sock").is_socket()
    agent, supervisor = user.host.status().pid, running_pid(user.host.run_dir)
    assert supervisor is not None
    if killed:
        os.kill(agent if killed == "agent" else supervisor, signal.SIGKILL)
    if killed == "supervisor":
        until(lambda: running_pid(user.host.run_dir) is None, "it has ended")
        until(lambda: not Path(f"/proc/{agent}").exists(), "the agent, too")
    user.done("node", "stop", "--remove-rules")
    assert sorted(user.host.run_dir.glob("*")) == before


@pytest.mark.parametrize("words", [("stop", "--remove-rules"), ("remove",)])
def test_settings_of_the_host_are_taken_back_after_restarts(
    user: User, words: tuple[str, ...]
) -> None:
    names = [*FORWARDING, *PICK_UP, CONNTRACK_MAX]

    def settings() -> list[str]:
        return user.host.space.run("sysctl", "-n", *names).split()

    before = settings()
    user.done("node", "--ip=172.31.0.2")
    assert settings()[:3] == ["1", "1", "0"]
    user.done("node", "stop")
    user.done("node", "--ip=172.31.0.2")
    if words == ("remove",):
        user.done("node", "stop")
    user.done("node", *words)
    assert settings() == before


def test_node_finds_its_address_and_keeps_what_others_set(user: User) -> None:
    user.done("pool", "add", "10.9.0.0/16")
    user.done("config", "felix", "InterfacePrefix", "tap")
    code, _, err = user.run("node", "--no-default")
    assert code == 2
    code, _, err = user.run("node")
    assert (code, "Using detected IP: 172.31.0.2" in err) == (0, True)
    assert "192.168.0.0/16" not in user.done("pool", "show", "--ipv4")
    assert user.done("config", "felix", "InterfacePrefix") == "tap,cali\n"


def _written(user: User) -> dict[str, str]:
    """Return all keys and values but those of the agent's own status."""
    items = user.host.store.list_prefix("").items
    return {
        each.key: each.value.decode()
        for each in items
        if not each.key.startswith("/calico/felix/")
    }


_POOLS = {
    "/calico/v1/ipam/v4/pool/192.168.0.0-16": '{"cidr": "192.168.0.0/16"}',
    "/calico/v1/ipam/v6/pool/fd80:24e2:f998:72d6::-64": (
        '{"cidr": "fd80:24e2:f998:72d6::/64"}'
    ),
}
_WRITTEN = {
    "/calico/v1/Ready": "true",
    "/calico/v1/config/InterfacePrefix": "cali",
    "/calico/v1/config/IpInIpEnabled": "false",
    "/calico/v1/config/LogFilePath": "none",
    "/calico/v1/config/LogSeverityFile": "none",
    "/calico/v1/config/LogSeverityScreen": "info",
    "/calico/v1/config/ReportingIntervalSecs": "0",
    "/calico/v1/host/h1/config/DefaultEndpointToHostAction": "RETURN",
    "/calico/v1/host/h1/config/marker": "created",
    "/calico/v1/host/h1/bird_ip": "172.31.0.2",
    "/calico/bgp/v1/global/as_num": "64511",
    "/calico/bgp/v1/global/node_mesh": '{"enabled": true}',
    "/calico/bgp/v1/host/h1/ip_addr_v4": "172.31.0.2",
    "/calico/bgp/v1/host/h1/ip_addr_v6": "",
}
_GUID_KEY = "/calico/v1/config/ClusterGUID"


def test_node_writes_all_that_other_hosts_and_tools_look_for(user: User) -> None:
    user.host.commit(
        Delete("/calico/v1/config/DefaultEndpointToHostAction"),
    )
    user.done("node", "--ip=172.31.0.2")
    written = _written(user)
    guid = written.pop(_GUID_KEY)
    assert re.fullmatch("[0-9a-f]{32}", guid)
    assert written == _WRITTEN | _POOLS
    # Its own number and address come, and the number goes again.
    user.done("node", "--ip=172.31.0.2", "--ip6=fd31::2", "--as=1.10")
    own = {
        "/calico/bgp/v1/host/h1/ip_addr_v6": "fd31::2",
        "/calico/bgp/v1/host/h1/as_num": "65546",
        _GUID_KEY: guid,
    }
    assert _written(user) == _WRITTEN | _POOLS | own
    user.done("node", "--ip=172.31.0.2")
    assert _written(user) == _WRITTEN | _POOLS | {_GUID_KEY: guid}


def test_node_leaves_what_is_set_and_makes_no_pools_when_told(user: User) -> None:
    user.host.environ["NO_DEFAULT_POOLS"] = "true"
    theirs = {
        "/calico/v1/config/InterfacePrefix": "tap",
        "/calico/v1/config/LogSeverityScreen": "debug",
        "/calico/v1/host/h1/config/DefaultEndpointToHostAction": "DROP",
        "/calico/bgp/v1/global/as_num": "65000",
        "/calico/bgp/v1/global/node_mesh": '{"enabled": false}',
        _GUID_KEY: "given",
    }
    user.host.commit(
        Delete("/calico/v1/config/DefaultEndpointToHostAction"),
        Put("/calico/v1/Ready", b"false"),
        *(Put(key, value.encode()) for key, value in theirs.items()),
    )
    user.done("node", "--ip=172.31.0.2", "--as=64512")
    gained = {
        "/calico/v1/config/InterfacePrefix": "tap,cali",
        "/calico/bgp/v1/host/h1/as_num": "64512",
    }
    assert _written(user) == _WRITTEN | theirs | gained


def test_node_makes_the_pool_of_a_family_that_has_none(user: User) -> None:
    user.done("pool", "add", "10.9.0.0/16")
    user.done("node", "--ip=172.31.0.2")
    pools = [key for key in _written(user) if "/ipam/" in key and "/pool/" in key]
    (ipv6,) = (key for key in _POOLS if "/v6/" in key)
    assert sorted(pools) == ["/calico/v1/ipam/v4/pool/10.9.0.0-16", ipv6]


def test_node_without_an_address_of_its_own_writes_nothing(user: User) -> None:
    before = _written(user)
    user.host.space.run("ip", "link", "set", "up0", "name", "docker0")
    code, out, err = user.run("node")
    assert (code, out) == (1, "")
    assert err.startswith("Couldn't autodetect a management IP address.")
    assert "--ip=<IP_ADDRESS>" in " ".join(err.split())
    assert _written(user) == before
    assert running_pid(user.host.run_dir) is None
    # Given, it is taken, with a warning where it is nobody's.
    code, _, err = user.run("node", "--ip=172.31.0.9")
    assert code == 0
    assert "Could not confirm that the provided IPv4 address" in " ".join(err.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ip=300.1.1.1"], "Invalid IPv4 address specified with --ip argument."),
        (["--ip6=fe80::1%x"], "Invalid IPv6 address specified with --ip6 argument."),
        (["--as=1.65536"], "Invalid AS Number specified."),
        ([f"--as={'9' * 5000}"], "Invalid AS Number specified."),
        (["--as=1."], "Invalid AS Number specified."),
        (["--as=4294967296"], "Invalid AS Number specified."),
        (["--detach=maybe"], "Valid values for --detach are 'true' and 'false'"),
        (
            ["--libnetwork", "--detach=false"],
            "The only valid value for --detach is 'true' when using libnetwork\n",
        ),
        (["--ip=127.0.0.1"], "Invalid IPv4 address specified with --ip argument."),
        (["--ip6=ff02::1"], "Invalid IPv6 address specified with --ip6 argument."),
        (["--backend=gobgp"], "--backend: there is no GoBGP here; BIRD carries"),
        (["--backend=quagga"], "Backend must be 'bird' or 'none'."),
        (["--runtime=lxc"], "Runtime must be 'docker', 'rkt' or 'none'."),
        (["--no-pull"], "--no-pull: there is no image to pull"),
        (["--node-image=x"], "--node-image: there is no image"),
        (["--libnetwork"], "--libnetwork: the plugin for Docker networks"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything(
    user: User, words: list[str], said: str
) -> None:
    code, out, err = user.run("node", *words)
    assert (code, out) == (1, "")
    assert err.startswith(said)
    assert user.host.store.get(READY_KEY) is None
    assert running_pid(user.host.run_dir) is None


@pytest.mark.parametrize(
    ("given", "shown"), [("0", "0"), ("0.64512", "64512"), ("1.10", "65546")]
)
def test_as_number_is_kept_as_one_number(user: User, given: str, shown: str) -> None:
    user.done("node", "--ip=172.31.0.2", f"--as={given}")
    (node,) = json.loads(user.done("node", "show", "-o", "json"))
    assert (node["as_num"], node["as_inherited"]) == (shown, False)


def test_address_of_another_host_is_refused(user: User) -> None:
    user.done("node", "--ip=172.31.0.2")
    user.done("node", "stop")
    user.host.environ["HOSTNAME"] = "h2"
    code, _, err = user.run("node", "--ip=172.31.0.2")
    assert code == 1
    assert "already in use by host h1" in " ".join(err.split())


def test_routes_of_another_bird_are_left_alone(user: User) -> None:
    user.host.space.run("ip", "link", "set", "up0", "up")
    routes = (
        "10.9.0.0/24 dev lo",
        "10.9.1.0/24 via 172.31.0.7",
        "blackhole 10.9.2.0/26",
        "fd09::/64 dev lo metric 32",
        "unreachable fd09:1::/64 metric 32",
    )
    for route in routes:
        words = [*route.split(), "proto", "bird"]
        user.host.space.run("ip", "route", "add", *words)

    def shown() -> list[str]:
        found = [
            user.host.space.run("ip", version, "route", "show", "proto", "bird")
            for version in ("-4", "-6")
        ]
        return [line for text in found for line in text.splitlines()]

    user.done("node", "--ip=172.31.0.2", "--backend=none")
    user.done("node", "stop", "--remove-rules")
    assert len(shown()) == len(routes)
    # Where BIRD was ours, it was no other one's.
    user.done("node", "--ip=172.31.0.2", "--backend=bird")
    user.done("node", "stop", "--remove-rules")
    assert shown() == []


def test_deprecated_variable_still_chooses(user: User) -> None:
    user.host.environ["CALICO_NETWORKING"] = "false"
    code, _, err = user.run("node", "--ip=172.31.0.2")
    assert (code, "CALICO_NETWORKING is deprecated" in err) == (0, True)
    assert "Routes: none of ours" in user.done("status")
    user.host.environ["HOSTNAME"] = "h9"
    code, _, err = user.run("node", "--ip=172.31.0.2")
    assert (code, "running as host h1, not h9" in err) == (1, True)


def test_attached_node_stays_until_it_is_interrupted(user: User) -> None:
    attached = user.start("node", "--ip=172.31.0.2", "--detach=false")
    until(lambda: running_pid(user.host.run_dir) is not None, "it runs")
    assert attached.stdout is not None
    said = [attached.stdout.readline(), attached.stdout.readline()]
    assert said[1] == "Calico node started successfully\n"
    code, _, err = user.run("node", "--detach=false")
    assert (code, "running already" in err) == (1, True)
    attached.send_signal(signal.SIGINT)
    attached.communicate(timeout=60)
    assert attached.returncode == 130
    assert running_pid(user.host.run_dir) is None


def test_node_that_cannot_start_says_why(user: User) -> None:
    user.done("node", "--ip=172.31.0.2")
    user.done("node", "stop")
    # Another process owns the table.
    with namespace():
        holder = subprocess.Popen(
            ["nsenter", f"--net={user.host.space.path}", *_OWNER],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "owned\n"
            code, _, err = user.run("node", "--ip=172.31.0.2")
        finally:
            holder.kill()
            holder.communicate()
    assert code == 1
    assert "another process owns it" in err


_OWNER = (
    str(CALICOCTL.parent / ".venv/bin/python"),
    "-c",
    "from calico.linux.nft_socket import NftSocket; import time;"
    "nft = NftSocket.open(); assert nft.create_table(owned=True);"
    "print('owned', flush=True); time.sleep(600)",
)


def test_chains_of_others_that_can_drop_are_named_with_a_way_out(user: User) -> None:
    user.done("node", "--ip=172.31.0.2")
    hook = "type filter hook forward priority 0; policy drop;"
    theirs = f"add table ip filter\nadd chain ip filter FORWARD {{ {hook} }}\n"
    user.host.space.run("nft", "-f", "-", text=theirs)
    out = user.done("status")
    assert "ip filter FORWARD (forward): policy drop" in out
    assert "iptables -I FORWARD -i cali+ -j ACCEPT" in out
    assert "iptables -I FORWARD -o cali+ -j ACCEPT" in out


def test_status_says_that_it_may_not_ask(user: User) -> None:
    user.done("node", "--ip=172.31.0.2")
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    # The directories of tests are root's alone, so this one is reached by a
    # directory that is open; the socket itself decides.
    with tempfile.TemporaryDirectory(prefix="calico-status-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        Path(name, "agent.sock").hardlink_to(user.host.run_dir / "agent.sock")
        ended = subprocess.run(
            [*words, str(CALICOCTL), "status"],
            env={**user.host.environ, "CALICO_RUN_DIR": name},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (ended.returncode, ended.stdout) == (1, "")
    first, rest = ended.stderr.split("\n", 1)
    assert first == "calico-node may not be asked by this user"
    assert "Permission denied: this user may not ask the agent; use sudo" in rest
    assert "usermod --append --groups calico USER" in rest
    assert "calico-node is running." in user.done("status")


def test_status_fails_where_the_datastore_does(user: User) -> None:
    user.done("node", "--ip=172.31.0.2")
    assert user.run("status")[0] == 0
    user.host.environ["ETCD_ENDPOINTS"] = "http://127.0.0.1:1"
    code, out, err = user.run("status")
    assert (code, "calico-node is running." in out) == (5, True)
    assert "http://127.0.0.1:1: cannot be connected to: Connection refused" in err
    code, out, _ = user.run("status", "-o", "json")
    assert (code, json.loads(out)["unused_keys"]) == (5, None)


def test_node_stops_also_while_the_datastore_is_away(user: User) -> None:
    user.done("node", "--ip=172.31.0.2")
    user.host.environ["ETCD_ENDPOINTS"] = "http://127.0.0.1:1"
    for words in ((), ("--force", "--remove-rules")):
        assert user.run("node", "stop", *words)[0] == 5
        assert running_pid(user.host.run_dir) is not None
    code, out, err = user.run("node", "stop", "--force")
    assert (code, out) == (0, "Node stopped\n")
    assert "without knowing whether workloads are connected" in err
    assert running_pid(user.host.run_dir) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "policy as it is stays in force."),
        (("--remove-rules",), "they lose their interfaces,"),
    ],
)
def test_stop_says_what_becomes_of_workloads(
    user: User, words: tuple[str, ...], said: str
) -> None:
    user.done("node", "--ip=172.31.0.2")
    endpoint = "/calico/v1/host/h1/workload/namespace/w/endpoint/e"
    user.host.commit(Put(endpoint, b'{"state": "active", "name": "cali1"}'))
    code, out, err = user.run("node", "stop", *words)
    assert (code, out) == (1, "")
    assert said in " ".join(err.split())
    assert running_pid(user.host.run_dir) is not None
    code, out, err = user.run("node", "stop", "--force", *words)
    assert (code, out) == (0, "Node stopped\n")
    assert said in " ".join(err.split())
    tables = user.host.space.run("nft", "list", "tables")
    assert ("inet calico" in tables) == (not words)
    log = (user.host.directory / "log" / "agent.log").read_text()
    assert "the agent ends as asked, and takes nothing out of the kernel" in log


def test_another_user_is_refused_in_one_way(user: User) -> None:
    words = ["setpriv", "--reuid=65534", "--clear-groups", str(CALICOCTL)]
    for line in ("node --ip=172.31.0.2", "node stop", "node remove"):
        ended = subprocess.run(
            [*words, *line.split()],
            env=user.host.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == "This command must be run as root.\n"


def test_value_of_a_host_counts_and_is_named(user: User) -> None:
    name = "DefaultEndpointToHostAction"
    user.done("config", "felix", name, "--remove")
    user.done("node", "--ip=172.31.0.2")
    assert user.done("config", "felix", name, "--host=h1") == "RETURN\n"
    code, _, err = user.run("config", "felix", name, "DROP")
    assert (code, "host h1 has the value RETURN of its own" in err) == (0, True)
    (command,) = [each for each in err.split("`") if each.startswith("calicoctl ")]
    assert user.done(*command.split()[1:]) == "Value removed\n"
    assert user.run("config", "felix", name) == (0, "DROP\n", "")
    # What was wished for all hosts is not beaten by the next start.
    user.done("node", "--ip=172.31.0.2")
    assert user.run("config", "felix", name) == (0, "DROP\n", "")
    assert user.run("config", "felix", name, "RETURN", "--host=h1") == (0, "", "")


def test_wait_names_hosts_that_lag(user: User) -> None:
    code, _, err = user.run("wait", "--timeout=0")
    assert code == 4
    assert "`calicoctl node` starts" in err
    user.done("node", "--ip=172.31.0.2")
    user.done("wait")
    writer = HostStatusWriter(user.host.store, HostName("slow"))
    writer.write(HostStatus("now", 1, is_first_update=True))
    code, _, err = user.run("wait", "--timeout=0.2")
    assert code == 4
    assert "slow: has revision 0" in err
    assert "h1" not in err
    writer.withdraw()
    user.done("wait")


def test_wait_needs_no_policy_at_all(user: User) -> None:
    user.done("node", "--ip=172.31.0.2")
    note = Note("t", "t", "t")
    before = user.host.status().revision
    user.host.store.commit(Transaction((), (), note))
    user.done("wait")
    assert user.host.status().revision == before
