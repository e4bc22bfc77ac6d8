"""The grammar of `calicoctl datastore`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="datastore",
    about=(
        "The whole datastore as one JSON document: a backup, and what `--snapshot`"
        " of other commands reads on another machine. It holds every key to the byte,"
        " but for what agents report of themselves. History is not part of it."
        " And who may do what in an etcd."
    ),
    forms=(
        Form("datastore export [-f <FILE>]", "datastore.export"),
        Form("datastore import [-f <FILE>] [--replace]", "datastore.import_"),
        Form("datastore roles [--host=<HOST>]", "datastore_roles.show"),
    ),
    options={
        "--host=<HOST>": "The host to let in; without it, this one.",
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
        Example(
            "datastore roles --host=web-1",
            "print the etcdctl commands that give a host what it needs, and no more",
        ),
    ),
    parts={},
)
