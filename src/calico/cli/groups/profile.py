"""The grammar of `calicoctl profile`."""

from calico.cli.grammar import Example, Form, Group, Need
from calico.codec.words import RULE_PARTS

_RULE = "profile <PROFILE> rule"

GROUP = Group(
    name="profile",
    about=(
        "A profile holds tags and rules. Every address of an endpoint that lists the"
        " profile carries its tags; the rules say what may reach such an endpoint"
        " (inbound) and what it may reach (outbound). The first rule that matches"
        " decides; what no rule of any listed profile matches is denied."
    ),
    forms=(
        Form(
            "profile show [--detailed]",
            "profile.show",
            'a list of {"name"}; with --detailed each also has "endpoints", a list of'
            ' {"host", "orchestrator", "workload", "endpoint", "state"}',
        ),
        Form("profile add <PROFILE>", "profile.add"),
        Form("profile remove <PROFILE> [--no-check]", "profile.remove"),
        Form(
            "profile <PROFILE> tag show",
            "profile_tags.show",
            '{"profile", "tags"}, tags in the order they were added',
        ),
        Form("profile <PROFILE> tag (add|remove) <TAG>", "profile_tags.change"),
        Form(
            f"{_RULE} add (inbound|outbound) [--at=<POSITION>] <RULE>",
            "profile_rules.add",
        ),
        Form(
            f"{_RULE} remove (inbound|outbound) --at=<POSITION>",
            "profile_rules.remove_at",
        ),
        Form(f"{_RULE} remove (inbound|outbound) <RULE>", "profile_rules.remove_equal"),
        Form(
            f"{_RULE} show",
            "profile_rules.show",
            '{"profile", "inbound", "outbound"}, each a list of {"number", "words",'
            ' "rule"}, where rule is as in `rule json`',
        ),
        Form(
            f"{_RULE} show --counters",
            "rule_counters.show",
            '{"profile", "host", "inbound", "outbound", "default_deny", "unusable"}:'
            ' inbound and outbound are lists of {"number", "words", "packets",'
            ' "bytes"}, default_deny of {"direction", "profiles", "packets", "bytes"}'
            " for each list of profiles in use here, unusable of"
            ' {"reason", "packets", "bytes"}; packets and bytes are null where this'
            " host's kernel has no such rule",
        ),
        Form(
            f"{_RULE} json",
            "profile_rules.show_json",
            '{"id", "inbound_rules", "outbound_rules"}, as without -o',
        ),
        Form(f"{_RULE} update [-f <FILE>]", "profile_rules.replace"),
    ),
    options={
        "<PROFILE>, <TAG>": "1 to 128 letters, digits, dots, dashes and underscores.",
        "--detailed": "Also show each endpoint that lists the profile.",
        "--counters": "Show how many packets and bytes each rule has met on this host"
        " since its agent programmed it, and the deny at the end of each list of"
        " profiles; ask this host's agent.",
        "--no-check": "Remove the profile although endpoints list it; they are"
        " denied what only it allowed.",
        "--at=<POSITION>": "Where the rule is, or shall be: 1 is the first. Without"
        " it a new rule is the last.",
        "-f <FILE>": "Read the rules from a file; `-`, the default, is standard"
        " input. Of a directory, the one .json file in it is read.",
        "<PORTS>": "Ports and ranges, separated by commas: 80,443,1024:2048.",
        "<N>": "An ICMP type or code, 0 to 255.",
    },
    examples=(
        Example("profile add WEB", "make a profile whose members may reach each other"),
        Example(
            "profile WEB rule add inbound allow tcp to ports 80,443",
            "let everybody reach two ports of its members",
            before=("profile add WEB",),
        ),
        Example(
            "profile WEB rule remove inbound --at=1",
            "remove the first inbound rule",
            before=("profile add WEB",),
        ),
        Example("profile show -o name", "print the names of all profiles"),
    ),
    parts=RULE_PARTS,
    notes=(
        "<RULE> is (allow|deny) [<MATCH>], and <MATCH> one of",
        "  (tcp|udp) [from [ports <PORTS>] [tag <TAG>] [cidr <CIDR>]]",
        "            [to [ports <PORTS>] [tag <TAG>] [cidr <CIDR>]]",
        "  (icmp|icmpv6) [type <N> [code <N>]]",
        "            [from [tag <TAG>] [cidr <CIDR>]] [to [tag <TAG>] [cidr <CIDR>]]",
        "  [from [tag <TAG>] [cidr <CIDR>]] [to [tag <TAG>] [cidr <CIDR>]]",
    ),
    needs=(
        Need("ports", beside="tag", one_of=("tcp", "udp")),
        Need("type", beside="from", one_of=("icmp", "icmpv6")),
    ),
)
