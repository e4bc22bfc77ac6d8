"""The grammar of `calicoctl diags`."""

from calico.cli.grammar import Example, Form, Group

GROUP = Group(
    name="diags",
    about=(
        "One archive with everything that a maintainer needs to find out what is wrong"
        " on this host: the kernel's network state, the agent's and BIRD's, the logs,"
        " and the datastore. Keys and passwords are taken out. Only root can read it."
    ),
    forms=(Form("diags [--log-dir=<LOG_DIR>]", "diags.collect"),),
    options={
        "--log-dir=<LOG_DIR>": "The directory of the logs; without it,"
        " CALICO_LOG_DIR or /var/log/calico."
    },
    examples=(
        Example("diags", "collect everything and say where the archive is"),
        Example("diags --log-dir=/tmp/logs", "take the logs from elsewhere"),
    ),
    parts={},
)
