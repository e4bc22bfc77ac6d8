"""`calicoctl container` and `ipam` on real namespaces, words for words.

No agent runs here, so what adds an address ends with exit code 4: the endpoint
is written, and closed.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from command_lines import ROOT, Outcome, environment, run_here

from calico.cli.exit_codes import NOT_IN_FORCE
from calico.cli.output import wrap

pytestmark = pytest.mark.kernel


@pytest.fixture
def path() -> Iterator[str]:
    name = f"ctip-{uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield f"/run/netns/{name}"
    subprocess.run(["ip", "-n", name, "link", "del", "eth1"], check=False)
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    run_here(["pool", "add", "192.168.0.0/16"], tmp_path)
    run_here(["pool", "add", "fd80:24e2:f998:72d6::/64"], tmp_path)
    run_here(["profile", "add", "WEB"], tmp_path)
    return tmp_path


def endpoints(data: Path, path: str) -> list[dict[str, object]]:
    shown = run_here(["container", path, "endpoint", "show", "-o", "json"], data)
    assert (shown.code, shown.err) == (0, "")
    found: list[dict[str, object]] = json.loads(shown.out)
    return found


def add(data: Path, path: str, address: str = "192.168.0.1") -> Outcome:
    return run_here(["container", "add", path, address], data)


def test_workload_is_added_and_removed(data: Path, path: str) -> None:
    added = add(data, path)
    assert added.code == NOT_IN_FORCE
    assert added.out == f"IP 192.168.0.1 added to {path}\n\n"
    assert "there is no agent; start one with `calicoctl node`" in added.err
    (endpoint,) = endpoints(data, path)
    assert endpoint["orchestrator"] == "namespace"
    assert endpoint["workload"] == path
    assert endpoint["addresses"] == ["192.168.0.1"]
    assert endpoint["profiles"] == []

    info = run_here(["ipam", "info", "192.168.0.1", "-o", "json"], data)
    known = json.loads(info.out)
    assert known["handle"] == f"node-1.namespace.{path}.{endpoint['endpoint']}"
    assert set(known["attributes"]) == {"time"}

    # The path is written in the other way that leads there.
    removed = run_here(["container", "remove", f"/var{path}"], data)
    assert removed == Outcome(0, f"Removed Calico from {path}\n", "")
    assert endpoints(data, path) == []
    again = run_here(["container", "remove", path], data)
    assert again == Outcome(0, f"Failed find Calico data for {path}\n", "")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "nonsense",
            "Invalid IP address specified.  Argument must be a valid IP or CIDR.\n\n",
        ),
        (
            "10.0.0.0/16",
            "Invalid CIDR specified for desired pool. No pool found for"
            " 10.0.0.0/16.\n\n",
        ),
        ("10.0.0.1", "10.0.0.1 is not in any configured pools\n"),
        ("192.168.0.9", "IP address is already assigned in pool 192.168.0.0/16.\n\n"),
    ],
)
def test_address_that_cannot_be_had_is_refused(
    data: Path, path: str, address: str, said: str
) -> None:
    name = f"ctip-{uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        add(data, f"/run/netns/{name}", "192.168.0.9")
        assert add(data, path, address) == Outcome(1, "", said)
        assert endpoints(data, path) == []
    finally:
        run_here(["container", "remove", f"/run/netns/{name}"], data)
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_exhausted_pools_are_named(path: str, tmp_path: Path) -> None:
    refused = add(tmp_path, path, "IPv6")
    assert refused == Outcome(
        1,
        "",
        "Failed to allocate any IPs (requested 0 IPv4s and 1 IPv6s). Pools are"
        " likely exhausted.\n`calicoctl pool show` lists the pools; `calicoctl node`"
        " makes the first ones, and `calicoctl pool add` more.\n",
    )


def test_command_of_another_user_is_refused_before_anything_is_done(
    data: Path, path: str
) -> None:
    for line in (
        ["add", path, "ipv4"],
        ["remove", path],
        [path, "ip", "add", "ipv4"],
        [path, "ip", "remove", "192.168.0.1"],
    ):
        words = [str(ROOT / "calicoctl"), "container", *line]
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", *words],
            capture_output=True,
            check=False,
            env=environment(data),
        )
        assert done.returncode == 1
        assert done.stderr == b"This command must be run as root.\n"
    assert endpoints(data, path) == []


def test_namespace_of_the_host_is_refused(data: Path) -> None:
    refused = add(data, "/proc/self/ns/net")
    assert (refused.code, refused.out) == (1, "")
    assert " ".join(refused.err.split()) == (
        "Can't add /proc/self/ns/net to Calico because it is running NetworkMode ="
        " host."
    )


def test_name_that_is_no_text_is_a_name_like_others(data: Path) -> None:
    odd = "/run/netns/\udcff"
    removed = run_here(["container", "remove", odd], data)
    assert removed == Outcome(0, f"Failed find Calico data for {odd}\n", "")


@pytest.mark.parametrize("verb", ["add", "remove"])
def test_addresses_of_what_does_not_run_are_refused(data: Path, verb: str) -> None:
    words = ["container", "/run/netns/none", "ip", verb, "192.168.0.1"]
    refused = run_here(words, data)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("/run/netns/none is not currently running.\n")


def test_next_step_for_an_unknown_workload_is_named(data: Path, path: str) -> None:
    added = run_here(["container", path, "ip", "add", "ipv4"], data)
    assert added == Outcome(
        1,
        "",
        "Failed to add IP address to container.\n\n"
        + wrap(f"Container {path} is unknown to Calico.")
        + "\n\n"
        "Use `calicoctl container add` to add the container to the Calico network.\n\n",
    )
    removed = run_here(["container", path, "ip", "remove", "192.168.0.1"], data)
    assert removed == Outcome(1, "", "Container is unknown to Calico.\n")


def test_address_that_the_kernel_refuses_is_given_back(data: Path, path: str) -> None:
    add(data, path)
    # Below 1280 bytes a link has no IPv6.
    link = ["link", "set", "eth1", "mtu", "1000"]
    subprocess.run(["ip", "-n", Path(path).name, *link], check=True)
    address = "fd80:24e2:f998:72d6::2"
    refused = run_here(["container", path, "ip", "add", address], data)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("Error updating networking in container. Aborting.\n")
    free = run_here(["ipam", "info", address], data)
    assert free.out == f"IP {address} is not currently assigned\n"


def test_second_addition_is_refused(data: Path, path: str) -> None:
    add(data, path)
    again = add(data, path, "ipv4")
    assert (again.code, again.out) == (1, "")
    assert " ".join(again.err.split()) == (
        f"{path} has already been configured with Calico Networking."
    )


def test_next_step_for_a_namespace_that_was_made_anew_is_named(
    data: Path, path: str
) -> None:
    add(data, path)
    name = Path(path).name
    subprocess.run(["ip", "netns", "del", name], check=True)
    subprocess.run(["ip", "netns", "add", name], check=True)
    again = add(data, path)
    assert (again.code, again.out) == (1, "")
    assert " ".join(again.err.split()) == (
        f"{path} has already been configured with Calico Networking. Its network"
        " namespace has been made anew since, and has no interface. `calicoctl"
        f" container remove {path}` takes the old endpoint away; then add it again."
    )
    assert f"\n`calicoctl container remove {path}` " in again.err
    assert run_here(["container", "remove", path], data).code == 0
    assert add(data, path).out == f"IP 192.168.0.1 added to {path}\n\n"


@pytest.mark.parametrize("path_without", ["/run/netns/none", "/etc/passwd"])
def test_path_without_namespace_is_refused(data: Path, path_without: str) -> None:
    refused = add(data, path_without)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith(f"Container {path_without} was not found.\n")


def test_addresses_come_and_go(data: Path, path: str) -> None:
    unknown = run_here(["container", path, "ip", "add", "ipv4"], data)
    assert unknown.code == 1
    assert unknown.err.startswith("Failed to add IP address to container.\n\n")
    add(data, path)
    words = ["container", path, "ip"]
    added = run_here([*words, "add", "fd80:24e2:f998:72d6::1"], data)
    assert added.code == NOT_IN_FORCE
    assert added.out == f"IP fd80:24e2:f998:72d6::1 added to {path}\n"
    (endpoint,) = endpoints(data, path)
    assert endpoint["addresses"] == ["192.168.0.1", "fd80:24e2:f998:72d6::1"]

    absent = run_here([*words, "remove", "192.168.0.2"], data)
    assert absent == Outcome(
        1, "", "IP address is not assigned to container. Aborting.\n"
    )
    elsewhere = run_here([*words, "add", "ipv4", "--interface=eth5"], data)
    assert elsewhere == Outcome(
        1, "", "Interface provided does not exist in container. Aborting.\n"
    )
    removed = run_here([*words, "remove", "192.168.0.1"], data)
    assert removed == Outcome(0, f"IP 192.168.0.1 removed from {path}\n", "")
    (endpoint,) = endpoints(data, path)
    assert endpoint["addresses"] == ["fd80:24e2:f998:72d6::1"]


def test_address_in_use_is_not_released(data: Path, path: str) -> None:
    add(data, path)
    refused = run_here(["ipam", "release", "192.168.0.1"], data)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("Failed to release address\n192.168.0.1 belongs to")


def test_profiles_are_those_of_the_workload(data: Path, path: str) -> None:
    add(data, path)
    words = ["container", path, "profile"]
    appended = run_here([*words, "append", "WEB"], data)
    assert appended == Outcome(0, "Profile(s) WEB appended.\n\n", "")
    (endpoint,) = endpoints(data, path)
    assert endpoint["profiles"] == ["WEB"]
    removed = run_here([*words, "remove", "WEB"], data)
    assert removed == Outcome(0, "Profile(s) WEB removed.\n\n", "")
    assert run_here([*words, "set", "WEB"], data).out == "Profile(s) set to WEB.\n\n"
