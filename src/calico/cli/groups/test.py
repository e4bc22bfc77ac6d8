"""The grammar of `calicoctl test`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="test",
    about=(
        "Asks the policy of the datastore what policy tests expect of it, offline:"
        " no packet is sent but with --live. A document of tests says from where, to"
        " where, on which protocol and port, and whether that is allowed or denied; its"
        " endpoints may be hypothetical. Reported are the tests that fail, each with"
        " the explanation, and the rules that no test exercises. The exit code is 0"
        " when no test fails, and 1 otherwise; with --live, 3 when the kernel and the"
        " explainer disagree."
    ),
    forms=(
        Form(
            "test -f <FILE> [--snapshot=<FILE> | --live] [--junit=<FILE>] [--mutate]"
            " [--bundle=<FILE>]",
            "test.test",
            '{"revision", "passed", "failed", "errors", "disagreements", "undecided",'
            ' "not_sent", "files", "unexercised", "mutations"}: files a list of'
            ' {"file", "cases"}, cases one for each port of each test, {"name", "test",'
            ' "from", "to", "protocol", "port", "expect", "rule", "outcome", "found",'
            ' "reason", "explanation", "live"}, outcome passed, failed or error, and'
            " with --live"
            " also disagrees, undecided or not sent, found allowed, denied, both or"
            " null, reason why it could not be asked, explanation of a failed one as of"
            ' `explain -o json`, live null without --live, else {"outcome", "why",'
            ' "proofs"}, proofs as of `explain --prove -o json`; unexercised a list of'
            ' {"profile", "direction", "number", "words"}; mutations null without'
            ' --mutate, else {"unnoticed", "undecided"}, lists of the same with'
            ' "change", removed or flipped. `-o name` prints the cases that fail',
        ),
    ),
    options={
        "-f <FILE>": "A document of policy tests in YAML or JSON; a directory, of"
        " which each .yaml, .yml and .json file is one, in the order of their names;"
        " or `-`, standard input. docs/reference/policy-tests.md has the format.",
        "--snapshot=<FILE>": "Ask a document that `datastore export` wrote, instead"
        " of the datastore.",
        "--junit=<FILE>": "Also write the outcome as JUnit XML, for a build server.",
        "--mutate": "Also remove and flip one rule after the other, and report the"
        " changes that no test notices.",
        "--live": "Also send each test that begins on this host as real packets, one"
        " after the other, once this host enforces the policy: the kernel must do what"
        " is expected, and the same as the explanation. What cannot be sent from here"
        " is named and counts as not passed. Not with --mutate.",
        "--bundle=<FILE>": "Where to write what a report needs when the kernel and the"
        " explainer disagree; calico-disagreement.json by default.",
    },
    examples=(
        Example("test -f policy-tests", "run the tests of a directory"),
        Example(
            "test -f policy-tests/web.yaml --mutate", "which rules do they not guard"
        ),
        Example(
            "test -f policy-tests --snapshot=backup.json --junit=report.xml",
            "on a build server, without the datastore",
        ),
    ),
    parts={},
)
