"""The grammar of `calicoctl status`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="status",
    about=(
        "How this host is: whether its agent runs, which policy revision is in force,"
        " what could not be used, what the kernel refuses, which chains of other"
        " programs can drop what policy allows, and how its BGP sessions are."
    ),
    forms=(
        Form(
            "status [--runtime=<RUNTIME>] [--backend=<BACKEND>]",
            "status.show",
            '{"host", "pid", "uptime_s", "revision", "is_ready", "is_enforcing",'
            ' "degraded", "problems", "limits", "n_endpoints", "missing_interfaces",'
            ' "table_is_owned", "n_drifts", "last_drift", "n_cuts", "cuts",'
            ' "unused_keys", "other_chains", "bgp"}; other_chains is a list of'
            ' {"family", "table", "chain", "hook", "reasons", "let_pass"}, or null when'
            ' it cannot be read; bgp is {"backend", "problem", "ipv4", "ipv6"}, each'
            ' family {"ip", "as_num", "as_inherited", "peers"} or null, and peers is a'
            ' list of {"ip", "type", "state", "since", "info"}',
        ),
    ),
    options={
        "--runtime=<RUNTIME>": "docker or none; there is no difference.",
        "--backend=<BACKEND>": "bird or none: with none, BIRD is not asked.",
    },
    examples=(
        Example("status", "see whether this host enforces policy"),
        Example("status -o json", "the same for a program"),
    ),
    parts={},
)
