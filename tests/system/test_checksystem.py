"""What `checksystem` says, each problem with its next step."""

import json
import socket
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from command_lines import ROOT, Outcome, environment, run_here
from etcd_servers import Authority, etcd_cluster

from calico.cli.checksystem import describe_table
from calico.node.pidfile import hold_pidfile
from calico.settings import Settings
from calico.store.etcd_holes import warnings_about
from calico.store.open import open_store

pytestmark = pytest.mark.system

# A network of its own for the command: this machine's firewall is not looked at.
APART = ["unshare", "--net", "--mount", "sh", "-c"]


def run(
    environ: Mapping[str, str], *words: str, before: str = "", inside: str = ""
) -> Outcome:
    script = f'{before}\n{inside} "$0" checksystem "$@"'
    done = subprocess.run(
        [*APART, script, str(ROOT / "calicoctl"), *words],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_system_that_has_everything_is_silent(tmp_path: Path) -> None:
    assert run_here(["pool", "add", "10.0.0.0/24"], tmp_path).code == 0
    before = run_here(["datastore", "export"], tmp_path)
    assert "10.0.0.0-24" in before.out
    assert run(environment(tmp_path)) == Outcome(0, "", "")
    assert run_here(["datastore", "export"], tmp_path) == before


def test_system_before_the_first_node_is_silent(tmp_path: Path) -> None:
    assert run(environment(tmp_path)) == Outcome(0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_firewall_in_the_way_is_named_with_what_lets_us_pass(tmp_path: Path) -> None:
    chain = "{ type filter hook forward priority 0; policy drop; }"
    outcome = run(
        environment(tmp_path), before=f"nft 'table ip other {{ chain c {chain}; }}'"
    )
    assert outcome.code == 1
    assert outcome.out == ""
    assert outcome.err.startswith("WARNING: another program's chain can drop")
    assert "nft insert rule ip other c iifname 'cali*' accept" in outcome.err


def test_bird_that_is_missing_or_too_old_is_said(tmp_path: Path) -> None:
    # In the command's own mount namespace: /usr/sbin/bird is another file.
    mine = tmp_path / "bird"
    hide = 'bird=$(command -v bird) && mount --bind "$OTHER" "$bird"'
    mine.write_text("#!/bin/sh\necho 'BIRD version 1.6.8' >&2\n")
    mine.chmod(0o755)
    environ = {**environment(tmp_path / "data"), "OTHER": str(mine)}
    environ["PATH"] = "/usr/local/sbin:/usr/sbin:/sbin:" + environ["PATH"]
    outcome = run(environ, before=hide)
    assert outcome.code == 1
    assert "BIRD: is version 1.6.8, and 2.0.12 or later is needed" in outcome.err
    assert "install Debian's package bird2" in outcome.err
    mine.chmod(0o644)
    outcome = run(environ, before=hide)
    assert outcome.code == 1
    assert outcome.err.startswith("ERROR: BIRD: is not installed; install ")


def test_etcd_that_does_not_answer_is_said(tmp_path: Path) -> None:
    environ = {**environment(tmp_path), "ETCD_ENDPOINTS": "http://127.0.0.1:1"}
    outcome = run(environ, before="ip link set lo up")
    assert outcome.code == 1
    assert outcome.err.startswith(
        "ERROR: Could not connect to etcd at http://127.0.0.1:1: "
    )


def test_etcd_with_known_holes_is_said(tmp_path: Path) -> None:
    shown = subprocess.run(
        ["etcd", "--version"], capture_output=True, text=True, check=True
    )
    version = shown.stdout.split()[2]
    # Only where certificates are in use has anybody a role to get round.
    with etcd_cluster(
        tmp_path / "etcd", authority=Authority(tmp_path / "tls")
    ) as cluster:
        environ = {**environment(tmp_path), **cluster.environ()}
        open_store(Settings.from_environment(environ)).close()
        done = subprocess.run(
            [str(ROOT / "calicoctl"), "checksystem"],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
    said = [line for line in done.stderr.splitlines() if " etcd" in line]
    assert said == [f"WARNING: {each}" for each in warnings_about(version)]


@pytest.mark.parametrize("forwarding", ["0", "1"])
def test_forwarding_that_was_switched_off_beside_a_node_is_said(
    tmp_path: Path, forwarding: str
) -> None:
    environ = environment(tmp_path)
    run_dir = Path(environ["CALICO_RUN_DIR"])
    run_dir.mkdir(parents=True, exist_ok=True)
    with hold_pidfile(run_dir):
        outcome = run(
            environ,
            before="sysctl -qw net.ipv6.conf.all.forwarding=1"
            f" net.ipv4.ip_forward={forwarding}",
        )
    if forwarding == "1":
        assert outcome == Outcome(0, "", "")
    else:
        assert outcome.code == 1
        assert "net.ipv4.ip_forward is 0, so workloads reach nothing" in outcome.err
        assert "`sysctl -w net.ipv4.ip_forward=1`" in outcome.err


@pytest.mark.parametrize(
    ("most", "used", "n_said"),
    [
        ("1000", "901", 1),
        ("1000", "900", 0),
        ("1000", None, 0),
        (None, None, 0),
        ("?", "5", 0),
    ],
)
def test_table_of_connections_that_is_full_is_said(
    most: str | None, used: str | None, n_said: int
) -> None:
    said = list(describe_table(most, used))
    assert len(said) == n_said
    for text in said:
        assert text.startswith(f"ERROR: {used} of {most} tracked connections")


def test_old_option_is_told_to_be_of_no_effect(tmp_path: Path) -> None:
    outcome = run(environment(tmp_path), "--fix")
    assert outcome.code == 0
    assert outcome.err.startswith("--fix is deprecated and of no effect")


def test_runtime_that_is_none_is_refused(tmp_path: Path) -> None:
    outcome = run_here(["checksystem", "--runtime=rkt"], tmp_path)
    assert outcome.code == 1
    assert outcome.err.startswith("Invalid runtime specified: 'rkt'\n")


@contextmanager
def docker(path: Path, version: str) -> Generator[None]:
    """Answer one request as a Docker of some API version does."""
    body = json.dumps({"ApiVersion": version}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(30)

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(head + body)

        thread = Thread(target=answer)
        thread.start()
        yield
        thread.join()


@pytest.mark.parametrize(
    ("option", "version", "problem"),
    [
        ("--runtime=docker", "1.47", ""),
        ("--runtime=docker", "1.15", "v1.16 or greater. It has v1.15"),
        ("--libnetwork", "1.20", "v1.21 or greater. It has v1.20"),
    ],
)
def test_docker_is_asked_for_its_version(
    tmp_path: Path, option: str, version: str, problem: str
) -> None:
    place = tmp_path / "d.sock"
    environ = {**environment(tmp_path / "data"), "DOCKER_HOST": f"unix://{place}"}
    with docker(place, version):
        outcome = run(environ, option)
    assert (outcome.code, bool(outcome.err)) == (int(bool(problem)), bool(problem))
    assert problem in outcome.err


def test_docker_that_does_not_run_is_said(tmp_path: Path) -> None:
    place = f"unix://{tmp_path}/none.sock"
    environ = {**environment(tmp_path / "data"), "DOCKER_HOST": place}
    outcome = run(environ, "--runtime=docker")
    assert outcome.code == 1
    assert outcome.err.startswith("ERROR: Docker daemon not running.")
