"""The grammar of `calicoctl bgp`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="bgp",
    about=(
        "Whom the hosts exchange routes with: each other, as long as the node-to-node"
        " mesh is on, and the global peers, which every host has. `calicoctl node bgp`"
        " names peers of one host, and `calicoctl status` shows how the sessions are."
    ),
    forms=(
        Form("bgp peer add <PEER_IP> as <AS_NUM>", "bgp.add_peer"),
        Form("bgp peer remove <PEER_IP>", "bgp.remove_peer"),
        Form(
            "bgp peer show [--ipv4 | --ipv6]",
            "bgp.show_peers",
            'a list of {"ip", "as_num"}; as_num is "?" where it cannot be read',
        ),
        Form("bgp node-mesh", "bgp.show_mesh", '{"node_mesh"}, which is on or off'),
        Form("bgp node-mesh (on | off)", "bgp.put_mesh"),
        Form("bgp default-node-as", "bgp.show_as_number", '{"as_num"}'),
        Form("bgp default-node-as <AS_NUM>", "bgp.put_as_number"),
    ),
    options={
        "<PEER_IP>": "The address of the peer; its family is that of the routes. A"
        " peer that is named again gets the AS number that is given.",
        "<AS_NUM>": "An AS number, 0 to 4294967295 or two halves with a dot between"
        " them.",
        "--ipv4": "Only IPv4 peers.",
        "--ipv6": "Only IPv6 peers.",
    },
    examples=(
        Example(
            "bgp peer add 192.0.2.250 as 64511", "let every host peer with a router"
        ),
        Example("bgp node-mesh off", "let hosts peer with the peers that are named"),
        Example("bgp default-node-as", "show the AS number that hosts share"),
    ),
    parts={},
)
