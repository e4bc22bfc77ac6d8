"""The grammar of `calicoctl ipam`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="ipam",
    about=(
        "Look at and mend the allocation of addresses. Addresses are taken and"
        " given back by `container`; an address that leaked is released here."
    ),
    forms=(
        Form("ipam release <IP>", "ipam.release"),
        Form(
            "ipam info <IP>",
            "ipam.info",
            '{"address", "assigned", "handle", "attributes"}, handle null when none',
        ),
    ),
    options={"<IP>": "An IPv4 or IPv6 address."},
    examples=(
        Example("ipam info 192.168.0.1", "show what is known about an address"),
        Example("ipam info 192.168.0.1 -o json", "show it for a program"),
    ),
    parts={},
)
