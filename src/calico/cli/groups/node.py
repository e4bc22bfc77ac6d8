"""The grammar of `calicoctl node`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="node",
    about=(
        "Make this machine a Calico host: write what other hosts need to know of it,"
        " and start the agent, which enforces policy on its workloads, and BIRD, which"
        " exchanges routes with other hosts. Both are supervised: each is started again"
        " whenever it ends. Must be run as root, but for `node show` and `node bgp`."
    ),
    forms=(
        Form(
            "node [--ip=<IP>] [--ip6=<IP6>] [--as=<AS_NUM>] [--log-dir=<LOG_DIR>]"
            " [--detach=<DETACH>] [--backend=<BACKEND>] [--libnetwork]"
            " [--node-image=<IMAGE>] [--runtime=<RUNTIME>] [--no-pull]"
            " [--libnetwork-image=<IMAGE>]",
            "node.start",
        ),
        Form("node stop [--force] [--remove-rules]", "node_stop.stop"),
        Form(
            "node remove [--hostname=<HOSTNAME>] [--remove-endpoints]",
            "node_stop.remove",
        ),
        Form(
            "node show",
            "node_show.show",
            'a list of {"hostname", "bird_ipv4", "bird_ipv6", "as_num", "as_inherited",'
            ' "peers_v4", "peers_v6"}; peers are lists of {"ip", "as_num"}',
        ),
        Form("node bgp peer add <PEER_IP> as <AS_NUM>", "bgp.add_peer"),
        Form("node bgp peer remove <PEER_IP>", "bgp.remove_peer"),
        Form(
            "node bgp peer show [--ipv4 | --ipv6]",
            "bgp.show_peers",
            'a list of {"ip", "as_num"}; as_num is "?" where it cannot be read',
        ),
    ),
    options={
        "--ip=<IP>": "This host's IPv4 address. Without it, the last one that belongs"
        " to no bridge or tunnel of containers.",
        "--ip6=<IP6>": "This host's IPv6 address; without it, no IPv6 routes are"
        " exchanged.",
        "--as=<AS_NUM>, <AS_NUM>": "An AS number, this host's or a peer's: 0 to"
        " 4294967295 or two halves with a dot between them. Without --as, the host has"
        " that of all hosts.",
        "--log-dir=<LOG_DIR>": "Where logs are written, made if missing. Without it"
        " $CALICO_LOG_DIR, or /var/log/calico.",
        "--detach=<DETACH>": "true, the default: return when policy is in force."
        " false: stay; Ctrl-C stops the agent.",
        "--backend=<BACKEND>": "bird, the default: BIRD carries routes between hosts."
        " none: policy only, and routes are somebody else's.",
        "<PEER_IP>": "The address of a BGP peer of this host; its family is that of the"
        " routes.",
        "--ipv4": "Only IPv4 peers.",
        "--ipv6": "Only IPv6 peers.",
        "--force": "Stop although workloads are connected. Policy and routes as they"
        " are stay in the kernel, unless --remove-rules is given.",
        "--remove-rules": "Also take out of the kernel what the agent put there, and"
        " the interfaces of the workloads, which would be open without it.",
        "--hostname=<HOSTNAME>": "The host to remove; without it, this one.",
        "--remove-endpoints": "Also remove the host's endpoints.",
        "--libnetwork, --node-image=<IMAGE>, --runtime=<RUNTIME>, --no-pull,"
        " --libnetwork-image=<IMAGE>": "Refused, with the reason; --runtime=none is"
        " accepted.",
    },
    examples=(
        Example("node --ip=10.0.0.5", "enforce policy on this host from now on"),
        Example("node stop", "stop the agent; policy stays in the kernel"),
        Example("node show", "list the hosts with their addresses"),
        Example("node bgp peer add 192.0.2.250 as 64520", "let this host peer with it"),
    ),
    parts={},
)
