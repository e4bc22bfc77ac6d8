"""Documents of policy tests, as `-f` names them."""

from dataclasses import dataclass

from calico.cli.input import list_inputs, read_input
from calico.cli.refusal import Refused
from calico.codec.json_text import parse_json
from calico.codec.policy_test import MAX_TEST_BYTES, PolicyTests, decode_policy_tests
from calico.model.errors import InvalidResource

SUFFIXES = (".yaml", ".yml", ".json")
"""How the names of the documents in a directory end."""


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A document of policy tests.

    Attributes:
        name: What to call it.
        text: What it says.
        tests: What that means.
    """

    name: str
    text: bytes
    tests: PolicyTests

    def refuse(self, error: InvalidResource | Refused, path: str) -> Refused:
        """Make the error that says where in the document something is wrong."""
        return _refusal(self.name, self.text, error, path)


def read_policy_files(name: str) -> tuple[PolicyFile, ...]:
    """Read the documents that `-f` names, in the order of their names.

    Raises:
        Refused: One of them cannot be read or used; with the line.
    """
    return tuple(_read(each) for each in list_inputs(name, SUFFIXES))


def _read(name: str) -> PolicyFile:
    shown, text = read_input(name, max_bytes=MAX_TEST_BYTES)
    try:
        if text.lstrip()[:1] == b"{":
            field = parse_json(text, max_bytes=MAX_TEST_BYTES)
        else:
            # Imported late: it takes 15 ms, and JSON does without.
            from calico.cli.yaml_text import parse_yaml  # noqa: PLC0415 -- see above

            field = parse_yaml(text, max_bytes=MAX_TEST_BYTES)
    except InvalidResource as error:
        raise Refused(f"{shown}: {error}") from None
    try:
        return PolicyFile(shown, text, decode_policy_tests(field))
    except InvalidResource as error:
        raise _refusal(shown, text, error, error.where) from None


def _refusal(
    name: str, text: bytes, error: InvalidResource | Refused, path: str
) -> Refused:
    from calico.cli.yaml_text import find_line  # noqa: PLC0415 -- see above

    line = find_line(text, path)
    where = name if line is None else f"{name}: line {line}"
    if isinstance(error, InvalidResource):
        return Refused(f"{where}: {error}")
    return Refused(f"{where}: {error.lines[0]}", *error.lines[1:])
