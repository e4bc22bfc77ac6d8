"""What policy tests found, as the XML that build servers read."""

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from calico.cli.policy_cases import FAILURES, Case, Outcome, Suite
from calico.cli.policy_report import expected_words, explain_outcome, found_words

_NOT_IN_XML = re.compile(
    "[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]",
)
"""What no XML document can hold, not even escaped.

Source:
    Extensible Markup Language 1.0, section 2.2.
"""


def encode_junit(suites: Sequence[Suite]) -> Iterator[str]:
    """Write one test suite for each document, and one test case for each case."""
    root = ET.Element("testsuites", _counts(suites))
    for suite in suites:
        name = _escape(suite.file.name)
        made = ET.SubElement(root, "testsuite", {"name": name, **_counts([suite])})
        for case in suite.cases:
            attributes = {"classname": name, "name": _escape(case.name)}
            element = ET.SubElement(made, "testcase", attributes)
            _add_outcome(element, suite, case)
    ET.indent(root)
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield ET.tostring(root, encoding="unicode")


def _counts(suites: Sequence[Suite]) -> dict[str, str]:
    outcomes = [case.outcome for suite in suites for case in suite.cases]
    return {
        "tests": str(len(outcomes)),
        "failures": str(outcomes.count(Outcome.FAILED)),
        "errors": str(outcomes.count(Outcome.ERROR)),
        "skipped": str(
            outcomes.count(Outcome.UNDECIDED) + outcomes.count(Outcome.NOT_SENT)
        ),
    }


def _add_outcome(element: ET.Element, suite: Suite, case: Case) -> None:
    if case.outcome is Outcome.PASSED:
        return
    why = "" if case.live is None else case.live.why
    if case.outcome not in FAILURES:
        message = _escape(f"{case.outcome.value}: {why}")
        ET.SubElement(element, "skipped", {"message": message})
        return
    explanation = suite.explain(case)
    if explanation is None:
        tag, message = "error", " ".join(case.refusal)
    else:
        found = found_words(explanation)
        tag, message = "failure", f"expected {expected_words(case)}, found {found}"
        message += f"; sent: {why}" if why else ""
    made = ET.SubElement(element, tag, {"message": _escape(message)})
    made.text = _escape("\n".join(explain_outcome(suite, case)))


def _escape(text: str) -> str:
    return _NOT_IN_XML.sub(lambda found: ascii(found[0]).strip("'"), text)
