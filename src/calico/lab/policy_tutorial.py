"""The tutorial "Advanced Network Policy" as data: steps, commands, promises.

Each step has the commands as the tutorial prints them, the output that it
prints, and, where policy has changed, who reaches what from then on. Those
promises are written down here from what the words of the rules mean; nothing
of the product works them out.

The tutorial starts from endpoints that exist and never says which. Here they
are `web` and `web2` with profile WEB, `app` with profile APP, and `other` with
a profile OTHER as `profile add` makes it, which allows it to send anything.
`outside` is a machine that Calico does not know.
"""

from collections.abc import Mapping

from calico.lab.plan import Layout
from calico.lab.tutorial import BOTH, IPV4, PING, Command, Reach, Step, Tutorial

APP_RULES = """\
{
  "id": "APP",
  "inbound_rules": [
    {
      "action": "allow",
      "protocol": "tcp",
      "dst_ports": [7890],
      "src_tag": "APP_7890"
    },
    {
      "action": "allow",
      "protocol": "icmp",
      "icmp_type": 8
    }
  ],
  "outbound_rules": [
    {
      "action": "allow"
    }
  ]
}
"""

_EVERYTHING: Reach = {
    "tcp 80": BOTH,
    "tcp 443": BOTH,
    "tcp 81": BOTH,
    PING: BOTH,
}
_PORTS: Reach = {"tcp 80": BOTH, "tcp 443": BOTH}
_PORTS_AND_PING: Reach = {**_PORTS, PING: IPV4}

_PUBLIC: Mapping[str, Reach] = {
    "outside": _PORTS_AND_PING,
    "web2": _PORTS_AND_PING,
    "other": _PORTS_AND_PING,
}

_STEPS = (
    Step(
        "Before the tutorial: a workload of another profile",
        (
            Command("./calicoctl profile add OTHER"),
            Command("./calicoctl lab add other --profile=OTHER"),
        ),
    ),
    Step(
        "Create a new profile and look at the default rules",
        (
            Command("./calicoctl profile add WEB"),
            Command(
                "./calicoctl profile WEB rule show",
                "Inbound rules:\n   1 allow from tag WEB\n"
                "Outbound rules:\n   1 allow\n",
            ),
        ),
    ),
    Step(
        "Not in the tutorial: two workloads with this profile",
        (
            Command("./calicoctl lab add web --profile=WEB"),
            Command("./calicoctl lab add web2 --profile=WEB"),
        ),
        meaning="Members of WEB reach each other; nobody else reaches them.",
        promise={"web": {"web2": _EVERYTHING}},
    ),
    Step(
        "Remove the default rule that allows traffic within the profile",
        (Command("./calicoctl profile WEB rule remove inbound --at=1", ""),),
        meaning="Nobody reaches web: what no rule allows is denied.",
        promise={"web": {}},
    ),
    Step(
        "Allow TCP traffic on ports 80 and 443",
        (
            Command(
                "./calicoctl profile WEB rule add inbound allow tcp to ports 80,443",
                "",
            ),
        ),
        meaning="Everybody reaches ports 80 and 443, over IPv4 and IPv6.",
        promise={"web": {"outside": _PORTS, "web2": _PORTS, "other": _PORTS}},
    ),
    Step(
        "Allow ICMP ping traffic",
        (Command("./calicoctl profile WEB rule add inbound allow icmp type 8", ""),),
        meaning="Everybody may ping, too, over IPv4: `icmp` is IPv4's, `icmpv6` is not"
        " allowed.",
        promise={"web": _PUBLIC},
    ),
    Step(
        "List the rules again and see the changes",
        (
            Command(
                "./calicoctl profile WEB rule show",
                "Inbound rules:\n   1 allow tcp to ports 80,443\n"
                "   2 allow icmp type 8\nOutbound rules:\n   1 allow\n",
            ),
        ),
    ),
    Step(
        "Create a profile for the backend services",
        (Command("./calicoctl profile add APP"),),
    ),
    Step(
        "Not in the tutorial: a workload with this profile",
        (Command("./calicoctl lab add app --profile=APP"),),
        meaning="Only members of APP reach app, and there is no other one.",
        promise={"web": _PUBLIC, "app": {}},
    ),
    Step(
        "Update the rules of APP from a file",
        (Command("./calicoctl profile APP rule update < APP-rules.json"),),
        files={"APP-rules.json": APP_RULES},
        meaning="Everybody may ping app over IPv4; port 7890 is for the tag APP_7890,"
        " which nobody carries.",
        promise={"web": _PUBLIC, "app": {"web": {PING: IPV4}, "other": {PING: IPV4}}},
    ),
    Step(
        "Tag the WEB containers, to give them access",
        (Command("./calicoctl profile WEB tag add APP_7890"),),
        meaning="Members of WEB reach port 7890 of app.",
        promise={
            "web": _PUBLIC,
            "app": {"web": {"tcp 7890": BOTH, PING: IPV4}, "other": {PING: IPV4}},
        },
    ),
    Step(
        "Verify that the tag was accepted",
        (Command("./calicoctl profile WEB tag show", "WEB\nAPP_7890\n"),),
    ),
)

POLICY = Tutorial(
    title="Advanced network policy",
    setting="one host, an outside, nothing else of this machine",
    layout=Layout(1),
    columns={
        "web": ("tcp 80", "tcp 443", "tcp 81", PING),
        "app": ("tcp 7890", "tcp 7891", PING),
    },
    sources={"web": ("outside", "web2", "other"), "app": ("web", "other")},
    homes={},
    steps=_STEPS,
)
"""The whole tutorial in order."""
