"""What the documents say about the repository, compared with it."""

import re
from pathlib import Path

from test_architecture import MAY_IMPORT

ROOT = Path(__file__).resolve().parent.parent
DECISIONS = ROOT / "docs" / "decisions"


def test_table_of_packages_is_the_one_that_is_checked() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| .* \| (.*) \|$",
        (ROOT / "ARCHITECTURE.md").read_text(),
        re.MULTILINE,
    )
    told = {package: set(re.findall(r"`(\w+)`", may)) for package, may in rows}
    # In words: `cli` may import all, and everything above the line `settings`.
    assert told.keys() == MAY_IMPORT.keys()
    for package in told.keys() - {"cli"}:
        assert told[package] == MAY_IMPORT[package] - {"settings"}, package


def test_decisions_have_numbers_of_their_own_and_are_listed() -> None:
    files = sorted(path.name for path in DECISIONS.glob("[0-9]*.md"))
    numbers = [int(name[:4]) for name in files]
    # Not without gaps: a number may be taken by a record that is being written.
    assert len(set(numbers)) == len(numbers)
    listed = re.findall(r"\]\((.*?)\)", (DECISIONS / "README.md").read_text())
    assert listed == files
    for name in files:
        title = (DECISIONS / name).read_text().splitlines()[0]
        assert title.startswith(f"# {name[:4]}: "), name
