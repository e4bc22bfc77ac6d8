"""The grammar of `calicoctl reach`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="reach",
    about=(
        "Show who can talk to whom, on which protocols and ports: exactly, for all"
        " packets at once. A cell is what outbound policy of the sender and inbound"
        " policy of the receiver both allow of new flows. Addresses that no endpoint"
        " has are outside, split by the networks that rules name. What a host and its"
        " own workloads send to each other is not shown, nor what a workload sends to"
        " itself. With --shadowed: rules that can never decide anything, what hides"
        " them, and a packet that shows it."
    ),
    forms=(
        Form(
            "reach [<SRC>] [<DST>] [--by=<WHAT>] [--snapshot=<FILE>]",
            "reach.show",
            '{"revision", "by", "cells", "outside"}; by endpoint a cell is {"from",'
            ' "to", "family", "allowed"} with lists of names, and "closed" lists'
            ' {"endpoint", "reason"}; by profile or tag it is {"from", "to",'
            ' "family", "all", "some"}; traffic is a list of {"protocol", "numbers",'
            ' "source_ports", "destination_ports", "types", "codes"}, an absent'
            " field is every value, and null is not decided; cells that allow"
            " nothing are left out",
        ),
        Form(
            "reach --shadowed [<PROFILE>] [--snapshot=<FILE>]",
            "shadowed.show",
            '{"revision", "shadowed", "undecided"}; a shadowed rule is {"profile",'
            ' "direction", "number", "words", "depends_on", "hidden_by", "reasons",'
            ' "witness"}, and "depends_on" is "profile", "lists" or "today"',
        ),
    ),
    options={
        "--snapshot=<FILE>": "Ask a document that `datastore export` wrote, instead"
        " of the datastore.",
        "<SRC>, <DST>": "An endpoint's id, workload, namespace or whole name, an"
        " address, or `outside`; with --by the name of a profile or tag. Without"
        " them: everything.",
        "--by=<WHAT>": "One of endpoint, profile, tag; endpoint without it. A cell"
        " of the others says what every active member can send to every other one,"
        " and what some can.",
        "--shadowed": "Show rules that never decide, of one profile or of all. A"
        " claim holds wherever the profile is listed, or in the lists in use, or"
        " for the members of today; it says which.",
    },
    examples=(
        Example("reach", "show everything that is allowed"),
        Example(
            "reach --by=profile WEB -o json",
            "show what members of a profile can reach, as JSON",
            ("profile add WEB",),
        ),
        Example("reach --shadowed", "find rules that can never decide anything"),
    ),
    parts={},
)
