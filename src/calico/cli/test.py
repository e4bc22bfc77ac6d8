"""`calicoctl test`."""

from pathlib import Path

from calico.cli.call import Call
from calico.cli.cluster import read_cluster
from calico.cli.exit_codes import DISAGREES, DONE, FAILED, USAGE
from calico.cli.policy_cases import FAILURES, Case, Outcome, Sent, run_suite
from calico.cli.policy_file import read_policy_files
from calico.cli.policy_report import Report, print_report, report_as_json
from calico.cli.policy_rules import find_unexercised, list_rules, try_mutations
from calico.cli.refusal import Refused


def test(call: Call) -> int:
    """Ask the cases of policy tests, and say which find what they expect."""
    if call.has_option("--live") and call.has_option("--mutate"):
        raise Refused(
            "--live excludes --mutate: a changed rule is not sent.", exit_code=USAGE
        )
    files = read_policy_files(call.option("-f") or "")
    cluster = read_cluster(call)
    here = call.settings.hostname
    suites = tuple(run_suite(cluster, file, here) for file in files)
    if call.has_option("--live"):
        # Imported late: it takes 30 ms, and few ask for it.
        from calico.cli.policy_live import send_suites  # noqa: PLC0415 -- see above

        suites = send_suites(call, cluster, suites)
    rules = list_rules(suites)
    report = Report(
        suites,
        rules,
        find_unexercised(suites, rules),
        try_mutations(suites, rules) if call.has_option("--mutate") else None,
    )
    junit = call.option("--junit")
    if junit is not None:
        # Imported late: few ask for it.
        from calico.cli.junit import encode_junit  # noqa: PLC0415 -- see above
        from calico.cli.whole_file import write_whole  # noqa: PLC0415 -- see above

        write_whole(Path(junit), encode_junit(suites), mode=0o644)
    _show(call, report)
    return _exit_code(call, report)


def _show(call: Call, report: Report) -> None:
    names = [
        f"{suite.file.name}: {case.name}"
        for suite in report.suites
        for case in suite.cases
        if case.outcome in FAILURES
    ]
    # To explain thousands of failures takes seconds: only for who reads them.
    is_for_programs = call.option("-o") in {"json", "yaml"}
    value = report_as_json(report) if is_for_programs else None
    call.show(value, names, lambda: print_report(report))


def _exit_code(call: Call, report: Report) -> int:
    cases = [case for suite in report.suites for case in suite.cases]
    for case in cases:
        if case.live is not None and case.outcome is Outcome.DISAGREES:
            _report_disagreement(call, case, case.live)
            return DISAGREES
    return FAILED if any(case.outcome in FAILURES for case in cases) else DONE


def _report_disagreement(call: Call, case: Case, live: Sent) -> None:
    """Write a bundle about the first case of those that disagree."""
    # Imported late: hardly ever needed.
    from calico.cli.bundle import report_disagreement  # noqa: PLC0415 -- see above
    from calico.cli.explanation import explain_as_json  # noqa: PLC0415 -- see above
    from calico.cli.prove import proof_as_json  # noqa: PLC0415 -- see above

    explanation = live.explanation
    explained = {} if explanation is None else explain_as_json(explanation)
    proofs = [proof_as_json(each) for each in live.proofs]
    report_disagreement(call, {"case": case.name, **explained, "proofs": proofs})
