"""What `calicoctl` prints, command by command, as recorded and read by people.

`GOLDEN=record` in the environment writes the transcripts anew; read the
difference before committing it.
"""

import json
import os
from pathlib import Path

import pytest
from command_lines import (
    environment,
    read_transcript,
    run_here,
    run_process,
    show_exchange,
)

from calico.settings import Settings
from calico.store.api import Note, Put, Transaction
from calico.store.open import open_store

TRANSCRIPTS = sorted((Path(__file__).parent / "cli").glob("*.txt"))
TUTORIAL = Path(__file__).parent / "tutorial.txt"
ENDPOINTS: dict[tuple[str, str, str], object] = {
    ("h1", "w1", "e1"): {
        "state": "active",
        "name": "cali1",
        "mac": "ee:ee:ee:ee:ee:ee",
        "profile_ids": [],
        "labels": {"k": "v"},
        "ipv4_nets": ["10.0.0.1/32"],
        "ipv6_nets": ["fd00::1/128"],
    },
    ("h2", "w1", "e1"): {"state": "inactive", "name": "cali1"},
    ("h2", "w3", "e3"): b"{",
    ("h2", "w4", "e4"): {"state": "active", "name": "cali4", "profile_id": "GONE"},
}
IS_RECORDING = os.environ.get("GOLDEN") == "record"


def without_trailing_blanks(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines())


def _put_endpoints(data_dir: Path) -> None:
    """Write what no command of these groups writes."""
    store = open_store(Settings.from_environment(environment(data_dir)))
    for place, value in ENDPOINTS.items():
        key = "/calico/v1/host/{}/workload/namespace/{}/endpoint/{}".format(*place)
        put = Put(
            key, value if isinstance(value, bytes) else json.dumps(value).encode()
        )
        store.commit(Transaction((), (put,), Note("test", "h", "test")))
    store.close()


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript_is_what_is_printed(path: Path, tmp_path: Path) -> None:
    recorded = path.read_text(encoding="utf-8")
    open_store(Settings.from_environment(environment(tmp_path))).close()
    if path.stem == "endpoint":
        _put_endpoints(tmp_path)
    remarks = [line for line in recorded.splitlines() if line.startswith("# ")]
    exchanges = [
        show_exchange(each, run_here(each.words, tmp_path, each.stdin))
        for each in read_transcript(recorded)
    ]
    found = "\n".join([*remarks, "", *exchanges])
    if IS_RECORDING:
        path.write_text(found, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == found


def test_tutorial_works_as_printed(tmp_path: Path) -> None:
    """Each command is a process of its own, as a reader would run it."""
    exchanges = read_transcript(TUTORIAL.read_text(encoding="utf-8"))
    assert len(exchanges) == 10
    for exchange in exchanges:
        assert exchange.command.startswith("./calicoctl ")
        outcome = run_process(exchange.words, tmp_path, exchange.stdin)
        assert (outcome.code, outcome.err) == (0, ""), exchange.command
        assert without_trailing_blanks(outcome.out) == without_trailing_blanks(
            exchange.outcome.out
        ), exchange.command
