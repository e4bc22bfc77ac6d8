"""The grammar of `calicoctl datastore`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="datastore",
    about=(
        "The whole datastore as one JSON document: a backup, and what `--snapshot`"
        " of other commands reads on another machine. It holds every key to the byte,"
        " but for what agents report of themselves. History is not part of it."
        " `datastore roles` prints the commands that give each host what it needs of an"
        " etcd, and no more."
    ),
    forms=(
        Form("datastore export [-f <FILE>]", "datastore.export"),
        Form("datastore import [-f <FILE>] [--replace]", "datastore.import_"),
        Form(
            "datastore roles [--host=<HOST>]",
            "datastore_roles.show",
            'a list of {"name", "grants"}; grants are {"access", "prefix"}',
        ),
    ),
    options={
        "-f <FILE>": "The document; `-`, the default, is standard output, or input.",
        "--replace": "Import into a datastore that is not empty: in one transaction"
        " it becomes what the document says, and what is not in there goes.",
        "--host=<HOST>": "Print what this host needs, which need not exist yet;"
        " without it, what the operators and every host of the datastore need.",
    },
    examples=(
        Example("datastore export -f backup.json", "write a backup"),
        Example(
            "datastore import --replace -f backup.json",
            "go back to it",
            before=("datastore export -f backup.json",),
        ),
        Example("datastore roles --host=host-a", "let host-a in"),
    ),
    parts={},
)
