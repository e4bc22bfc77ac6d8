import pytest

from calico.render.objects import Field


@pytest.mark.parametrize(
    ("look_at", "n_bytes"),
    [
        (Field.IIFNAME, 16),
        (Field.ETHER_SOURCE, 6),
        (Field.IP4_SOURCE, 4),
        (Field.IP6_DESTINATION, 16),
        (Field.DESTINATION_PORT, 2),
        (Field.ICMP_TYPE, 1),
    ],
)
def test_field_has_the_length_of_its_header_part(look_at: Field, n_bytes: int) -> None:
    assert look_at.n_bytes == n_bytes


def test_every_field_has_a_length() -> None:
    assert all(field.n_bytes > 0 for field in Field)
