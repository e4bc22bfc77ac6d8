"""A real packet for an explanation, and the kernel's path beside the explainer's.

Only this host's part can be proved: the packet is sent from inside the source,
which must be here, and followed through this host's kernel. Compared are the
verdict and every named place that spoke: the comments of the kernel's rules and
the origins of the explainer's steps, in order.
"""

import signal
from collections.abc import Iterator
from dataclasses import dataclass

from calico.cli.call import Call
from calico.cli.cluster import Cluster
from calico.cli.exit_codes import NOT_IN_FORCE, USAGE
from calico.cli.explanation import Explanation
from calico.cli.question import Question
from calico.cli.refusal import Refused
from calico.codec.json_text import Json
from calico.control.client import NoAgent, wait_for_revision
from calico.control.protocol import BadMessage
from calico.ir.packet import Elsewhere
from calico.linux.nft_path import BaseChainPath, KernelPath, PathEnd
from calico.linux.nft_trace import TraceVerdict
from calico.model.names import EndpointKey, HostName
from calico.probe.run import run_probe
from calico.probe.values import HERE, Arrival, Place, Probe, ProbeResult
from calico.verdict.journey import End, HostItself, Journey, Leg
from calico.verdict.trace import Stage

IN_FORCE_WITHIN_S = 10.0
_TRANSLATING = "postrouting"
_VERDICTS = {True: "allowed", False: "denied"}


