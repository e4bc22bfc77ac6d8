"""`calicoctl datastore roles`: what each host may do in an etcd."""

from collections.abc import Iterable, Iterator

from calico.cli import output
from calico.cli.call import Call
from calico.cli.refusal import Refused
from calico.codec.json_text import Json
from calico.model.errors import InvalidResource
from calico.model.names import parse_host_name
from calico.store.etcd_roles import Role, node_role, operator_role, role_commands
from calico.store.routing import read_routing


def show(call: Call) -> int:
    """Print the commands, or the roles as data."""
    roles = tuple(_roles(call))
    return call.show(
        [_describe(role) for role in roles],
        [role.name for role in roles],
        lambda: _print(roles),
    )


def _roles(call: Call) -> Iterator[Role]:
    given = call.option("--host")
    if given is not None:
        try:
            yield node_role(parse_host_name(given))
        except InvalidResource as error:
            raise Refused(str(error)) from None
        return
    yield operator_role()
    for host in sorted(read_routing(call.store).hosts):
        yield node_role(host)


def _describe(role: Role) -> Json:
    return {
        "name": role.name,
        "grants": [
            {"access": grant.access, "prefix": grant.prefix} for grant in role.grants
        ],
    }


def _print(roles: Iterable[Role]) -> None:
    for role in roles:
        output.line(f"# {role.name}: the common name of its client certificate")
        for command in role_commands(role):
            output.line(command)
    output.line("# etcd asks for users once root is one: `etcdctl user add root`,")
    output.line("# `etcdctl user grant-role root root`, `etcdctl auth enable`")
