"""The grammar of `calicoctl drops`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="drops",
    about=(
        "The last packets that this host dropped since its agent started, each with"
        " the endpoint that was judged, what was judged, and the rule or the reason."
        " The kernel logs a few a second of each endpoint and direction, and drops the"
        " others all the same: `profile <PROFILE> rule show --counters` counts every"
        " one. The parameter DropLog switches the log off."
    ),
    forms=(
        Form(
            "drops [--follow] [<ENDPOINT>]",
            "drops.show",
            'a list of {"sequence", "at", "direction", "reason", "profile", "rule",'
            ' "origin", "endpoint", "interface", "peer", "source", "destination",'
            ' "protocol", "source_port", "destination_port", "icmp_type",'
            ' "icmp_code", "n_lost"}; endpoint is {"orchestrator", "workload",'
            ' "endpoint"} or null, and what cannot be read of a packet is null or'
            " empty. With --follow it is one such object a line",
        ),
    ),
    options={
        "<ENDPOINT>": "An endpoint ID, a workload, or the path of a network"
        " namespace, of this host.",
        "--follow": "Go on with each packet as it is dropped, until interrupted.",
    },
    examples=(
        Example("drops", "see what this host dropped lately"),
        Example("drops --follow -o json", "hand each dropped packet to a program"),
    ),
    parts={},
)
