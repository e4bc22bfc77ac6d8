"""The grammar of `calicoctl wait`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="wait",
    about=(
        "Wait until every live host enforces policy as it is in the datastore now."
        " A host that lags at the end of the time is named, and the exit code is 4."
    ),
    forms=(Form("wait [--timeout=<SECONDS>]", "wait.wait"),),
    options={
        "--timeout=<SECONDS>": "How long to wait; 10 without it.",
    },
    examples=(
        Example("wait", "after a change: wait until it is in force everywhere"),
        Example("wait --timeout=60", "wait longer"),
    ),
    parts={},
)
