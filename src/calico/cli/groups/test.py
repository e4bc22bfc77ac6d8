"""The grammar of `calicoctl test`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="test",
    about=(
        "Asks the policy of the datastore what policy tests expect of it, offline:"
        " no packet is sent. A document of tests says from where, to where, on which"
        " protocol and port, and whether that is allowed or denied; its endpoints may"
        " be hypothetical. Reported are the tests that fail, each with the"
        " explanation, and the rules that no test exercises. The exit code is 0 when"
        " all tests pass, and 1 otherwise."
    ),
    forms=(
        Form(
            "test -f <FILE> [--snapshot=<FILE>] [--junit=<FILE>] [--mutate]",
            "test.test",
            '{"revision", "passed", "failed", "errors", "files", "unexercised",'
            ' "mutations"}: files a list of {"file", "cases"}, cases one for each port'
            ' of each test, {"name", "test", "from", "to", "protocol", "port",'
            ' "expect", "rule", "outcome", "found", "reason", "explanation"}, outcome'
            " passed, failed or error, found allowed, denied, both or null, reason why"
            " it could not be asked, explanation of a failed one as of `explain -o"
            ' json`; unexercised a list of {"profile", "direction", "number",'
            ' "words"}; mutations null without --mutate, else {"unnoticed",'
            ' "undecided"}, lists of the same with "change", removed or flipped.'
            " `-o name` prints the cases that did not pass",
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
