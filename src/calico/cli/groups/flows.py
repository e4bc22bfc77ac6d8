"""The grammar of `calicoctl flows`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="flows",
    about=(
        "Established flows of this host's workloads that were cut, because a change"
        " of policy denies them: the last 1000, also those of agents that have ended."
        " Root and the group calico may read them."
    ),
    forms=(
        Form(
            "flows cut",
            "flows.cut",
            'list of {"at", "protocol", "source", "destination", "source_port",'
            ' "destination_port", "icmp_type", "icmp_code", "rule", "profile",'
            ' "direction", "number", "endpoint", "side"}, oldest first; what a flow'
            " or an origin does not have is null, side is source or destination",
        ),
    ),
    options={},
    examples=(
        Example("flows cut", "see which connections a change has ended, and why"),
        Example("flows cut -o json", "the same for a program"),
    ),
    parts={},
)
