"""`calicoctl explain`."""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from calico.cli import output
from calico.cli.call import Call
from calico.cli.cluster import read_cluster
from calico.cli.exit_codes import DISAGREES, DONE, FAILED, USAGE
from calico.cli.explanation import Explanation, describe, explain_as_json
from calico.cli.places import locate
from calico.cli.question import (
    ECHO_REQUEST,
    FIRST_DYNAMIC_PORT,
    Headers,
    Question,
    answer,
)
from calico.cli.refusal import Refused
from calico.codec.keys import POLICY_PREFIXES
from calico.codec.rule_parts import LAST_PORT, parse_address
from calico.codec.words import parse_icmp
from calico.model.errors import InvalidResource
from calico.model.rule import Protocol
from calico.netset import Address, Family

_N_TRIES = 10
_MAC = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\Z")


def explain(call: Call) -> int:
    """Say what policy does with the first packet of a flow, and why."""
    question = _Asked(
        _headers(call), _families(call), _source_address(call), _source_mac(call)
    )
    if call.has_option("--prove"):
        return _prove(call, question)
    if call.has_option("--bundle"):
        raise Refused("--bundle goes with --prove.", exit_code=USAGE)
    found = _explain(call, question)
    shown, lines = explain_as_json(found), describe(found)
    call.show(shown, [found.verdict], lambda: _print(lines))
    return _exit_code(found)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the words say, before its ends are looked up."""

    headers: Headers
    families: tuple[Family, ...]
    source_address: Address | None
    source_mac: bytes | None


def _explain(call: Call, asked: _Asked) -> Explanation:
    cluster = read_cluster(call)
    here = call.settings.hostname
    question = Question(
        source=locate(cluster, call.word("SRC"), here),
        destination=locate(cluster, call.word("DST"), here),
        headers=asked.headers,
        families=asked.families,
        source_address=asked.source_address,
        source_mac=asked.source_mac,
    )
    return Explanation(cluster, question, answer(cluster, question))


def _prove(call: Call, asked: _Asked) -> int:
    # Imported late: it takes 30 ms, and few ask for it.
    from calico.cli.prove import (  # noqa: PLC0415 -- see above
        describe_proof,
        proof_as_json,
        prove,
    )
    from calico.probe.errors import PortInUse  # noqa: PLC0415 -- see above

    for _ in range(_N_TRIES):
        found = _explain(call, asked)
        try:
            proofs = prove(call, found)
        except PortInUse:
            if call.has_option("--sport"):
                raise
            asked = _with_another_port(asked)
            continue
        if call.store.last_change(POLICY_PREFIXES) == found.cluster.revision:
            break
    else:
        raise Refused(
            f"Nothing is proved: {_N_TRIES} times policy changed while the packet was"
            " under way, or its source port was in use. Try again."
        )
    shown = {
        **explain_as_json(found),
        "proofs": [proof_as_json(each) for each in proofs],
    }
    lines = (*describe(found), *(line for p in proofs for line in describe_proof(p)))
    call.show(shown, [found.verdict], lambda: _print(lines))
    if any(each.agrees is False for each in proofs):
        # Imported late: hardly ever needed.
        from calico.cli.bundle import (  # noqa: PLC0415 -- see above
            report_disagreement,
        )

        report_disagreement(call, shown)
        return DISAGREES
    return _exit_code(found) if all(each.agrees for each in proofs) else FAILED


def _with_another_port(asked: _Asked) -> _Asked:
    """Speak from another port: which one was nobody's wish."""
    port = random.randint(FIRST_DYNAMIC_PORT, LAST_PORT)  # noqa: S311 -- no secret
    return replace(asked, headers=replace(asked.headers, source_port=port))


def _print(lines: Iterable[str]) -> None:
    for text in lines:
        output.line(text)


def _exit_code(found: Explanation) -> int:
    return DONE if found.is_allowed else FAILED


def _headers(call: Call) -> Headers:
    protocol = next(each for each in Protocol if call.has(each.value))
    if protocol.has_ports:
        source_port = call.option("--sport")
        return Headers(
            protocol,
            FIRST_DYNAMIC_PORT if source_port is None else _port(source_port),
            _port(call.word("PORT")),
        )
    icmp_type, icmp_code = call.all_words("N")[:1], call.all_words("N")[1:]
    try:
        return Headers(
            protocol,
            icmp_type=parse_icmp("type", icmp_type[0])
            if icmp_type
            else ECHO_REQUEST[protocol],
            icmp_code=parse_icmp("code", icmp_code[0]) if icmp_code else 0,
        )
    except InvalidResource as error:
        raise Refused(str(error), exit_code=USAGE) from None


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= len(str(LAST_PORT)):
        port = int(text)
        if 0 < port <= LAST_PORT:
            return port
    raise Refused(
        f"port: found {text!r}, expected a number from 1 to {LAST_PORT}",
        exit_code=USAGE,
    )


def _families(call: Call) -> tuple[Family, ...]:
    asked = tuple(each for each in Family if call.has_option(f"--ipv{each.value}"))
    return asked or tuple(Family)


def _source_address(call: Call) -> Address | None:
    text = call.option("--source")
    if text is None:
        return None
    try:
        return parse_address(text)
    except InvalidResource as error:
        raise Refused(f"--source: {error}", exit_code=USAGE) from None


def _source_mac(call: Call) -> bytes | None:
    text = call.option("--mac")
    if text is None:
        return None
    if not _MAC.match(text):
        raise Refused(
            f"--mac: found {text!r}, expected six bytes as 02:00:00:00:00:01",
            exit_code=USAGE,
        )
    return bytes.fromhex(text.replace(":", ""))
