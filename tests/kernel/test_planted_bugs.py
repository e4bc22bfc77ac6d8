"""The proof proves itself: each bug that is planted in the product is caught.

Bugs are planted in the compiler, in the renderer and in the netlink encoding.
`make mutants` runs this file alone.
"""

import sys
from collections import Counter
from collections.abc import Iterator

import bugs_compiler
import bugs_netlink
import bugs_render
import pytest
from _pytest.capture import CaptureManager
from planting import Bug, result, try_bug

pytestmark = pytest.mark.kernel

PLACES = {
    "compiler": bugs_compiler.BUGS,
    "render": bugs_render.BUGS,
    "netlink": bugs_netlink.BUGS,
}
BUGS = {f"{place}: {bug.name}": bug for place in PLACES for bug in PLACES[place]}


@pytest.fixture(scope="module")
def kills(request: pytest.FixtureRequest) -> Iterator[Counter[bool]]:
    """Count the bugs that were caught and those that were not; print the rate."""
    found: Counter[bool] = Counter()
    yield found
    capturing = request.config.pluginmanager.get_plugin("capturemanager")
    assert isinstance(capturing, CaptureManager)
    with capturing.global_and_fixture_disabled():
        sys.stdout.write(f"\nmutants: {found[True]} of {found.total()} caught\n")


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_caught(name: str, kills: Counter[bool]) -> None:
    finding = try_bug(BUGS[name])
    kills[bool(finding.problem)] += 1
    assert finding.n_calls, f"{BUGS[name].target} was never called"
    assert finding.problem, f"nobody noticed in {finding.n_policies} policies: {name}"


@pytest.mark.parametrize("place", PLACES)
def test_function_that_is_wrapped_and_not_changed_is_no_bug(place: str) -> None:
    target = PLACES[place][0].target
    finding = try_bug(Bug("none", target, result(unchanged)), n_policies=5)
    assert finding.n_calls
    assert not finding.problem, finding.problem


def unchanged(value: object) -> object:
    return value


def test_there_are_thirty_bugs_of_each_place() -> None:
    assert all(len(bugs) >= 30 for bugs in PLACES.values())
    assert len(BUGS) == sum(len(bugs) for bugs in PLACES.values())
