"""The kernel is the judge: random policies, real packets, every verdict compared.

`differential` says what is compared. `make proof` does the same with many more
packets.
"""

import os
import sys
from random import Random

import pytest
from differential import N_PACKETS, run_cases
from namespaces import in_new_netns

from calico.ir.origin import Fault, Fixed

N_POLICIES = int(os.environ.get("CALICO_TEST_POLICIES", "150"))

# What stays inside a workload is on no wire, this kernel refuses nothing, policy
# is in force all the time, and there is no other host with a tunnel.
ELSEWHERE = {Fixed.SAME_ENDPOINT, Fixed.NOT_YET_PROGRAMMED, Fixed.FOREIGN_TUNNEL}
PLACES = {
    *(each.name for each in Fixed if each not in ELSEWHERE),
    *(each.name for each in Fault if each is not Fault.REFUSED_BY_KERNEL),
    *("RuleOrigin", "EndOfProfiles", "SourceCheck", "InactiveEndpoint"),
}


@pytest.mark.kernel
def test_oracle_evaluator_and_kernel_agree_on_random_policies(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seed = int(os.environ.get("CALICO_TEST_SEED", Random().randrange(2**32)))
    outcome = in_new_netns(lambda: run_cases(seed, N_POLICIES))
    with capsys.disabled():
        sys.stdout.write(
            f"\ndifferential: seed {seed}: {outcome.n_cases} cases,"
            f" {len(outcome.problems)} mismatches: {dict(outcome.tally)}\n"
        )
    if outcome.problems:
        pytest.fail(f"seed {seed}:\n{outcome.report}", pytrace=False)
    assert outcome.n_cases >= N_POLICIES * N_PACKETS
    if N_POLICIES >= 100:
        assert outcome.met.keys() >= PLACES
        for kind in ("allowed", "denied", "established", "related", "invalid"):
            assert outcome.tally[kind] > N_POLICIES, kind
        assert outcome.tally["repairs"] > 0
