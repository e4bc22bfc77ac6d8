"""The grammar of `calicoctl explain`."""

from calico.cli.grammar import Example, Form, Group

_OPTIONS = (
    "[--ipv4 | --ipv6] [--source=<IP>] [--mac=<MAC>]"
    " [--snapshot=<FILE> | --prove] [--bundle=<FILE>]"
)
_SHAPE = (
    '{"verdict", "revision", "question", "hosts", "remarks", "journeys"}: question is'
    ' {"source", "destination", "protocol", "source_port", "destination_port",'
    ' "icmp_type", "icmp_code"}; hosts a list of {"host", "revision", "in_force"},'
    " the revision null without a live agent; journeys one for each pair of"
    ' addresses, {"family", "source", "destination", "verdict", "origin", "steps"},'
    ' steps a list of {"host", "stage", "endpoint", "profile", "outcome", "origin",'
    ' "rules"}, rules a list of {"origin", "words", "matches", "miss", "reason"}. With'
    ' --prove also "proofs", a list of {"host", "source", "destination", "agrees",'
    ' "explained", "found", "allowed", "end", "arrival", "reply", "fault", "limits",'
    ' "chains"}; chains a list of {"chain", "hook", "ours", "rules"}, rules of'
    ' {"chain", "number", "comment", "verdict", "target"}'
)

GROUP = Group(
    name="explain",
    about=(
        "Says what policy does with the first packet of a flow, and which rule"
        " decides: outbound at the source and inbound at the destination, profile by"
        " profile and rule by rule. It asks the function that the agent enforces by."
        " The exit code is 0 when the packet is allowed, and 1 when it is denied."
    ),
    forms=(
        Form(
            f"explain <SRC> <DST> (tcp|udp) <PORT> [--sport=<PORT>] {_OPTIONS}",
            "explain.explain",
            _SHAPE,
        ),
        Form(
            f"explain <SRC> <DST> (icmp|icmpv6) [type <N> [code <N>]] {_OPTIONS}",
            "explain.explain",
            _SHAPE,
        ),
    ),
    options={
        "<SRC>, <DST>": "A workload: the name or path of its namespace, its endpoint's"
        " id or the beginning of it, or what `endpoint show -o name` prints. A host,"
        " by its name. Or an address, which may be anybody's.",
        "<N>": "An ICMP type or code, 0 to 255; without any, an echo request.",
        "--sport=<PORT>": "The source port; 49152 when not given.",
        "--ipv4, --ipv6": "Only this family; by default those of which both ends have"
        " an address, and the answer is yes when all are allowed.",
        "--source=<IP>": "The source address in the packet, when it is not one of"
        " SRC's own.",
        "--mac=<MAC>": "The source MAC in the frame, when it is not SRC's own.",
        "--prove": "Also send the packet, from inside SRC, which must be on this host,"
        " and print the rules that it met in the kernel beside the explanation. Exit"
        " code 3 when they differ, and 1 when it was not seen. Nothing of it"
        " stays behind.",
        "--bundle=<FILE>": "Where to write what a report needs when they differ;"
        " calico-disagreement.json by default.",
        "--snapshot=<FILE>": "Ask a document that `datastore export` wrote, instead"
        " of the datastore.",
    },
    examples=(
        Example("explain web db tcp 5432", "may web reach that port of db, and why"),
        Example(
            "explain 198.51.100.7 web tcp 443 -o json",
            "the same for an address outside, for a program",
        ),
        Example("explain web host1 udp 53", "what a workload may ask of its host"),
    ),
    parts={},
)
