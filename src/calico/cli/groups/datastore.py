"""The grammar of `calicoctl datastore`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="datastore",
    about=(
        "The whole datastore as one JSON document: a backup, and what `--snapshot`"
        " of other commands reads on another machine. It holds every key to the byte,"
        " but for what agents report of themselves. History is not part of it."
    ),
    forms=(
        Form("datastore export [-f <FILE>]", "datastore.export"),
        Form("datastore import [-f <FILE>] [--replace]", "datastore.import_"),
    ),
    options={
        "-f <FILE>": "The document; `-`, the default, is standard output, or input.",
        "--replace": "Import into a datastore that is not empty: in one transaction"
        " it becomes what the document says, and what is not in there goes.",
    },
    examples=(
        Example("datastore export -f backup.json", "write a backup"),
        Example(
            "datastore import --replace -f backup.json",
            "go back to it",
            before=("datastore export -f backup.json",),
        ),
    ),
    parts={},
)
