"""The grammar of `calicoctl config`."""

from calico.cli.grammar import Example, Form, Group

_FELIX = "config felix"
_BGP = "config (bgp | node bgp)"
_SHAPE = '{"name", "value"}; value is null when none is configured'

GROUP = Group(
    name="config",
    about=(
        "Parameters: of the agents (felix), of all hosts or of one, of BGP on all hosts"
        " (bgp) and of BGP on this host (node bgp). A host's own value counts before"
        " that of all hosts. A change takes effect at once."
    ),
    forms=(
        Form(f"{_FELIX} <NAME> [--host=<HOST>] [--force]", "config.show", _SHAPE),
        Form(f"{_FELIX} <NAME> <VALUE> [--host=<HOST>] [--force]", "config.put"),
        Form(f"{_FELIX} <NAME> --remove [--host=<HOST>] [--force]", "config.remove"),
        Form(f"{_BGP} <NAME> [--force]", "config.show", _SHAPE),
        Form(f"{_BGP} <NAME> <VALUE> [--force]", "config.put"),
        Form(f"{_BGP} <NAME> --remove [--force]", "config.remove"),
    ),
    options={
        "<NAME>": "Of felix: loglevel, the same as LogSeverityScreen (none, debug,"
        " info, warning, error, critical); DefaultEndpointToHostAction (DROP, RETURN,"
        " ACCEPT); InterfacePrefix (beginnings of interface names, separated by"
        " commas); CutEstablishedFlows, DropLog, WorkloadDns, WorkloadDhcp (true,"
        " false). Of bgp and node bgp: loglevel, how much BIRD writes to bird.log: none"
        " is warnings and errors, info, the default, also how sessions come and go,"
        " debug everything, each route included.",
        "--host=<HOST>": "The value of one host, which counts there whatever that of"
        " all hosts is. `calicoctl node` gives its host RETURN as its own"
        " DefaultEndpointToHostAction when there is no value for it.",
        "--remove": "Take the value away, so that the default is in force, or after"
        " the host's own value that of all hosts.",
        "--force": "Accept any name and any value. The other parameters of the"
        " original need no --force; they are kept and have no effect.",
    },
    examples=(
        Example("config felix loglevel debug", "let every agent say more"),
        Example(
            "config felix DefaultEndpointToHostAction --host=node-1",
            "show whether the workloads of one host may reach that host",
        ),
        Example("config felix CutEstablishedFlows", "show one parameter"),
    ),
    parts={},
)
