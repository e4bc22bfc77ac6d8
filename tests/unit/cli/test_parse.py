"""Command lines: options lifted out, forms told apart, errors that point."""

import random

import pytest

from calico.cli.grammar import Form, Group, Option, split_form
from calico.cli.groups import SUMMARIES, load_group
from calico.cli.parse import Command, parse_command
from calico.cli.usage import UsageError

GROUP = Group(
    name="g",
    about="",
    forms=(
        Form("g show [--all] [--v4 | --v6]", "a.show", "a list"),
        Form("g add <NAME> [--at=<N>] [--tag=<TAG>]... [-f <FILE>]", "a.add"),
        Form("g cut (in|out) --at=<N>", "a.cut_at"),
        Form("g cut (in|out) <WHAT>...", "a.cut"),
        Form("g run [--at=<N>] -- <COMMAND>...", "a.run"),
    ),
    options={},
    examples=(),
    parts={},
)


def parsed(line: str) -> Command:
    command = parse_command(GROUP, line.split())
    assert command is not None
    return command


@pytest.mark.parametrize(
    ("line", "run", "options"),
    [
        ("g show", "a.show", {}),
        ("g --all show", "a.show", {"--all": ("",)}),
        ("g show --al", "a.show", {"--all": ("",)}),
        ("g show --v6 -o json", "a.show", {"--v6": ("",), "-o": ("json",)}),
        ("g show -ojson", "a.show", {"-o": ("json",)}),
        ("g show -o=yaml", "a.show", {"-o": ("yaml",)}),
        ("g add x --at=1", "a.add", {"--at": ("1",)}),
        ("g add --at 1 x", "a.add", {"--at": ("1",)}),
        ("g add --at -1 x", "a.add", {"--at": ("-1",)}),
        ("g add x --at=", "a.add", {"--at": ("",)}),
        ("g add x --at=a=b", "a.add", {"--at": ("a=b",)}),
        ("g add x --tag a --tag=b", "a.add", {"--tag": ("a", "b")}),
        ("g add - -f -", "a.add", {"-f": ("-",)}),
        ("g add x --debug", "a.add", {"--debug": ("",)}),
        ("g cut in --at=1", "a.cut_at", {"--at": ("1",)}),
        ("g cut in x y", "a.cut", {}),
        ("g run --at=2 -- ls --all -- -x", "a.run", {"--at": ("2",)}),
    ],
)
def test_line_is_understood(
    line: str, run: str, options: dict[str, tuple[str, ...]]
) -> None:
    command = parsed(line)
    assert command.form.run == run
    assert command.options == options


def test_words_are_found_by_name() -> None:
    match = parsed("g cut out x y").match
    assert match.values == {"WHAT": ("x", "y")}
    assert match.keywords == {"g", "cut", "out"}
    assert parsed("g run -- ls --all").match.values["COMMAND"] == ("ls", "--all")


@pytest.mark.parametrize("line", ["g -h", "g add --help", "g nonsense -h", "g -h --al"])
def test_help_is_asked_for_anywhere(line: str) -> None:
    assert parse_command(GROUP, line.split()) is None


def test_help_after_the_end_of_options_is_a_word() -> None:
    assert parsed("g run -- ls --help").match.values["COMMAND"] == ("ls", "--help")


@pytest.mark.parametrize(
    ("line", "index", "complaint"),
    [
        ("g", 1, "expected 'show', 'add', 'cut' or 'run'"),
        ("g shwo", 1, "(did you mean 'show'?)"),
        ("g --all shwo", 2, "(did you mean 'show'?)"),
        ("g add", 2, "expected <NAME>"),
        ("g add x y", 3, "expected end of command"),
        ("g cut", 2, "expected 'in' or 'out'"),
        ("g cut in", 3, "expected '--at' or <WHAT>"),
        ("g cut in --at=1 x", 3, "--at is no option here"),
        ("g show --at=1", 2, "--at is no option here"),
        ("g show --all --all", 3, "--all is given twice"),
        ("g show --v4 --v6", 3, "--v6 excludes --v4"),
        ("g show --v", 2, "could be --v4 or --v6"),
        ("g show --al=1", 2, "--all takes no value"),
        ("g show --colour", 2, "unknown option; there are --all, --at"),
        ("g add x --att=1", 3, "unknown option (did you mean '--at'?)"),
        ("g add x -q", 3, "unknown option"),
        ("g add x --at", 4, "expected <N> after --at"),
        ("g show -o xml", 3, "'xml' is no format; there are json, yaml, name"),
        ("g show -oxml", 2, "'xml' is no format"),
        ("g add x -o json", 3, "-o is no option here"),
        ("g add --", 2, "expected <NAME>"),
        ("g run --at=1", 3, "expected '--'"),
    ],
)
def test_first_word_that_does_not_fit_is_pointed_at(
    line: str, index: int, complaint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(line)
    assert caught.value.index == index
    assert complaint in caught.value.complaint


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("allow to ports 80", "'ports' needs 'tcp' or 'udp' before"),
        ("allow icmp to ports 80", "'ports' needs 'tcp' or 'udp' before"),
        ("allow from ports 80 to cidr 10.0.0.0/8", "'ports' needs 'tcp' or 'udp'"),
        ("allow type 8", "'type' needs 'icmp' or 'icmpv6' before"),
        ("deny udp type 8", "'type' needs 'icmp' or 'icmpv6' before"),
        ("allow tcp to ports 80 ports 90", ""),
        ("allow icmp type 8 type 9", ""),
        ("allow ports 80", ""),
    ],
)
def test_protocol_that_a_word_needs_is_named(rule: str, said: str) -> None:
    words = f"profile P rule add inbound {rule}".split()
    with pytest.raises(UsageError) as caught:
        parse_command(load_group("profile"), words)
    complaint = caught.value.complaint
    assert said in complaint
    assert (" needs " in complaint) == bool(said)


