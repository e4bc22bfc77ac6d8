"""Fewer rules are tried, and nothing else is different."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from strategies import HOST, packets, snapshots

from calico.compiler.host import compile_host
from calico.ir.packet import Elsewhere
from calico.model.snapshot import Snapshot
from calico.verdict.evaluate import evaluate
from calico.verdict.narrow import NarrowedProfiles


@given(snapshots(), st.data())
def test_verdict_and_what_decided_stay(snapshot: Snapshot, data: st.DataObject) -> None:
    state = compile_host(snapshot, HOST)
    for packet in data.draw(st.lists(packets(snapshot), max_size=20)):
        sample = replace(packet, enters=Elsewhere.OUTSIDE, leaves=Elsewhere.OUTSIDE)
        profiles = NarrowedProfiles(state.profiles, sample)
        assert (len(profiles), set(profiles)) == (
            len(state.profiles),
            set(state.profiles),
        )
        found = evaluate(replace(state, profiles=profiles), packet)
        full = evaluate(state, packet)
        assert (found.allowed, found.origin) == (full.allowed, full.origin)
        assert [step.origin for step in found.steps] == [
            step.origin for step in full.steps
        ]
        n_tried = [len(step.trials) for step in found.steps]
        n_of_all = [len(step.trials) for step in full.steps]
        assert all(n <= m for n, m in zip(n_tried, n_of_all, strict=True))
