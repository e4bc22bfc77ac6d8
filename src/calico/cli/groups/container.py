"""The grammar of `calicoctl container`."""

from calico.cli.grammar import Example, Form, Group

_INTERFACE = "[--interface=<INTERFACE>]"

GROUP = Group(
    name="container",
    about=(
        "Connect workloads of this host, give them addresses and profiles. A"
        " workload is named by the path of its network namespace; any path that"
        " leads there is the same workload. These commands change the network and"
        " must be run as root."
    ),
    forms=(
        Form(f"container add <CONTAINER> <IP> {_INTERFACE}", "container.add"),
        Form("container remove <CONTAINER>", "container.remove"),
        Form(f"container <CONTAINER> ip add <IP> {_INTERFACE}", "container.add_ip"),
        Form(
            f"container <CONTAINER> ip remove <IP> {_INTERFACE}", "container.remove_ip"
        ),
        Form(
            "container <CONTAINER> endpoint show",
            "container.show",
            "as `endpoint show`, the endpoints of this workload",
        ),
        Form(
            "container <CONTAINER> profile (append|remove|set) [<PROFILES>...]",
            "container.change_profiles",
        ),
    ),
    options={
        "<CONTAINER>": "The path of a network namespace, such as /run/netns/web.",
        "<IP>": "An address; or ipv4, ipv6 or the CIDR of a pool for the next free"
        " one. `ip remove` takes an address.",
        "--interface=<INTERFACE>": "The name of the interface inside; eth1 unless"
        " given.",
        "<PROFILES>": "Names of profiles; each must exist, but one that does not can"
        " be removed. All of the change is made, or none.",
    },
    examples=(
        Example(
            "container add /run/netns/web 192.168.0.1",
            "connect a namespace under an address of its own",
        ),
        Example(
            "container /run/netns/web ip add ipv6",
            "give it the next free IPv6 address too",
        ),
        Example(
            "container /run/netns/web profile set WEB",
            "have one profile decide about its traffic",
        ),
        Example("container remove /run/netns/web", "take it off again"),
    ),
    parts={},
)
