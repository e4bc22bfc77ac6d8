"""`calicoctl ipam check`."""

import time

from calico.cli import output
from calico.cli.call import Call
from calico.cli.exit_codes import DONE, FAILED
from calico.cli.output import count
from calico.codec.json_text import Json
from calico.ipam.blocks import allocated
from calico.ipam.check import Kind, check
from calico.ipam.mend import Mender, Outcome
from calico.ipam.survey import Survey, read_survey

SECOND_LOOK_AFTER_S = 60.0
"""How long an address must stay without an endpoint to be a leak."""

_NOT_ASKED = "not mended without --repair"


def check_addresses(call: Call) -> int:
    """Look for what does not fit in the allocation of addresses, and mend it."""
    store = call.existing_store
    survey = read_survey(store)
    if call.has_option("--repair"):
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        outcomes = Mender(store, call.note(), now, _wait).mend()
    else:
        outcomes = tuple(Outcome(each, _NOT_ASKED) for each in check(survey))
    is_fine = all(each.left is None for each in outcomes)
    is_repairing = call.has_option("--repair")

    def text() -> None:
        _print(survey, outcomes, is_repairing=is_repairing)

    names = [each.finding.subject for each in outcomes]
    call.show(_as_json(survey, outcomes), names, text)
    return DONE if is_fine else FAILED


def _wait(n_leaks: int) -> None:
    output.complain(
        f"{count(n_leaks, 'address', 'addresses')} without an endpoint: waiting"
        f" {SECOND_LOOK_AFTER_S:g} s to see which of them stay so."
    )
    time.sleep(SECOND_LOOK_AFTER_S)


def _print(
    survey: Survey, outcomes: tuple[Outcome, ...], *, is_repairing: bool
) -> None:
    blocks, addresses = _sizes(survey)
    endpoints = len(survey.endpoints)
    output.line(
        f"Checked {count(addresses, 'address', 'addresses')} in"
        f" {count(blocks, 'block', 'blocks')}, and"
        f" {count(endpoints, 'endpoint', 'endpoints')}."
    )
    for each in outcomes:
        finding = each.finding
        output.line(f"{finding.subject}: {finding.kind.value}: {finding.detail}")
        if is_repairing:
            output.line("  mended" if each.left is None else f"  left: {each.left}")
    if not outcomes:
        output.line("Everything fits.")
    elif is_repairing:
        n_left = sum(1 for each in outcomes if each.left is not None)
        output.line(f"Mended {len(outcomes) - n_left}, left {n_left}.")
    else:
        output.line(
            f"{count(len(outcomes), 'thing does', 'things do')} not fit;"
            " `calicoctl ipam check --repair` mends what is safe."
        )
        if any(each.finding.kind is Kind.LEAK for each in outcomes):
            output.line(
                "An address that no endpoint has may belong to a workload that is"
                " being connected just now."
            )


def _sizes(survey: Survey) -> tuple[int, int]:
    taken = (sum(1 for _ in allocated(block)) for block in survey.blocks.values())
    return len(survey.blocks) + len(survey.unreadable), sum(taken)


def _as_json(survey: Survey, outcomes: tuple[Outcome, ...]) -> Json:
    blocks, addresses = _sizes(survey)
    n_left = sum(1 for each in outcomes if each.left is not None)
    return {
        "n_blocks": blocks,
        "n_addresses": addresses,
        "n_endpoints": len(survey.endpoints),
        "findings": [
            {
                "kind": each.finding.kind.name.lower().replace("_", "-"),
                "subject": each.finding.subject,
                "detail": each.finding.detail,
                "mended": each.left is None,
                "left": each.left,
            }
            for each in outcomes
        ],
        "n_mended": len(outcomes) - n_left,
        "n_left": n_left,
    }
