"""`calicoctl lab`: hosts and workloads to try a policy on."""

from collections.abc import Sequence
from contextlib import suppress

from calico.attach.errors import NotInForce
from calico.cli import output
from calico.cli.call import Call
from calico.cli.refusal import Refused
from calico.control.client import NoAgent
from calico.lab import probe as probes
from calico.lab.lifecycle import bring_up, read_limits, take_down
from calico.lab.plan import DEFAULT_LAB, ETCD, OUTSIDE, Layout, name_option
from calico.lab.register import Lab, find_lab, list_labs
from calico.lab.session import run_program, run_shell
from calico.lab.workloads import (
    Place,
    Wanted,
    add_workload,
    list_places,
    refresh_routes,
)
from calico.model.errors import Unavailable
from calico.model.rule import Protocol
from calico.netset import Family

_NOT_IN_FORCE = 4
_MAX_PORT = 65535


def up(call: Call) -> int:
    """Start a lab."""
    text = call.option("--hosts") or "1"
    if not text.isascii() or not text.isdigit():
        raise Refused(f"--hosts={text}: expected a number of hosts")
    layout = Layout(
        int(text),
        has_etcd=call.has_option("--etcd"),
        has_vxlan=call.has_option("--vxlan"),
    )
    lab = bring_up(call.option("--name") or DEFAULT_LAB, layout)
    names = [OUTSIDE, *(host.name for host in lab.hosts)]
    if lab.has_etcd:
        names.append(ETCD)
    output.line(f"Lab {lab.name} is up: {', '.join(names)}")
    if not lab.has_bird:
        output.complain(
            "BIRD 2 is not installed (Debian: bird2), so commands of the lab set its"
            " routes."
        )
    limits = read_limits(lab)
    if limits:
        output.complain("The kernel refuses this lab what the agent works without:")
    for name, reason in limits.items():
        output.complain(f"  {name}: {reason}")
    option = name_option(lab.name)
    output.complain(
        f"Type the tutorial in `calicoctl lab shell{option}`; end the lab with"
        f" `calicoctl lab down{option}`."
    )
    return 0


def down(call: Call) -> int:
    """End a lab."""
    lab = find_lab(call.option("--name"))
    take_down(lab)
    output.line(f"Lab {lab.name} is down")
    return 0


def add(call: Call) -> int:
    """Add a workload."""
    lab = find_lab(call.option("--name"))
    wanted = Wanted(
        call.word("PLACE"),
        call.option("--host"),
        call.all_options("--profile"),
        call.optional_word("IP"),
        " ".join(["calicoctl", *call.words]),
    )
    try:
        endpoint = add_workload(lab, wanted)
    except (NotInForce, NoAgent) as error:
        raise Refused(f"calicoctl: {error}", exit_code=_NOT_IN_FORCE) from error
    addresses = ", ".join(str(each) for each in endpoint.addresses)
    output.line(f"{wanted.name} on {endpoint.key.host}: {addresses}")
    if not endpoint.profile_ids:
        output.complain(
            "It has no profile, so all its traffic is denied. Give it one:"
            f" `calicoctl container {endpoint.key.workload} profile append PROFILE`"
            " in the lab."
        )
    return 0


def probe(call: Call) -> int:
    """Ask with real packets whether one place reaches another."""
    lab = find_lab(call.option("--name"))
    protocol = next(each for each in Protocol if call.has(each.value))
    port = _port(call.optional_word("PORT"))
    source, destination = call.word("FROM"), call.word("TO")
    families = _families(call, protocol)
    if len(families) > 1:
        families = probes.shared_families(lab, (source, destination)) or families
    questions = [
        probes.Probe(source, destination, protocol, port, family) for family in families
    ]
    _await_routes(lab)
    outcomes = probes.run_probes(lab, questions)
    call.show(
        [_fields(each) for each in outcomes],
        [each.verdict.value for each in outcomes],
        lambda: _print_outcomes(outcomes),
    )
    is_allowed = all(each.verdict is probes.Verdict.ALLOWED for each in outcomes)
    return 0 if is_allowed else 1


def execute(call: Call) -> int:
    """Run a program in the network of a workload, a host or the outside."""
    lab = find_lab(call.option("--name"))
    return run_program(lab, call.word("PLACE"), call.all_words("COMMAND"))


def run(call: Call) -> int:
    """Run a program on a host, with the lab's datastore."""
    lab = find_lab(call.option("--name"))
    code = run_program(lab, _host(call, lab), call.all_words("COMMAND"))
    _await_routes(lab)
    return code


def shell(call: Call) -> int:
    """Open a shell on a host, with the lab's datastore."""
    lab = find_lab(call.option("--name"))
    return run_shell(lab, _host(call, lab))


def show(call: Call) -> int:
    """List what is in a lab."""
    lab = find_lab(call.option("--name"))
    places = list_places(lab)
    call.show(
        {"name": lab.name, "places": [_place(each) for each in places]},
        [each.name for each in places],
        lambda: _print_places(places),
    )
    others = [each.name for each in list_labs() if each.name != lab.name]
    if others and call.option("-o") is None:
        output.complain(f"Other labs: {', '.join(others)}")
    return 0


def _await_routes(lab: Lab) -> None:
    # While the datastore is away no workload comes or goes, so that there is no
    # route to wait for; and a program's exit code or a probe's answer is what
    # somebody who has cut it off wants to see.
    with suppress(Unavailable):
        refresh_routes(lab)


def _host(call: Call, lab: Lab) -> str:
    name = call.option("--host")
    return lab.hosts[0].name if name is None else lab.host(name).name


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_PORT):
        raise Refused(f"port {text}: expected a number from 1 to {_MAX_PORT}")
    return int(text)


def _families(call: Call, protocol: Protocol) -> Sequence[Family]:
    if call.has_option("--ipv4"):
        return (Family.V4,)
    if call.has_option("--ipv6"):
        return (Family.V6,)
    return probes.families_of(protocol)


def _fields(outcome: probes.Outcome) -> dict[str, str | int | None]:
    return {
        "source": outcome.probe.source,
        "destination": outcome.probe.destination,
        "protocol": outcome.probe.protocol.value,
        "port": outcome.probe.port,
        "address": str(outcome.address),
        "verdict": outcome.verdict.value,
    }


def _print_outcomes(outcomes: Sequence[probes.Outcome]) -> None:
    for each in outcomes:
        asked = each.probe
        port = "" if asked.port is None else f"/{asked.port}"
        what = f"{asked.protocol.value}{port}"
        said = each.verdict.value + (f" ({each.detail})" if each.detail else "")
        output.line(
            f"{asked.source} to {asked.destination} ({each.address}) {what}: {said}"
        )


def _place(place: Place) -> dict[str, str | list[str]]:
    return {
        "name": place.name,
        "kind": place.kind,
        "host": place.host,
        "addresses": [str(each) for each in place.addresses],
        "profiles": list(place.profiles),
    }


def _print_places(places: Sequence[Place]) -> None:
    rows = [
        (
            each.name,
            each.kind,
            each.host,
            "\n".join(str(address) for address in each.addresses),
            ",".join(each.profiles),
        )
        for each in places
    ]
    output.table(("Name", "Kind", "Host", "Addresses", "Profiles"), rows)
