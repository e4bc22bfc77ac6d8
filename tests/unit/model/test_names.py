from collections.abc import Callable

import pytest
from strategies import OTHER, endpoint_key

from calico.model.errors import InvalidResource
from calico.model.names import (
    parse_endpoint_id,
    parse_host_name,
    parse_interface_name,
    parse_profile_id,
    parse_tag_name,
)

PARSERS = (parse_profile_id, parse_tag_name, parse_endpoint_id, parse_host_name)


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("text", ["a", "WEB", "a.b-c_d", "...", "x" * 128])
def test_name_is_taken_as_it_is(parse: Callable[[str], str], text: str) -> None:
    assert parse(text) == text


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("text", ["", ".", "..", "a b", "a/b", "é", "a\n", "x" * 254])
def test_text_that_is_no_name_is_refused(
    parse: Callable[[str], str], text: str
) -> None:
    with pytest.raises(InvalidResource, match="characters of"):
        parse(text)


def test_length_limits_differ_by_kind() -> None:
    assert parse_host_name("x" * 253)
    with pytest.raises(InvalidResource, match="1 to 128"):
        parse_profile_id("x" * 129)


def test_interface_name_is_taken_as_it_is() -> None:
    assert parse_interface_name("cali0123456789a") == "cali0123456789a"


@pytest.mark.parametrize("text", ["", ".", "..", "tap1.5", "a b", "a/b", "x" * 16])
def test_text_that_is_no_interface_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidResource, match="1 to 15"):
        parse_interface_name(text)


def test_endpoint_keys_are_ordered_host_first() -> None:
    assert endpoint_key(3) < endpoint_key(0, OTHER)
    assert endpoint_key(0) < endpoint_key(1)
