"""`calicoctl datastore roles`: who needs to be let do what in an etcd."""

from calico.cli import output
from calico.cli.call import Call
from calico.model.names import parse_host_name


def show(call: Call) -> int:
    """Print the etcdctl commands that let a host and operators in."""
    # Nothing is asked of etcd: whoever may run these is not who runs calicoctl.
    from calico.store.etcd_roles import (  # noqa: PLC0415 -- of this form alone
        OPERATOR,
        command_to_begin,
        commands_for_host,
        commands_for_operators,
        commands_for_root,
    )

    given = call.option("--host")
    host = call.settings.hostname if given is None else parse_host_name(given)
    for title, commands in (
        ("etcd's own administrator, once", commands_for_root()),
        (
            f"Who changes policy, with a certificate for {OPERATOR}, once",
            commands_for_operators(),
        ),
        (f"Host {host}, with a certificate for {host}", commands_for_host(host)),
        (
            "When all are in, once; etcd must run with --client-cert-auth",
            iter((command_to_begin(),)),
        ),
    ):
        output.line(f"# {title}:")
        for command in commands:
            output.line(command)
    output.line(
        "# Then `calicoctl node` once with an operator's certificate: it writes what"
        " all hosts share."
    )
    return 0
