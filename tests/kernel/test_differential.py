"""The kernel is the judge: random policies, real packets, every verdict compared.

    oracle(snapshot) == evaluate(compile(snapshot)) == kernel(render(compile))

The oracle knows the meaning, the compiler and the evaluator share no code with
it, and the kernel knows only what was rendered. Each drop is also found at the
counter of the rule or element that the evaluator names.
"""

import os
import sys
from random import Random

import pytest
from judge import N_PACKETS, run_cases
from namespaces import in_new_netns

N_POLICIES = int(os.environ.get("CALICO_TEST_POLICIES", "150"))


@pytest.mark.kernel
def test_oracle_evaluator_and_kernel_agree_on_random_policies(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seed = int(os.environ.get("CALICO_TEST_SEED", Random().randrange(2**32)))
    problems, tally = in_new_netns(lambda: run_cases(seed, N_POLICIES))
    with capsys.disabled():
        sys.stdout.write(f"\ndifferential: seed {seed}: {dict(tally)}\n")
    assert not problems, f"seed {seed}:\n" + "\n".join(problems[:3])
    assert tally["allowed"] + tally["denied"] >= N_POLICIES * N_PACKETS
    assert tally["allowed"] > N_POLICIES
    assert tally["replies"] > 0
