"""The help texts, printed from the grammar."""

from calico.cli.grammar import COMMON_OPTIONS, OUTPUT_OPTION, Group
from calico.cli.groups import SUMMARIES
from calico.cli.output import WIDTH, wrap

_COLUMN = 26
_EXAMPLES = (
    ("calicoctl profile add WEB", "make a profile"),
    (
        "calicoctl profile WEB rule add inbound allow tcp to ports 80,443",
        "and let everybody reach two ports of its members",
    ),
)


def top_help() -> str:
    """Return what `calicoctl` alone prints."""
    width = max(len(name) for name in SUMMARIES)
    return "\n".join(
        [
            "Usage:",
            "  calicoctl <COMMAND> [<WORD>...]",
            "",
            "Network policy for Docker and plain Linux hosts.",
            "",
            "Commands:",
            *(f"  {name:{width}}  {about}" for name, about in SUMMARIES.items()),
            "",
            "Examples:",
            *(f"  {command}\n      {purpose}" for command, purpose in _EXAMPLES),
            "",
            "`calicoctl <COMMAND> --help` explains a command.",
            "The datastore is the file calico.db in CALICO_DATA_DIR, which is"
            " /var/lib/calico unless set.",
        ]
    )


def group_help(group: Group) -> str:
    """Return what `calicoctl <group> --help` prints."""
    options = dict(group.options)
    if any(form.shape for form in group.forms):
        options[OUTPUT_OPTION] = "Print as json, yaml, or name: one identifier a line."
    lines = [wrap(group.about), "", "Usage:"]
    lines += [f"  calicoctl {form.text}" for form in group.forms]
    if group.notes:
        lines += ["", *(f"  {note}" for note in group.notes)]
    lines += ["", "Options:"]
    for spelled, meaning in {**options, **COMMON_OPTIONS}.items():
        lines += _entry(spelled, meaning)
    lines += ["", "Examples:"]
    for example in group.examples:
        lines += [f"  calicoctl {example.command}", f"      {example.purpose}"]
    return "\n".join(lines)


def _entry(spelled: str, meaning: str) -> list[str]:
    first, *rest = wrap(meaning, WIDTH - _COLUMN).split("\n")
    margin = " " * _COLUMN
    head = f"  {spelled}"
    if len(head) + 2 > _COLUMN:
        return [head, margin + first, *(margin + each for each in rest)]
    return [f"{head:{_COLUMN}}{first}", *(margin + each for each in rest)]
