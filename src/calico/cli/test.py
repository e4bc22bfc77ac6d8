"""`calicoctl test`."""

from pathlib import Path

from calico.cli.call import Call
from calico.cli.cluster import read_cluster
from calico.cli.exit_codes import DONE, FAILED
from calico.cli.policy_cases import Outcome, run_suite
from calico.cli.policy_file import read_policy_files
from calico.cli.policy_report import Report, print_report, report_as_json
from calico.cli.policy_rules import find_unexercised, list_rules, try_mutations


def test(call: Call) -> int:
    """Ask the cases of policy tests, and say which find what they expect."""
    files = read_policy_files(call.option("-f") or "")
    cluster = read_cluster(call)
    here = call.settings.hostname
    suites = tuple(run_suite(cluster, file, here) for file in files)
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
    names = [
        f"{suite.file.name}: {case.name}"
        for suite in suites
        for case in suite.cases
        if case.outcome is not Outcome.PASSED
    ]
    # To explain thousands of failures takes seconds: only for who reads them.
    is_for_programs = call.option("-o") in {"json", "yaml"}
    value = report_as_json(report) if is_for_programs else None
    call.show(value, names, lambda: print_report(report))
    return FAILED if names else DONE
