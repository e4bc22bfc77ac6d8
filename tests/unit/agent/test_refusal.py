"""Finding the profiles that the kernel refuses."""

from hypothesis import given
from hypothesis import strategies as st

from calico.agent.refusal import find_refused, without_profiles
from calico.ir.origin import EndOfProfiles, Fault, FaultOrigin
from calico.ir.state import CompiledProfile, DesiredState, Pipeline, PipelineKey
from calico.model.names import ProfileId
from calico.model.rule import Direction

A, B, C = (ProfileId(name) for name in "ABC")


@given(st.lists(st.integers(0, 40), unique=True), st.data())
def test_exactly_the_guilty_are_found(numbers: list[int], data: st.DataObject) -> None:
    suspects = [ProfileId(str(number)) for number in numbers]
    guilty = frozenset(each for each in suspects if data.draw(st.booleans()))
    assert find_refused(suspects, lambda denied: guilty <= denied) == guilty


def test_nothing_is_found_when_even_all_of_them_do_not_help() -> None:
    assert find_refused([A, B], lambda _: False) is None


def test_one_of_many_is_found_in_a_few_tries() -> None:
    suspects = [ProfileId(str(number)) for number in range(1000)]
    tries: list[frozenset[ProfileId]] = []

    def accepts(denied: frozenset[ProfileId]) -> bool:
        tries.append(denied)
        return suspects[617] in denied

    assert find_refused(suspects, accepts) == frozenset({suspects[617]})
    assert len(tries) < 40


def test_refused_profile_denies_at_its_place_by_name() -> None:
    key = PipelineKey((A, B, C), Direction.INBOUND)
    end = EndOfProfiles(key.profiles, key.direction)
    profiles = {each: CompiledProfile(each, {}) for each in (A, B, C)}
    state = DesiredState(
        profiles=profiles, pipelines={key: Pipeline(key, (A, B, C), end)}
    )
    left = without_profiles(state, frozenset({B}))
    assert set(left.profiles) == {A, C}
    fault = FaultOrigin(B, Fault.REFUSED_BY_KERNEL)
    assert left.pipelines[key].stages == (A, fault)
    assert without_profiles(state, frozenset()) == state
