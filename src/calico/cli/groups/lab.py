"""The grammar of `calicoctl lab`."""

from calico.cli.grammar import Example, Form, Group

_NAME = "[--name=<LAB>]"
_FAMILY = "[--ipv4 | --ipv6]"
_OUTCOMES = (
    'a list of {"source", "destination", "protocol", "port", "address", "verdict"}'
)

GROUP = Group(
    name="lab",
    about=(
        "A lab is hosts and workloads as network namespaces of this machine, with"
        " agents and a datastore of their own: for trying a policy on a real kernel."
        " It needs no root where the kernel allows user namespaces, changes nothing"
        " outside, and leaves nothing behind. Its namespace `outside` is the world:"
        " a router with addresses of its own that every host is linked to."
    ),
    forms=(
        Form(f"lab up [--hosts=<N>] [--etcd] [--vxlan] {_NAME}", "lab.up"),
        Form(
            f"lab add <PLACE> [--host=<HOST>] [--profile=<PROFILE>]... {_NAME} [<IP>]",
            "lab.add",
        ),
        Form(
            f"lab probe <FROM> <TO> (tcp|udp) <PORT> {_FAMILY} {_NAME}",
            "lab.probe",
            _OUTCOMES,
        ),
        Form(f"lab probe <FROM> <TO> (icmp|icmpv6) {_NAME}", "lab.probe", _OUTCOMES),
        Form(f"lab exec {_NAME} <PLACE> -- <COMMAND>...", "lab.execute"),
        Form(f"lab run [--host=<HOST>] {_NAME} -- <COMMAND>...", "lab.run"),
        Form(f"lab shell [--host=<HOST>] {_NAME}", "lab.shell"),
        Form(
            f"lab list {_NAME}",
            "lab.show",
            '{"name", "places"}, the latter a list of {"name", "kind", "host",'
            ' "addresses", "profiles"}',
        ),
        Form(f"lab down {_NAME}", "lab.down"),
    ),
    options={
        "--name=<LAB>": "Which lab; `lab` by default. Several can run at once.",
        "--hosts=<N>": "How many hosts it has: `host1`, `host2`, …; 1 by default.",
        "--etcd": "The hosts share an etcd, which runs in a namespace `etcd` beside"
        " them; by default they share a datastore in a file.",
        "--vxlan": "The network between the hosts carries only the hosts' own"
        " addresses, as many do, and VXLAN carries the lab's pools over it; `outside`"
        " cannot reach workloads then.",
        "--host=<HOST>": "On which host; `host1` by default.",
        "--profile=<PROFILE>": "A profile that applies to the workload. Given several"
        " times, they apply in order; without any, all its traffic is denied.",
        "<PLACE>, <FROM>, <TO>": "A workload, a host, or `outside`.",
        "<IP>": "An address for the workload, `ipv4`, `ipv6`, or a pool; it gets one"
        " of the other family besides, and without this one of each.",
        "--ipv4, --ipv6": "Only this family; by default those of which both places"
        " have an address, and the answer is yes when all are allowed.",
    },
    examples=(
        Example("lab up --hosts=2", "start a lab of two hosts"),
        Example("lab down", "end it and everything in it", before=("lab up",)),
        Example(
            "lab add web --profile=WEB",
            "add a workload",
            before=("lab up", "lab run -- calicoctl profile add WEB"),
        ),
        Example(
            "lab probe outside web tcp 80",
            "ask with a real packet",
            before=(
                "lab up",
                "lab run -- calicoctl profile add WEB",
                "lab run -- calicoctl profile WEB rule add inbound allow tcp",
                "lab add web --profile=WEB",
            ),
        ),
        Example(
            "lab run -- calicoctl profile show",
            "use calicoctl on a host of the lab",
            before=("lab up",),
        ),
    ),
    parts={},
)
