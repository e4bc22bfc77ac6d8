"""The grammar of `calicoctl version`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="version",
    about="Print the version of calicoctl.",
    forms=(Form("version", "version.show", '{"version": "<VERSION>"}'),),
    options={},
    examples=(
        Example("version", "print the version alone"),
        Example("version -o json", "print it for a program"),
    ),
    parts={},
)
