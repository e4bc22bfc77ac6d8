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
from dataclasses import dataclass, field

from calico.netset import Family

PING = "ping"
IPV4 = frozenset({Family.V4})
BOTH = frozenset({Family.V4, Family.V6})

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "web": ("tcp 80", "tcp 443", "tcp 81", PING),
    "app": ("tcp 7890", "tcp 7891", PING),
}
"""What is tried on each destination."""

SOURCES: Mapping[str, tuple[str, ...]] = {
    "web": ("outside", "web2", "other"),
    "app": ("web", "other"),
}
"""Who tries it."""

Reach = Mapping[str, frozenset[Family]]
"""What of a destination can be reached, in which families; else nothing."""

Promise = Mapping[str, Mapping[str, Reach]]
"""By destination, then source; a source that is not there reaches nothing."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line and what it prints.

    Attributes:
        line: As typed.
        output: Exactly what it prints, trailing blanks aside; `None` when the
            tutorial does not say.
    """

    line: str
    output: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the tutorial, or of what it takes for granted.

    Attributes:
        title: What it does.
        commands: Typed in order.
        files: Written before, by name.
        meaning: What the policy says from then on; empty when it says what it
            said before.
        promise: The same as a table, for every destination that exists.
    """

    title: str
    commands: tuple[Command, ...]
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    meaning: str = ""
    promise: Promise = field(default_factory=dict[str, Mapping[str, Reach]])


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

STEPS = (
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
"""The whole tutorial in order."""
