"""The evaluator is total, names what decided, and agrees with the oracle."""

from hypothesis import event, given
from hypothesis import strategies as st
from oracle import ruling
from strategies import HOST, packets, snapshots

from calico.compiler.host import compile_host
from calico.model.names import EndpointKey
from calico.model.rule import Action
from calico.model.snapshot import Snapshot
from calico.verdict.evaluate import evaluate

MAX_PACKETS = 40


@given(snapshots(), st.data())
def test_evaluator_agrees_with_oracle_and_names_what_decided(
    snapshot: Snapshot, data: st.DataObject
) -> None:
    state = compile_host(snapshot, HOST)
    for packet in data.draw(st.lists(packets(snapshot), max_size=MAX_PACKETS)):
        trace = evaluate(state, packet)
        event(f"{type(trace.origin).__name__} {trace.allowed}")
        allowed, places = ruling(snapshot, HOST, packet)
        assert trace.allowed == allowed
        last = trace.steps[-1]
        assert last.outcome is (Action.ALLOW if trace.allowed else Action.DENY)
        assert last.origin == trace.origin
        assert all(step.outcome is not Action.DENY for step in trace.steps[:-1])
        named = [step.origin.text for step in trace.steps if step.origin is not None]
        assert [_short(text) for text in named] == [_short(text) for text in places]


def _short(text: str) -> str:
    """Cut the name of a list, which is a digest beyond some length."""
    return text[:80] if text.startswith("end of profiles") else text


@given(snapshots(), st.data())
def test_nothing_but_the_policy_of_both_ends_is_needed_to_judge(
    snapshot: Snapshot, data: st.DataObject
) -> None:
    state = compile_host(snapshot, HOST)
    for packet in data.draw(st.lists(packets(snapshot), max_size=MAX_PACKETS)):
        ends = [
            end
            for end in (packet.enters, packet.leaves)
            if isinstance(end, EndpointKey)
        ]
        small = compile_host(snapshot, HOST, judged=ends)
        assert evaluate(small, packet) == evaluate(state, packet)
        assert len(small.pipelines) <= 2 * len(ends)
        assert (small.endpoints, small.routes) == (state.endpoints, state.routes)
        assert small.problems == state.problems
