"""`calicoctl status`."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from calico.cli import output
from calico.cli.bgp_status import bgp_as_json, print_bgp_status, read_bgp_status
from calico.cli.call import Call
from calico.cli.exit_codes import DONE, UNAVAILABLE
from calico.cli.other_chains import Passage, iptables_legacy_tables, read_passages
from calico.cli.refusal import Refused
from calico.codec.json_text import Json
from calico.codec.keys import POLICY_PREFIX
from calico.control.client import MayNotAsk, NoAgent, ask_status
from calico.control.protocol import AgentStatus, BadMessage
from calico.model.errors import Unavailable
from calico.store.resources import count_reserved

_RUNTIMES = frozenset({None, "docker", "none"})
_BACKENDS = frozenset({None, "bird", "none"})
_N_SHOWN_CUTS = 5


def show(call: Call) -> int:
    """Show how this host's agent is."""
    status = _ask(call)
    unused = _unused_keys(call)
    warnings = () if unused is None else _warnings(call)
    # What the agent says is shown all the same, and is no success.
    code = UNAVAILABLE if unused is None else DONE
    passages = read_passages()
    bgp = read_bgp_status(call)

    def print_text() -> None:
        for text in _describe(status, unused, passages):
            output.line(text)
        print_bgp_status(bgp)
        for text in warnings:
            output.line(f"Datastore: {text}")

    shown = {
        **_as_json(status, unused, passages),
        "bgp": bgp_as_json(bgp),
        "warnings": list(warnings),
    }
    call.show(shown, [status.host], print_text)
    return code


def _ask(call: Call) -> AgentStatus:
    if call.option("--runtime") not in _RUNTIMES:
        raise Refused(f"Invalid runtime specified: '{call.option('--runtime')}'")
    if call.option("--backend") not in _BACKENDS:
        raise Refused(f"Invalid backend specified: '{call.option('--backend')}'")
    try:
        return ask_status(call.settings.run_dir)
    except MayNotAsk as error:
        raise Refused("calico-node may not be asked by this user", str(error)) from None
    except NoAgent as error:
        raise Refused("calico-node not running", str(error)) from None
    except BadMessage as error:
        raise Refused(f"calico-node is running, but: {error}") from None


def _as_json(
    status: AgentStatus,
    unused: Mapping[str, int] | None,
    passages: tuple[Passage, ...] | None,
) -> dict[str, Json]:
    shown: dict[str, Json] = {
        **asdict(status),
        "unused_keys": None if unused is None else {**unused},
        "other_chains": None
        if passages is None
        else [
            {
                "family": each.chain.family,
                "table": each.chain.table,
                "chain": each.chain.name,
                "hook": each.chain.point,
                "reasons": list(each.chain.reasons),
                "let_pass": list(each.commands),
            }
            for each in passages
        ],
    }
    return shown


def _unused_keys(call: Call) -> Mapping[str, int] | None:
    try:
        return count_reserved(call.store.list_prefix(POLICY_PREFIX).items)
    except Unavailable as error:
        output.complain(f"calicoctl: {error}")
        return None


def _warnings(call: Call) -> tuple[str, ...]:
    try:
        return call.store.warnings()
    except Unavailable as error:
        output.complain(f"calicoctl: {error}")
        return ()


def _describe(
    status: AgentStatus,
    unused: Mapping[str, int] | None,
    passages: tuple[Passage, ...] | None,
) -> Iterator[str]:
    up = f"up {_duration(status.uptime_s)}"
    yield f"calico-node is running. Process {status.pid}, {up}"
    yield _in_force(status)
    if status.degraded:
        yield f"Degraded: {status.degraded}"
    yield from _listed("Cannot be used:", status.problems)
    yield from _listed("Refused by the kernel:", status.limits)
    if status.missing_interfaces:
        yield f"Interfaces that do not exist: {' '.join(status.missing_interfaces)}"
    yield _table(status)
    yield from _cuts(status)
    for kind, number in (unused or {}).items():
        yield f"Not used: {number} x {kind}"
    yield from _others(passages)


def _in_force(status: AgentStatus) -> str:
    if status.is_enforcing:
        number = f"{status.n_endpoints} endpoint{'s' * (status.n_endpoints != 1)}"
        held = "" if status.is_ready else " Updates are held back: `Ready` is not true."
        return f"Policy revision {status.revision} is in force for {number}.{held}"
    if not status.is_ready:
        return "Policy is not in force: `Ready` is not true in the datastore."
    return "Policy is not in force yet."


def _table(status: AgentStatus) -> str:
    text = "The nftables table `inet calico` " + (
        "is owned: no other program can change it."
        if status.table_is_owned
        else "is watched: what other programs change is repaired."
    )
    if status.n_drifts:
        text += f" Repaired {status.n_drifts} times, last: {status.last_drift}."
    return text


def _cuts(status: AgentStatus) -> Iterator[str]:
    if status.n_cuts:
        yield f"Established flows cut: {status.n_cuts}"
    for cut in status.cuts[-_N_SHOWN_CUTS:]:
        yield f"  {cut.at} {cut.flow}: {cut.rule}"


def _others(passages: tuple[Passage, ...] | None) -> Iterator[str]:
    if passages is None:
        yield "Other programs' chains cannot be read without root."
    if passages:
        yield "Chains of other programs that can drop what policy allows:"
    for each in passages or ():
        chain = each.chain
        where = f"{chain.family} {chain.table} {chain.name}"
        yield f"  {where} ({chain.point}): {', '.join(chain.reasons)}"
        for command in each.commands:
            yield f"    let ours pass: {command}"
    if legacy := iptables_legacy_tables():
        yield (
            f"iptables-legacy has tables ({', '.join(legacy)}) that are not looked"
            " into: `iptables-legacy -S FORWARD` shows whether they drop."
        )


def _listed(title: str, values: Mapping[str, str]) -> Iterator[str]:
    if values:
        yield title
        for name, reason in sorted(values.items()):
            yield f"  {name}: {reason}"


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
