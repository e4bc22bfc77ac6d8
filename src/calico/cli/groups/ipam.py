"""The grammar of `calicoctl ipam`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="ipam",
    about=(
        "Look at and mend the allocation of addresses. Addresses are taken and"
        " given back by `container`; what a kill or a dead host left behind is found"
        " and mended here."
    ),
    forms=(
        Form(
            "ipam show [--ip=<IP> | --blocks]",
            "ipam_show.show",
            'a list of {"cidr", "size", "used", "free", "blocks", "disabled"}, one for'
            ' each pool; with --blocks of {"cidr", "pool", "host", "strict", "used",'
            ' "free", "borrowed"}, host null when it is nobody\'s; with --ip'
            ' {"address", "allocated", "handle", "attributes", "block", "host",'
            ' "pool", "endpoints"}',
        ),
        Form(
            "ipam check [--repair]",
            "ipam_check.check_addresses",
            '{"n_blocks", "n_addresses", "n_endpoints", "findings", "n_mended",'
            ' "n_left"}; findings is a list of {"kind", "subject", "detail", "mended",'
            ' "left"}, left null or the reason',
        ),
        Form("ipam release <IP>", "ipam.release"),
        Form(
            "ipam info <IP>",
            "ipam.info",
            '{"address", "assigned", "handle", "attributes"}, handle null when none',
        ),
    ),
    options={
        "<IP>": "An IPv4 or IPv6 address.",
        "--ip=<IP>": "Show who has this address, and where it comes from.",
        "--blocks": "Show the blocks of 64 that hosts take their addresses from.",
        "--repair": "Mend what is safe to mend, and say what is left and why. Where"
        " addresses seem to have leaked it waits a minute and looks again: an address"
        " is taken before its endpoint is written, and only what stays without an"
        " endpoint is given back.",
    },
    examples=(
        Example("ipam show", "show how full the pools are"),
        Example("ipam show --ip=192.168.0.1", "show who has an address"),
        Example("ipam check", "look for leaks and for addresses that are used twice"),
        Example("ipam info 192.168.0.1 -o json", "show it for a program"),
    ),
    parts={},
)
