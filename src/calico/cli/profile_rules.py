"""`calicoctl profile <PROFILE> rule …`."""

from calico.cli import output
from calico.cli.call import Call
from calico.cli.input import read_input
from calico.cli.profiles import (
    profile_name,
    read_profile,
    require_profile,
    rules_in,
    scope_of,
    tags_carried,
)
from calico.cli.refusal import Refused
from calico.cli.rule_words import read_rule
from calico.codec.json_text import Json, dump_json_for_people, parse_json
from calico.codec.keys import PROFILE_PREFIX
from calico.codec.rules_json import decode_rules, encode_rule, encode_rules
from calico.codec.words import show_rule
from calico.model.errors import InvalidResource
from calico.model.names import ProfileId
from calico.model.rule import MAX_RULES, Direction, ProfileRules, Rule
from calico.model.snapshot import ProfileRulesKey
from calico.store.api import Note, Transaction, View
from calico.store.resources import put_resource


def show(call: Call) -> int:
    """List a profile's rules as words, numbered from 1 in each direction."""
    profile = profile_name(call.word("PROFILE"))
    rules = rules_in(read_profile(call.store, profile), profile)

    def text() -> None:
        for direction in Direction:
            output.line(f"{direction.value.capitalize()} rules:")
            for number, rule in enumerate(rules.of(direction), 1):
                output.line(f" {number:3} {show_rule(rule)}")

    value: dict[str, Json] = {"profile": profile}
    for direction in Direction:
        value[direction.value] = [
            {"number": number, "words": show_rule(rule), "rule": encode_rule(rule)}
            for number, rule in enumerate(rules.of(direction), 1)
        ]
    names = [
        f"{direction.value}/{number}"
        for direction in Direction
        for number in range(1, len(rules.of(direction)) + 1)
    ]
    return call.show(value, names, text)


def show_json(call: Call) -> int:
    """Print a profile's rules as JSON that `rule update` reads."""
    profile = profile_name(call.word("PROFILE"))
    rules = rules_in(read_profile(call.store, profile), profile)
    value = encode_rules(rules, profile)
    return call.show(
        value, [profile], lambda: output.line(dump_json_for_people(value) + "\n")
    )


def replace(call: Call) -> int:
    """Replace both rule lists by those in a file or on standard input."""
    profile = profile_name(call.word("PROFILE"))
    # The input is not read for a profile that is not there.
    read_profile(call.store, profile)
    name, text = read_input(call.option("-f") or "-")
    try:
        rules = decode_rules(parse_json(text), profile)
    except InvalidResource as error:
        # Imported late: only an error needs it.
        from calico.codec.json_lines import line_of  # noqa: PLC0415 -- see above

        line = line_of(text, error.where)
        place = name if line is None else f"{name}, line {line}"
        raise Refused(f"{place}: {error}", "Nothing was changed.") from None
    put = put_resource(ProfileRulesKey(profile), rules)
    transaction = Transaction((), (put,), call.note())

    def decide(view: View) -> tuple[Transaction | None, None]:
        require_profile(view, profile)
        return transaction, None

    call.store.update(scope_of(profile), decide)
    output.line(f"Successfully updated rules on profile {profile}")
    return 0


def add(call: Call) -> int:
    """Add a rule, at the end or so that it has the number after `--at`."""
    profile, rule = _profile_and_rule(call)
    direction = _direction(call)
    at = _position(call)
    note = call.note()

    def decide(view: View) -> tuple[Transaction | None, bool]:
        rules = rules_in(view, profile)
        current = rules.of(direction)
        position = len(current) + 1 if at is None else at
        if not 1 <= position <= len(current) + 1:
            raise Refused(
                f"Position {position} is out-of-range.",
                f"A new {direction.value} rule of profile {profile} can be at"
                f" 1 to {len(current) + 1}; nothing was changed.",
            )
        if rule in current:
            return None, False
        if len(rules.inbound) + len(rules.outbound) >= MAX_RULES:
            raise Refused(f"Profile {profile} has {MAX_RULES} rules, the most it can.")
        changed = (*current[: position - 1], rule, *current[position - 1 :])
        return _transaction(profile, rules, direction, changed, note), True

    _, was_added = call.store.update(scope_of(profile), decide)
    if not was_added:
        output.line("Rule already present, skipping.")
    _warn_about_tags(call, rule)
    return 0


def remove_at(call: Call) -> int:
    """Remove the rule with the number after `--at`."""
    profile, direction = profile_name(call.word("PROFILE")), _direction(call)
    at = _position(call) or 0
    note = call.note()

    def decide(view: View) -> tuple[Transaction | None, None]:
        rules = rules_in(view, profile)
        current = rules.of(direction)
        if not 1 <= at <= len(current):
            raise Refused(
                "Rule position out-of-range.",
                f"Profile {profile} has {len(current)} {direction.value} rule(s);"
                " nothing was changed.",
            )
        changed = (*current[: at - 1], *current[at:])
        return _transaction(profile, rules, direction, changed, note), None

    call.store.update(scope_of(profile), decide)
    return 0


def remove_equal(call: Call) -> int:
    """Remove the first rule that equals the one given."""
    profile, rule = _profile_and_rule(call)
    direction = _direction(call)
    note = call.note()

    def decide(view: View) -> tuple[Transaction | None, None]:
        rules = rules_in(view, profile)
        current = list(rules.of(direction))
        if rule not in current:
            raise Refused("Rule not found.")
        current.remove(rule)
        return _transaction(profile, rules, direction, tuple(current), note), None

    call.store.update(scope_of(profile), decide)
    return 0


def _profile_and_rule(call: Call) -> tuple[ProfileId, Rule]:
    """Read both, so that the faults of both are named at once.

    Raises:
        Refused: One of them cannot be used, or neither.
    """
    words = call.all_words("RULE")
    try:
        profile = profile_name(call.word("PROFILE"))
    except Refused as bad_name:
        try:
            read_rule(words)
        except Refused as bad_rule:
            raise Refused(*bad_name.lines, *bad_rule.lines) from None
        raise
    return profile, read_rule(words)


def _direction(call: Call) -> Direction:
    return next(each for each in Direction if call.has(each.value))


def _position(call: Call) -> int | None:
    """Read `--at`.

    Raises:
        Refused: It is no number.
    """
    text = call.option("--at")
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise Refused(f"Position {text!r} is not a number.") from None


def _transaction(
    profile: ProfileId,
    rules: ProfileRules,
    direction: Direction,
    changed: tuple[Rule, ...],
    note: Note,
) -> Transaction:
    """Make the transaction that replaces one direction's rules."""
    if direction is Direction.INBOUND:
        made = ProfileRules(changed, rules.outbound)
    else:
        made = ProfileRules(rules.inbound, changed)
    return Transaction((), (put_resource(ProfileRulesKey(profile), made),), note)


def _warn_about_tags(call: Call, rule: Rule) -> None:
    """Warn of each tag in a rule that no profile carries: it matches nobody."""
    tags = {peer.tag for peer in (rule.source, rule.destination)} - {None}
    if tags:
        carried = tags_carried(call.store.list_prefix(PROFILE_PREFIX).items)
        for tag in sorted(str(each) for each in tags - carried):
            output.complain(
                f"Warning: no profile carries the tag {tag}, so the rule matches"
                f" nothing until `calicoctl profile <PROFILE> tag add {tag}`."
            )