def test_usage_of_an_option_without_value_is_that_of_its_forms() -> None:
    forms = (Form("g show [--all-of-it]", "", "a list"), Form("g add [--no-o]", ""))
    with pytest.raises(UsageError) as caught:
        parse_command(Group("g", "", forms, {}, (), {}), ["g", "show", "-o"])
    assert caught.value.usage == ("g show [--all-of-it]",)


def test_keyword_that_passed_for_a_name_is_suspected() -> None:
    group = Group("g", "", (Form("g show", ""), Form("g <X> tag", "")), {}, (), {})
    with pytest.raises(UsageError, match="is 'shwo' meant to be 'show'"):
        parse_command(group, ["g", "shwo"])


@pytest.mark.parametrize(
    ("words", "index", "text"),
    [
        (["g", "x y"], 1, "calicoctl g 'x y'\n            ^^^^^ no"),
        (["g"], 1, "calicoctl g\n            ^ no"),
        (["g", "a'b"], 1, "calicoctl g 'a'\"'\"'b'\n            ^^^^^^^^^ no"),
        (["g", "a\nb"], 1, "calicoctl g $'a\\nb'\n            ^^^^^^^ no"),
        (["g", ""], 1, "calicoctl g ''\n            ^^ no"),
        (["g", "x" * 200], 1, "calicoctl: at " + "x" * 160 + ": no"),
        (["x" * 200], 1, "calicoctl: at the end: no"),
    ],
)
def test_error_shows_the_line_and_the_place(
    words: list[str], index: int, text: str
) -> None:
    assert str(UsageError(words, index, "no")) == text


def test_error_shows_the_usage_that_comes_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        parsed("g cut up")
    assert str(caught.value).endswith(
        "Usage:\n  calicoctl g cut (in|out) --at=<N>\n"
        "  calicoctl g cut (in|out) <WHAT>..."
    )


def test_form_is_split_into_words_and_options() -> None:
    form = Form("g [--a | --b=<B>] <X> [-f <F>]... --at=<N> [y]", "", "")
    words, options = split_form(form)
    assert words == "g <X> [y]"
    assert options[:4] == (
        Option("--a", excludes=frozenset({"--b"})),
        Option("--b", "B", excludes=frozenset({"--a"})),
        Option("-f", "F", may_repeat=True),
        Option("--at", "N", is_required=True),
    )


N_MUTATED = 10_000
WORDS = [
    *("profile", "endpoint", "pool", "config", "show", "add", "remove", "tag", "rule"),
    *("inbound", "outbound", "allow", "deny", "tcp", "icmp", "from", "to", "ports"),
    *("cidr", "type", "json", "update", "append", "set", "range", "felix", "bgp"),
    *("node", "--at=1", "--at", "--detailed", "--det", "-o", "json", "-f", "-", "--"),
    *("--host=x", "--ipv4", "--ipv6", "--force", "--remove", "-x", "--debug", "WEB"),
]


def test_mutated_lines_are_understood_or_usage_errors() -> None:
    """No line at all leads anywhere else; the seed is fixed, the lines are many."""
    draw = random.Random(20161104)
    groups = {name: load_group(name) for name in SUMMARIES}
    sentences = [form.text.split() for g in groups.values() for form in g.forms]
    for _ in range(N_MUTATED):
        words = list(draw.choice(sentences))
        for _ in range(draw.randint(0, 4)):
            at = draw.randrange(len(words) + 1)
            match draw.randrange(4):
                case 0:
                    words.insert(at, draw.choice(WORDS))
                case 1:
                    words[at : at + 1] = []
                case 2:
                    words[at : at + 1] = [draw.choice(WORDS)]
                case _:
                    words[at : at + 1] = ["".join(draw.choices("a-=<>[|'\n\0é", k=3))]
        name = words[0] if words and words[0] in groups else draw.choice(list(groups))
        try:
            parse_command(groups[name], words)
        except UsageError as error:
            assert str(error)  # noqa: PT017 -- most lines raise, and each is read
            assert 0 <= error.index <= len(words)  # noqa: PT017 -- as above
