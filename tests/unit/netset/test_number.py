import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.netset.number import PortSet, ProtocolSet

ports = st.integers(0, PortSet.LAST)
port_sets = st.lists(
    st.lists(ports, min_size=2, max_size=2).map(lambda e: (min(e), max(e))), max_size=4
).map(lambda pairs: PortSet(tuple(pairs)))


@given(port_sets, ports)
def test_complement_holds_exactly_the_other_ports(of: PortSet, port: int) -> None:
    assert (port in ~of) != (port in of)


@given(port_sets, port_sets, ports)
def test_union_and_intersection_are_those_of_sets(
    left: PortSet, right: PortSet, port: int
) -> None:
    assert (port in (left | right)) == (port in left or port in right)
    assert (port in (left & right)) == (port in left and port in right)


def test_sets_with_equal_members_are_equal() -> None:
    assert PortSet(((5, 9), (1, 4))) == PortSet(((1, 9),))
    assert ProtocolSet.of(6, 17) == ProtocolSet.of(17, 6)


@pytest.mark.parametrize("pair", [(-1, 0), (5, 4), (0, 65536)])
def test_range_outside_the_kind_is_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="outside"):
        PortSet((pair,))


def test_bound_belongs_to_the_kind() -> None:
    with pytest.raises(ValueError, match=r"0\.\.255"):
        ProtocolSet.of(256)


def test_everything_and_nothing() -> None:
    assert PortSet.everything().is_everything()
    assert not PortSet.of(1).is_everything()
    assert PortSet.of(1)
    assert not ~PortSet.everything()
