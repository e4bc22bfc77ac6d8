"""Pools with an overlay, where the kernel says that it has it, and where not."""

import json
import subprocess
from pathlib import Path

import pytest
from command_lines import environment

pytestmark = pytest.mark.kernel

CALICOCTL = Path(__file__).resolve().parents[2] / "calicoctl"

# What the kernel shows of itself is replaced in a mount namespace of our own.
SHOW = """
set -e
mount -t tmpfs tmpfs /sys
if [ -d /lib/modules ]; then mount -t tmpfs tmpfs /lib/modules; fi
mkdir -p "/sys/module/$1"
shift
exec "$@"
"""


def run(module: str, data_dir: Path, *words: str) -> tuple[int, str, str]:
    """Run a command where the kernel shows one module, and return its end."""
    done = subprocess.run(
        ("unshare", "--mount", "sh", "-c", SHOW, "sh", module, str(CALICOCTL), *words),
        capture_output=True,
        text=True,
        check=False,
        env=environment(data_dir),
    )
    return done.returncode, done.stdout, done.stderr


def test_ipip_pool_switches_ipip_on_where_the_kernel_has_it(tmp_path: Path) -> None:
    add = ("pool", "add", "10.0.0.0/16", "--ipip")
    assert run("ipip", tmp_path, *add) == (0, "", "")
    code, shown, _ = run("ipip", tmp_path, "pool", "show")
    assert (code, "| 10.0.0.0/16 |   ipip  |" in shown) == (0, True)
    setting = ("config", "felix", "IpInIpEnabled", "--force")
    assert run("ipip", tmp_path, *setting)[:2] == (0, "true\n")


def test_ipip_pool_is_refused_where_the_kernel_has_none(tmp_path: Path) -> None:
    assert run("vxlan", tmp_path, "pool", "add", "10.1.0.0/16") == (0, "", "")
    code, _, error = run("vxlan", tmp_path, "pool", "add", "10.0.0.0/16", "--ipip")
    assert code == 1
    assert "this kernel has no IPIP device" in error
    shown = run("vxlan", tmp_path, "pool", "show", "-o", "name")
    assert shown[:2] == (0, "10.1.0.0/16\n")


@pytest.mark.parametrize("words", [("10.0.0.0/16",), ("fd00::/64", "10.0.0.0/16")])
def test_vxlan_pool_is_taken_where_the_kernel_has_it(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    assert run("vxlan", tmp_path, "pool", "add", *words, "--vxlan") == (0, "", "")
    _, shown, _ = run("vxlan", tmp_path, "pool", "show", "-o", "json")
    assert [each["vxlan"] for each in json.loads(shown)] == [True] * len(words)
    _, shown, _ = run("vxlan", tmp_path, "pool", "show")
    assert "| 10.0.0.0/16 |  vxlan  |" in shown
    # The same network again gets the options given.
    assert run("vxlan", tmp_path, "pool", "add", *words) == (0, "", "")
    assert "vxlan" not in run("vxlan", tmp_path, "pool", "show")[1]


@pytest.mark.parametrize(
    "words", [("add", "10.0.0.0/16"), ("range", "add", "10.0.0.0", "10.0.255.255")]
)
def test_vxlan_pool_is_refused_where_the_kernel_has_none(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    assert run("ipip", tmp_path, "pool", "add", "10.9.0.0/16") == (0, "", "")
    code, _, error = run("ipip", tmp_path, "pool", *words, "--vxlan")
    assert code == 1
    assert "this kernel has no VXLAN device" in error
    assert "No pools added." in error
    shown = run("ipip", tmp_path, "pool", "show", "-o", "name")
    assert shown[:2] == (0, "10.9.0.0/16\n")
    assert run("vxlan", tmp_path, "pool", *words, "--vxlan") == (0, "", "")


def test_pool_has_one_overlay_at_most(tmp_path: Path) -> None:
    add = ("pool", "add", "10.0.0.0/16")
    assert run("vxlan", tmp_path, *add) == (0, "", "")
    code, _, error = run("vxlan", tmp_path, *add, "--ipip", "--vxlan")
    assert (code, bool(error)) == (2, True)
    _, shown, _ = run("vxlan", tmp_path, "pool", "show", "-o", "json")
    assert [each["vxlan"] for each in json.loads(shown)] == [False]
