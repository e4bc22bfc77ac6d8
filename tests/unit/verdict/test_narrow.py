"""Fewer rules are tried, and nothing else is different."""

from dataclasses import replace
from random import Random

from cases import HOST, Draw
from packets import Aim

from calico.compiler.host import compile_host
from calico.ir.origin import RuleOrigin
from calico.ir.packet import Elsewhere
from calico.verdict.evaluate import evaluate
from calico.verdict.narrow import NarrowedProfiles

N_POLICIES = 20
N_PACKETS = 300


def test_verdict_and_what_decided_stay() -> None:
    n_decided = n_spared = 0
    for seed in range(N_POLICIES):
        random = Random(seed)
        snapshot = Draw(random).snapshot(1)
        state = compile_host(snapshot, HOST)
        for packet in Aim(random, snapshot).packets(N_PACKETS):
            outside = Elsewhere.OUTSIDE
            sample = replace(packet, enters=outside, leaves=outside)
            profiles = NarrowedProfiles(state.profiles, sample)
            assert len(profiles) == len(state.profiles)
            assert set(profiles) == set(state.profiles)
            found = evaluate(replace(state, profiles=profiles), packet)
            full = evaluate(state, packet)
            assert (found.allowed, found.origin) == (full.allowed, full.origin), seed
            for step, whole in zip(found.steps, full.steps, strict=True):
                assert step.origin == whole.origin, seed
                n_spared += len(whole.trials) - len(step.trials)
                n_decided += isinstance(step.origin, RuleOrigin)
    assert n_decided > N_PACKETS
    assert n_spared > N_PACKETS
