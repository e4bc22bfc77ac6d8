"""The grammar of `calicoctl checksystem`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="checksystem",
    about=(
        "See whether this machine has what Calico needs: the kernel's features,"
        " settings that can be set, BIRD, a datastore that answers, and no firewall in"
        " the way."
        " It changes nothing. Silent, and exit code 0, when all is well; otherwise each"
        " problem with what to do about it, and exit code 1."
    ),
    forms=(
        Form(
            "checksystem [--fix] [--libnetwork] [--runtime=<RUNTIME>]",
            "checksystem.check_system",
        ),
    ),
    options={
        "--fix": "Of no effect any more: `calicoctl node` sets what has to be set.",
        "--libnetwork": "See whether Docker is new enough for its networks, too.",
        "--runtime=<RUNTIME>": "docker: see whether Docker answers. none, the default:"
        " leave it out.",
    },
    examples=(
        Example("checksystem", "see whether anything is missing"),
        Example("checksystem --runtime=docker", "see whether Docker answers, too"),
    ),
    parts={},
)