@dataclass(frozen=True, slots=True)
class Proof:
    """What the kernel did with the packet of one journey.

    Attributes:
        leg: What the explainer says of it on this host.
        result: What was sent, and what became of it.
        interface: Of the workload of this host that it should leave by; empty
            when it is for nobody here.
    """

    leg: Leg
    result: ProbeResult
    interface: str = ""

    @property
    def expected(self) -> tuple[str, ...]:
        """The named places that the explainer passes, in order."""
        return tuple(
            step.origin.text
            for step in self.leg.trace.steps
            if step.origin is not None and step.stage is not Stage.UNJUDGED
        )

    @property
    def found(self) -> tuple[str, ...]:
        """The named places that the kernel passed, in order.

        What translates at postrouting has a name, too, and decides nothing.
        """
        path = self.result.path
        chains = () if path is None else path.chains
        return tuple(
            step.comment
            for chain in chains
            if chain.is_ours and chain.point != _TRANSLATING
            for step in chain.steps
            if step.comment and step.verdict is not TraceVerdict.CONTINUE
        )

    @property
    def agrees(self) -> bool | None:
        """Whether kernel and explainer say the same; `None` if it was not seen."""
        path = self.result.path
        if path is None or path.allowed is None:
            never_leaves = not self.expected and self.leg.trace.allowed
            is_there = self.result.arrival is Arrival.ARRIVED
            return True if path is None and never_leaves and is_there else None
        if self.goes_astray:
            return None
        same_verdict = path.allowed == self.leg.trace.allowed
        return same_verdict and self.found == self.expected

    @property
    def goes_astray(self) -> bool:
        """Whether routing took the packet elsewhere than to its workload.

        An endpoint that is inactive has no route.
        """
        path = self.result.path
        if path is None or path.end is not PathEnd.LEFT or not self.interface:
            return False
        return path.exit_interface not in {"", self.interface}


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a packet is sent from, and where it should arrive.

    Attributes:
        source: Of this host.
        destination: `None` for what we cannot enter.
    """

    source: Place
    destination: Place | None


def prove(call: Call, found: Explanation) -> tuple[Proof, ...]:
    """Send the packet of each journey, and follow it through this host.

    Raises:
        Refused: It cannot be sent from here, or this host does not enforce what
            was explained.
        CalicoError: A probe could not be sent, and why.
    """
    question = found.question
    if question.source_address is not None or question.source_mac is not None:
        raise Refused(
            "--prove sends as the source itself: not with --source or --mac.",
            exit_code=USAGE,
        )
    here = call.settings.hostname
    ends = find_ends(question, here)
    wait_in_force(call, found.cluster)
    return tuple(send_probes(found, ends, here))


def find_ends(question: Question, here: HostName) -> Ends:
    """Find where the packet of a question is sent from, and to.

    Raises:
        Refused: It cannot be sent from this host.
    """
    source = question.source
    if isinstance(source.end, Elsewhere):
        raise Refused(
            f"{source.text} is outside, and a probe is sent from inside its source.",
            "Ask for a workload of this host, or for this host itself.",
        )
    if source.end.host != here:
        raise Refused(
            f"{source.text} is on {source.end.host}: a probe is sent from inside its"
            " source.",
            f"Run this command on {source.end.host}.",
        )
    place = _receiver(source.end, here)
    if place is None:
        raise Refused(f"{source.text} is no network namespace that can be entered.")
    return Ends(place, _receiver(question.destination.end, here))


def _receiver(end: End, here: HostName) -> Place | None:
    """Find the namespace of an end; `None` where we cannot enter it."""
    match end:
        case HostItself(host) if host == here:
            return HERE
        case EndpointKey() if end.host == here and end.workload.startswith("/"):
            return Place(end.workload)
        case _:
            return None


def wait_in_force(call: Call, cluster: Cluster) -> None:
    """Wait until this host enforces the policy of a cluster.

    Raises:
        Refused: It does not within `IN_FORCE_WITHIN_S`, or has no agent.
    """
    revision = cluster.revision
    try:
        reached = wait_for_revision(call.settings.run_dir, revision, IN_FORCE_WITHIN_S)
    except (NoAgent, BadMessage) as error:
        raise Refused(f"Nothing is proved: {error}", exit_code=NOT_IN_FORCE) from None
    if reached < revision:
        raise Refused(
            f"Nothing is proved: policy revision {revision} is not in force here after"
            f" {IN_FORCE_WITHIN_S:g} s; the agent has {reached}.",
            exit_code=NOT_IN_FORCE,
        )


def send_probes(found: Explanation, ends: Ends, here: HostName) -> Iterator[Proof]:
    """Send the packets of an explanation one after the other, when asked for them.

    Raises:
        CalicoError: A probe could not be sent, and why.
    """
    # Whoever ends us wants the packet forgotten, too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    for journey in found.answer.journeys:
        for leg in journey.legs:
            if leg.host == here:
                result = run_probe(_probe(found.question, journey, ends))
                yield Proof(leg, result, _interface(found, leg))


def _interface(found: Explanation, leg: Leg) -> str:
    leaves = leg.packet.leaves
    if not isinstance(leaves, EndpointKey):
        return ""
    endpoint = found.answer.states[leg.host].endpoints.get(leaves)
    return "" if endpoint is None else endpoint.interface


def _probe(question: Question, journey: Journey, ends: Ends) -> Probe:
    headers = question.headers
    has_ports = headers.protocol.has_ports
    return Probe(
        source=ends.source,
        destination=ends.destination,
        address=journey.flow.destination,
        protocol=headers.protocol,
        port=headers.destination_port,
        source_address=journey.flow.source,
        source_port=headers.source_port,
        icmp_type=None if has_ports else headers.icmp_type,
        icmp_code=headers.icmp_code,
    )


def describe_proof(proof: Proof) -> Iterator[str]:
    """Write the kernel's path as lines, and whether it is the explainer's."""
    result = proof.result
    flow = proof.leg.packet
    yield ""
    ends = f"{flow.source} → {flow.destination}"
    yield f"On {proof.leg.host}, a packet {ends}:"
    if result.path is not None:
        for chain in result.path.chains:
            yield from _describe_chain(chain)
    yield f"  {_end(result)}"
    yield from (f"  note: {limit}" for limit in result.limits)
    yield f"  {_agreement(proof)}"


def _describe_chain(chain: BaseChainPath) -> Iterator[str]:
    yield f"  {chain.point}: {chain.name}"
    for step in chain.steps:
        rule = f"rule {step.number}" if step.number else "policy"
        target = f" {step.target}" if step.target else ""
        comment = f": {step.comment}" if step.comment else ""
        yield f"    {step.chain} {rule} {step.verdict.value}{target}{comment}"


def _end(result: ProbeResult) -> str:
    path = result.path
    words = (
        "the packet was not seen" if path is None else f"the packet {path.end.value}"
    )
    if path is not None and path.foreign_drop is not None:
        words += f" by another program's chain, {path.foreign_drop.name}"
    fault = f" ({result.fault})" if result.fault else ""
    arrival = f"it {result.arrival.value}" if path is not None else ""
    parts = (words + fault, arrival, result.reply.value)
    return "; ".join(each for each in parts if each)


def _agreement(proof: Proof) -> str:
    path = proof.result.path
    if proof.goes_astray and path is not None:
        return (
            f"Not proved: routing takes the packet to {path.exit_interface}, and not to"
            f" {proof.interface}."
        )
    if proof.agrees is None:
        return "Not proved: the packet was not judged by our table."
    if proof.agrees:
        return "The kernel and the explainer agree."
    kernel = "" if path is None else _VERDICTS[bool(path.allowed)]
    return (
        "The kernel and the explainer DISAGREE:"
        f" the kernel {kernel} the packet by {_listed(proof.found)}, the explainer says"
        f" {_VERDICTS[proof.leg.trace.allowed]} by {_listed(proof.expected)}."
    )


def _listed(places: tuple[str, ...]) -> str:
    return "; ".join(places) or "nothing with a name"


def proof_as_json(proof: Proof) -> Json:
    """Write a proof as `-o json` prints it."""
    result = proof.result
    path = result.path
    return {
        "host": proof.leg.host,
        "source": str(proof.leg.packet.source),
        "destination": str(proof.leg.packet.destination),
        "agrees": proof.agrees,
        "explained": list(proof.expected),
        "found": list(proof.found),
        "allowed": None if path is None else path.allowed,
        "end": None if path is None else path.end.value,
        "arrival": result.arrival.value,
        "reply": result.reply.value,
        "fault": result.fault,
        "limits": list(result.limits),
        "chains": [] if path is None else _chains_as_json(path),
    }


def _chains_as_json(path: KernelPath) -> list[Json]:
    return [
        {
            "chain": chain.name,
            "hook": chain.point,
            "ours": chain.is_ours,
            "rules": [
                {
                    "chain": step.chain,
                    "number": step.number,
                    "comment": step.comment,
                    "verdict": step.verdict.value,
                    "target": step.target,
                }
                for step in chain.steps
            ],
        }
        for chain in path.chains
    ]
