"""The grammar of `calicoctl pool`."""

from calico.cli.grammar import Example, Form, Group

_FLAGS = "[--ipip | --vxlan] [--nat-outgoing]"

GROUP = Group(
    name="pool",
    about=(
        "A pool is a network that the addresses of workloads come from. Pools do not"
        " overlap."
    ),
    forms=(
        Form(f"pool add <CIDRS>... {_FLAGS}", "pool.add"),
        Form(f"pool range add <START_IP> <END_IP> {_FLAGS}", "pool.add_range"),
        Form("pool remove <CIDRS>...", "pool.remove"),
        Form(
            "pool show [--ipv4 | --ipv6]",
            "pool.show",
            'a list of {"cidr", "family", "ipip", "vxlan", "nat_outgoing", "ipam",'
            ' "disabled"}; of one that cannot be read "cidr", "family" and "problem"',
        ),
    ),
    options={
        "<CIDRS>": "Networks: IPv4 of /26 or larger, IPv6 of /122 or larger. All of"
        " them are added, or none. One that is there already gets the options given.",
        "<START_IP>, <END_IP>": "The first and the last address; the fewest networks"
        " that hold exactly these become pools.",
        "--ipip": "Carry the pool's traffic between hosts by IP in IP; IPv4 only, and"
        " only where the kernel has it.",
        "--vxlan": "Carry the pool's traffic between hosts by VXLAN, over their IPv4"
        " network: for networks that do not carry the addresses of workloads.",
        "--nat-outgoing": "Traffic from the pool to outside every pool leaves with"
        " the host's address; IPv4 only.",
        "--ipv4": "Only IPv4 pools.",
        "--ipv6": "Only IPv6 pools.",
    },
    examples=(
        Example("pool add 192.168.0.0/16 --nat-outgoing", "add a pool with masquerade"),
        Example(
            "pool range add 10.0.0.0 10.0.2.255", "add a /23 and a /24 as two pools"
        ),
        Example("pool add 10.1.0.0/16 --vxlan", "add a pool that VXLAN carries"),
        Example("pool show --ipv4", "show the IPv4 pools"),
    ),
    parts={},
)
