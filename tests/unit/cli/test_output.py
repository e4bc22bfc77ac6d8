"""Wrapping, and reading what `-f` names."""

from pathlib import Path

import pytest
from command_lines import environment, run_here

from calico.cli.output import wrap
from calico.settings import Settings
from calico.store.api import Note, Put, Transaction
from calico.store.open import open_store


@pytest.mark.parametrize(
    ("text", "wrapped"),
    [
        ("", ""),
        ("a  b", "a  b"),
        ("x" * 79 + " y", "x" * 79 + "\ny"),
        ("x" * 78 + " y", "x" * 78 + " y"),
        ("x" * 90 + " y", "x" * 90 + "\ny"),
        ("x" * 79 + "  y", "x" * 79 + "\ny"),
        ("a\nb", "a\nb"),
    ],
)
def test_paragraph_is_wrapped_at_80_columns(text: str, wrapped: str) -> None:
    assert wrap(text) == wrapped


RULES = '{"inbound_rules": [{"action": "deny"}]}'


def test_rules_are_read_from_a_file_or_the_one_file_of_a_directory(
    tmp_path: Path,
) -> None:
    data, directory = tmp_path / "data", tmp_path / "rules"
    directory.mkdir()
    (directory / "web.json").write_text(RULES)
    run_here(["profile", "add", "WEB"], data)
    for name in (str(directory), str(directory / "web.json")):
        words = ["profile", "WEB", "rule", "update", "-f", name]
        assert run_here(words, data).code == 0
        shown = run_here(["profile", "WEB", "rule", "show"], data).out
        assert shown == "Inbound rules:\n   1 deny\nOutbound rules:\n"
    (directory / "app.json").write_text(RULES)
    outcome = run_here(["profile", "WEB", "rule", "update", "-f", str(directory)], data)
    assert outcome.code == 1
    assert "found 2 .json files, expected exactly one" in outcome.err


MALFORMED = [
    b"\xff",
    b"[" * 100_000,
    b"9" * 5_000,
    b"{" + b" " * (600 * 1024) + b"}",
    b'{"inbound_rules": NaN}',
    b'{"inbound_rules": [], "inbound_rules": []}',
    b"\0",
    b'"x"',
    b'{"inbound_rules": [{"src_tag": "\\ud800"}]}',
    b'{"inbound_rules": [' + b",".join([b"{}"] * 1001) + b"]}",
]


@pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_rules_change_nothing(text: bytes, tmp_path: Path) -> None:
    run_here(["profile", "add", "WEB"], tmp_path)
    before = run_here(["profile", "WEB", "rule", "json"], tmp_path)
    outcome = run_here(["profile", "WEB", "rule", "update"], tmp_path, text)
    assert outcome.code == 1
    assert outcome.out == ""
    assert outcome.err.startswith(("standard input: ", "standard input, line 1: "))
    assert outcome.err.endswith("\nNothing was changed.\n")
    assert run_here(["profile", "WEB", "rule", "json"], tmp_path) == before


def test_what_a_terminal_would_obey_is_shown(tmp_path: Path) -> None:
    run_here(["profile", "add", "WEB"], tmp_path)
    outcome = run_here(["explain", "a\x1b[31m\x9b", "c", "tcp", "80"], tmp_path)
    assert outcome.err.startswith("a\\x1b[31m\\x9b is no workload, ")


def test_document_is_never_guessed(tmp_path: Path) -> None:
    run_here(["profile", "add", "WEB"], tmp_path)
    (tmp_path / "only.json").write_text(run_here(["datastore", "export"], tmp_path).out)
    for words in (
        ["datastore", "import", "--replace", "-f", str(tmp_path)],
        ["explain", "a", "b", "tcp", "80", "--snapshot="],
        ["reach", f"--snapshot={tmp_path}"],
    ):
        outcome = run_here(words, tmp_path)
        assert outcome.code == 1
        assert "names no file" in outcome.err


def test_reach_refuses_hosts_and_names_what_answers_for_them(tmp_path: Path) -> None:
    store = open_store(Settings.from_environment(environment(tmp_path)))
    puts = (
        Put("/calico/v1/host/host1/config/marker", b"created"),
        Put("/calico/bgp/v1/host/host1/ip_addr_v4", b"172.20.0.1"),
    )
    store.commit(Transaction((), puts, Note("test", "h", "test")))
    store.close()
    for word in ("host1", "172.20.0.1"):
        outcome = run_here(["reach", word], tmp_path)
        assert outcome.code == 1
        assert outcome.err.startswith(f"{word} is host host1: ")
