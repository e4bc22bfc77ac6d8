"""What we change of the host's settings, and take back."""

from pathlib import Path

import pytest

from calico.linux.sysctl import (
    CONNTRACK_MAX,
    FORWARDING,
    PICK_UP,
    configure_host,
    restore_host,
)

OURS = {**FORWARDING, **PICK_UP, CONNTRACK_MAX: "1000000"}
BEFORE = {
    **dict.fromkeys(FORWARDING, "0"),
    **dict.fromkeys(PICK_UP, "1"),
    CONNTRACK_MAX: "262144",
}


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "sysctls"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's settings: the machine's own are not for tests to change."""
    put(tmp_path / "sys", BEFORE)
    return tmp_path / "sys"


def put(root: Path, values: dict[str, str]) -> None:
    for name, value in values.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{value}\n")


def get(root: Path) -> dict[str, str]:
    return {name: (root / name).read_text().strip() for name in OURS}


def test_every_setting_is_taken_back_also_after_a_restart(
    memory: Path, root: Path
) -> None:
    assert configure_host(memory, root) == {}
    assert get(root) == OURS
    assert configure_host(memory, root) == {}
    restore_host(memory, root)
    assert get(root) == BEFORE
    assert not memory.exists()
    put(root, OURS)
    restore_host(memory, root)
    assert get(root) == OURS


def test_what_was_so_before_us_stays(memory: Path, root: Path) -> None:
    put(root, {CONNTRACK_MAX: "1000000", "net/ipv4/ip_forward": "1"})
    configure_host(memory, root)
    restore_host(memory, root)
    assert get(root) == {
        **OURS,
        "net/ipv6/conf/all/forwarding": "0",
        **dict.fromkeys(PICK_UP, "1"),
    }


@pytest.mark.parametrize("number", ["2000000", "500000"])
def test_what_somebody_has_set_since_stays(
    memory: Path, root: Path, number: str
) -> None:
    configure_host(memory, root)
    put(root, {CONNTRACK_MAX: number})
    restore_host(memory, root)
    assert get(root) == {**BEFORE, CONNTRACK_MAX: number}


def test_what_somebody_has_set_before_a_restart_comes_back(
    memory: Path, root: Path
) -> None:
    configure_host(memory, root)
    put(root, {CONNTRACK_MAX: "500000"})
    configure_host(memory, root)
    assert get(root) == OURS
    restore_host(memory, root)
    assert get(root) == {**BEFORE, CONNTRACK_MAX: "500000"}


def test_setting_that_becomes_due_later_is_remembered_too(
    memory: Path, root: Path
) -> None:
    put(root, {"net/ipv4/ip_forward": "1"})
    configure_host(memory, root)
    put(root, {"net/ipv4/ip_forward": "0"})
    configure_host(memory, root)
    restore_host(memory, root)
    assert get(root) == BEFORE


def test_foreign_or_broken_memory_changes_nothing(memory: Path, root: Path) -> None:
    memory.write_text("net/ipv4/ip_forward\n../../passwd 1 0\nvm/swappiness 1 2 3\n")
    restore_host(memory, root)
    assert get(root) == BEFORE
    assert not memory.exists()
