"""The grammar of `calicoctl node`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="node",
    about=(
        "Make this machine a Calico host: write what other hosts need to know of it,"
        " and start the agent that enforces policy on its workloads. The agent is"
        " supervised: it is started again whenever it ends. Must be run as root."
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
        "--ip6=<IP6>": "This host's IPv6 address.",
        "--as=<AS_NUM>": "This host's AS number, 0 to 4294967295 or two halves with"
        " a dot between them. Without it, that of all hosts.",
        "--log-dir=<LOG_DIR>": "Where logs are written, made if missing. Without it"
        " $CALICO_LOG_DIR, or /var/log/calico.",
        "--detach=<DETACH>": "true, the default: return when policy is in force."
        " false: stay; Ctrl-C stops the agent.",
        "--backend=<BACKEND>": "none: policy only. There is no other yet.",
        "--force": "Stop although workloads are connected. Policy as it is stays in"
        " the kernel, unless --remove-rules is given.",
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
    ),
    parts={},
)
