"""The grammar of `calicoctl endpoint`."""

from calico.cli.grammar import Example, Form, Group

_FILTERS = "[--host=<HOST>] [--orchestrator=<ID>] [--workload=<ID>]"

GROUP = Group(
    name="endpoint",
    about=(
        "An endpoint is the interface of a workload. It lists profiles in the order"
        " in which they are asked; without any, all its traffic is denied. The"
        " options pick one of several endpoints with the same id."
    ),
    forms=(
        Form(
            f"endpoint show {_FILTERS} [--endpoint=<ID>] [--detailed]",
            "endpoint.show",
            'a list of {"host", "orchestrator", "workload", "endpoint", "addresses",'
            ' "mac", "interface", "profiles", "state"}, with or without --detailed;'
            ' of one that cannot be read the first four and "problem"',
        ),
        Form(
            "endpoint <ENDPOINT> profile (append|remove|set)"
            f" [<PROFILES>...] {_FILTERS}",
            "endpoint.change_profiles",
        ),
        Form(
            f"endpoint <ENDPOINT> profile show {_FILTERS}",
            "endpoint.show_profiles",
            'a list of {"name", "exists"} in the order in which they are asked',
        ),
    ),
    options={
        "--host=<HOST>": "Only endpoints on this host.",
        "--orchestrator=<ID>": "Only endpoints of this orchestrator.",
        "--workload=<ID>": "Only endpoints of this workload.",
        "--endpoint=<ID>": "Only the endpoint with this id.",
        "--detailed": "Show each endpoint instead of their number.",
        "<PROFILES>": "Names of profiles; each must exist, but one that does not can"
        " be removed. All of the change is made, or none.",
    },
    examples=(
        Example("endpoint show --detailed", "show every endpoint with its addresses"),
        Example("endpoint show --host=node-1 -o json", "the same of one host, as JSON"),
    ),
    parts={},
)
