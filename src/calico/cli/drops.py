"""`calicoctl drops`."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

from calico.cli import output
from calico.cli.agent_answers import ask_agent
from calico.cli.call import Call
from calico.cli.endpoint_names import find_endpoints, names_of
from calico.cli.endpoints import Selector, select
from calico.cli.exit_codes import USAGE
from calico.cli.refusal import Refused
from calico.cli.usage import nearest
from calico.codec.json_text import Json
from calico.codec.keys import endpoints_prefix
from calico.control.client import ask_drops
from calico.control.drops import Drop, DropPlace, DropReason, Drops
from calico.model.names import EndpointKey
from calico.model.rule import Protocol

_WAIT_S = 30.0
_PROTOCOLS = {each.number: each.value for each in Protocol}
_INBOUND = DropPlace.INBOUND.value


def show(call: Call) -> int:
    """Show the packets that this host has dropped, or each as it is dropped."""
    keys = _keys(call)
    if call.has_option("--follow"):
        return _follow(call, keys)
    answer = _ask(call, 0, 0.0)
    if answer.silence:
        output.complain(_silence(answer))
    drops = [each for each in answer.drops if _is_wanted(each, keys)]

    def text() -> None:
        for each in drops:
            output.line(_describe(each))

    values: list[Json] = [_value(each) for each in drops]
    return call.show(values, [str(each.sequence) for each in drops], text)


def _follow(call: Call, keys: frozenset[EndpointKey] | None) -> int:
    fmt = call.option("-o")
    if fmt == "yaml":
        raise Refused("--follow prints text, json or name, not yaml", exit_code=USAGE)
    for drop in _without_end(call):
        if _is_wanted(drop, keys):
            if fmt == "json":
                output.line(json.dumps(_value(drop)))
            else:
                output.line(str(drop.sequence) if fmt == "name" else _describe(drop))
            output.flush()
    return 0


def _without_end(call: Call) -> Iterator[Drop]:
    """Give every drop, those that are kept first."""
    newest, wait_s, silence = 0, 0.0, ""
    while True:
        answer = _ask(call, newest, wait_s)
        if answer.silence != silence:
            silence = answer.silence
            output.complain(_silence(answer))
        yield from answer.drops
        newest, wait_s = answer.newest, _WAIT_S


def _ask(call: Call, since: int, wait_s: float) -> Drops:
    asking = partial(ask_drops, since=since, timeout_s=wait_s)
    return ask_agent(asking, call.settings.run_dir)


def _silence(answer: Drops) -> str:
    if answer.silence:
        return f"No more drops are logged: {answer.silence}."
    return "Drops are logged again."


def _keys(call: Call) -> frozenset[EndpointKey] | None:
    """Find the endpoints of this host that are meant; `None` for all.

    Raises:
        Refused: There is none of this name.
    """
    word = call.optional_word("ENDPOINT")
    if word is None:
        return None
    host = call.settings.hostname
    items = call.store.list_prefix(endpoints_prefix(host)).items
    keys = [key for key, _, _ in select(items, Selector(host))]
    found = find_endpoints(keys, word)
    if found:
        return frozenset(found)
    near = nearest(word, {name for key in keys for name in names_of(key)})
    hint = f" (did you mean '{near}'?)" if near else ""
    raise Refused(
        f"{host} has no endpoint or workload {word}{hint}.",
        "`calicoctl endpoint show --detailed` lists them.",
    )


def _is_wanted(drop: Drop, keys: frozenset[EndpointKey] | None) -> bool:
    return keys is None or any(
        (drop.orchestrator, drop.workload, drop.endpoint)
        == (key.orchestrator, key.workload, key.endpoint)
        for key in keys
    )


def _value(drop: Drop) -> Json:
    identity: Json = None
    if drop.endpoint:
        identity = {
            "orchestrator": drop.orchestrator,
            "workload": drop.workload,
            "endpoint": drop.endpoint,
        }
    kept: dict[str, Json] = asdict(drop)
    for name in ("orchestrator", "workload", "number", "rule"):
        del kept[name]
    return {
        **kept,
        "endpoint": identity,
        "peer": drop.source if drop.direction == _INBOUND else drop.destination,
        "protocol": None if drop.protocol is None else _protocol(drop.protocol),
        "rule": drop.number,
        "origin": drop.rule,
    }


def _describe(drop: Drop) -> str:
    """Say on one line what was dropped, where and by what."""
    whose = f"{drop.workload} {drop.endpoint}" if drop.endpoint else drop.interface
    line = f"{drop.at} {drop.direction} {whose or '?'}: {_packet(drop)}: {_why(drop)}"
    return f"{line} (and {drop.n_lost} before it, not told)" if drop.n_lost else line


def _why(drop: Drop) -> str:
    """Name the rule, or the reason where it is no rule's."""
    named = {
        DropReason.RULE.value,
        DropReason.UNUSABLE_PROFILE.value,
        DropReason.END_OF_PROFILES.value,
    }
    return drop.rule if drop.reason in named and drop.rule else drop.reason


def _packet(drop: Drop) -> str:
    parts = ["packet" if drop.protocol is None else _protocol(drop.protocol)]
    if drop.icmp_type is not None:
        parts.append(f"type {drop.icmp_type} code {drop.icmp_code}")
    source = _end(drop.source, drop.source_port)
    parts.append(f"{source} > {_end(drop.destination, drop.destination_port)}")
    return " ".join(parts)


def _protocol(number: int) -> str:
    return _PROTOCOLS.get(number, str(number))


def _end(address: str, port: int | None) -> str:
    if port is None:
        return address or "?"
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
