"""The reference of the command line, printed from the grammar as Markdown."""

from calico.cli.grammar import COMMON_OPTIONS, OUTPUT_OPTION, Group
from calico.cli.groups import SUMMARIES, load_group

_OPENING = """\
# Command line

This page is printed from the grammar; `scripts/reference` writes it anew.

Results go to standard output, everything else to standard error.
Options may stand anywhere among the words.
The beginning of an option is enough if no other option of the group has it.
After `--` no word is an option.

| Exit code | Meaning |
|---|---|
| 0 | done, or what was asked is already so |
| 1 | refused, failed, not found, not permitted, or the answer is no |
| 2 | the words do not form a command |
| 3 | the explainer and the kernel disagree |
| 4 | not in force within the time given, or no agent |
| 5 | the datastore cannot be reached, or refuses us |
| 6 | the datastore did not say whether the change was made: look before trying again |
| 130 | interrupted |

Every command that shows something takes `-o json`, `-o yaml` and `-o name`.
YAML has the shape of JSON; `name` is one identifier a line.
The shapes below stay; keys may be added to objects.
"""


def reference() -> str:
    """Return the whole page."""
    pages = [_group_page(load_group(name)) for name in SUMMARIES]
    return "\n".join([_OPENING, *pages])


def _group_page(group: Group) -> str:
    lines = [f"## {group.name}", "", group.about, "", "```"]
    lines += [f"calicoctl {form.text}" for form in group.forms]
    lines += ["", *group.notes] if group.notes else []
    lines += ["```", ""]
    options = dict(group.options)
    if any(form.shape for form in group.forms):
        options[OUTPUT_OPTION] = "Print as json, yaml, or name: one identifier a line."
    lines += ["| Option | Meaning |", "|---|---|"]
    for spelled, meaning in {**options, **COMMON_OPTIONS}.items():
        lines.append(f"| `{spelled}` | {meaning} |")
    shapes = [(form.text, form.shape) for form in group.forms if form.shape]
    if shapes:
        lines += ["", "| Shown by | Shape of `-o json` |", "|---|---|"]
        for text, shape in shapes:
            spelled = text.replace("|", "\\|")
            lines.append(f"| `{spelled}` | {shape} |")
    lines += ["", "Examples:", ""]
    for example in group.examples:
        lines.append(f"- `calicoctl {example.command}`: {example.purpose}.")
    return "\n".join([*lines, ""])
