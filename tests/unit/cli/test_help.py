"""Help texts: complete, true, and their examples work."""

from pathlib import Path

import pytest
from command_lines import ROOT, environment, run_here

from calico.cli.grammar import Example, split_form
from calico.cli.groups import SUMMARIES, load_group
from calico.cli.help import group_help, top_help
from calico.cli.parse import parse_command
from calico.cli.reference import reference
from calico.settings import Settings
from calico.store.open import open_store

# These need workloads or files, or change the network; their examples are run
# elsewhere.
WITH_A_NETWORK = {
    *(
        "checksystem",
        "container",
        "diags",
        "drops",
        "explain",
        "lab",
        "node",
        "status",
        "test",
        "wait",
    ),
}
EXAMPLES = [
    (name, example) for name in SUMMARIES for example in load_group(name).examples
]


def example_id(value: str | Example) -> str:
    return value if isinstance(value, str) else value.command


@pytest.mark.parametrize("name", SUMMARIES)
def test_group_has_two_examples_and_explains_its_options(name: str) -> None:
    group = load_group(name)
    assert group.name == name
    assert len(group.examples) >= 2
    explained = " ".join(group.options)
    for form in group.forms:
        assert form.text.split()[0] == name
        for option in split_form(form)[1]:
            if option.name not in {"-o", "-h", "--help", "--debug"}:
                assert option.name in explained
    text = group_help(group)
    assert all(form.text in text for form in group.forms)


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=example_id)
def test_example_is_a_command(name: str, example: Example) -> None:
    for line in (*example.before, example.command):
        words = line.split()
        assert parse_command(load_group(words[0]), words) is not None
    assert example.command.split()[0] == name


@pytest.mark.parametrize(
    ("name", "example"),
    [each for each in EXAMPLES if each[0] not in WITH_A_NETWORK],
    ids=example_id,
)
def test_example_works(
    name: str, example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_store(Settings.from_environment(environment(tmp_path))).close()
    for line in (*example.before, example.command):
        outcome = run_here(line.split(), tmp_path)
        assert (outcome.code, outcome.err) == (0, ""), (name, line)


def test_top_help_names_every_group() -> None:
    text = top_help()
    assert all(f"\n  {name} " in text for name in SUMMARIES)


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["--debug"]])
def test_top_help_is_printed(words: list[str], tmp_path: Path) -> None:
    outcome = run_here(words, tmp_path)
    assert (outcome.code, outcome.out) == (0, top_help() + "\n")


@pytest.mark.parametrize("name", SUMMARIES)
def test_group_help_is_printed_and_opens_nothing(name: str, tmp_path: Path) -> None:
    outcome = run_here([name, "--help"], tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(group_help(load_group(name)))
    assert list(tmp_path.iterdir()) == []


def test_reference_is_up_to_date() -> None:
    page = ROOT / "docs" / "reference" / "cli.md"
    assert page.read_text(encoding="utf-8") == reference(), "run scripts/reference"
