"""The grammar of `calicoctl config`."""

from calico.cli.grammar import Example, Form, Group

_SCOPES = "config (felix | bgp | node bgp)"

GROUP = Group(
    name="config",
    about=(
        "Parameters: of the agents on all hosts (felix), of BGP on all hosts (bgp) and"
        " of BGP on this host (node bgp). A change takes effect at once."
    ),
    forms=(
        Form(
            f"{_SCOPES} <NAME> [--force]",
            "config.show",
            '{"name", "value"}; value is null when none is configured',
        ),
        Form(f"{_SCOPES} <NAME> <VALUE> [--force]", "config.put"),
        Form(f"{_SCOPES} <NAME> --remove [--force]", "config.remove"),
    ),
    options={
        "<NAME>": "Of felix: loglevel, the same as LogSeverityScreen (none, debug,"
        " info, warning, error, critical); DefaultEndpointToHostAction (DROP, RETURN,"
        " ACCEPT); InterfacePrefix (beginnings of interface names, separated by"
        " commas); CutEstablishedFlows, DropLog, WorkloadDns, WorkloadDhcp (true,"
        " false). Of bgp and node bgp: loglevel (none, debug, info).",
        "--remove": "Take the value away, so that the default is in force.",
        "--force": "Accept any name and any value. Parameters of the original that"
        " are not listed here are kept and have no effect.",
    },
    examples=(
        Example("config felix loglevel debug", "let every agent say more"),
        Example(
            "config felix DefaultEndpointToHostAction RETURN",
            "let workloads reach their own host as their outbound rules say",
        ),
        Example("config felix CutEstablishedFlows", "show one parameter"),
    ),
    parts={},
)
