"""JSON text as values whose types are checked, one field at a time.

A `Field` is a value with its path, so every error says where it was found:
`$.inbound_rules[0].dst_ports[1]: found true, expected …`. Reading is stricter
than `json`: UTF-8 only, no key twice, no NaN, a bound on the size.

Not here: what any particular object holds.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn, TypeVar

from calico.model.errors import InvalidResource

MAX_OBJECT_BYTES = 512 * 1024
"""The largest object that is kept in the datastore."""

_MAX_SHOWN = 60

T = TypeVar("T")

Decoded = None | bool | int | float | str | list["Decoded"] | dict[str, "Decoded"]
"""What `json` reads."""

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
"""What can be written as JSON: of sequences only lists, of mappings only dicts.

The wider types let a dictionary of strings pass for one of JSON values.
"""


def parse_json(text: bytes, *, max_bytes: int = MAX_OBJECT_BYTES) -> "Field":
    """Read one JSON value.

    Args:
        text: The value and nothing else.
        max_bytes: What is longer is not looked at.

    Raises:
        InvalidResource: It is too large, or is not JSON as we accept it.
    """
    if len(text) > max_bytes:
        found = f"{len(text)} bytes"
        raise InvalidResource("$", found, f"at most {max_bytes} bytes")
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{text[error.start]:02x} at offset {error.start}"
        raise InvalidResource("$", found, "UTF-8 text") from None
    try:
        value: Decoded = _DECODER.decode(decoded)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        found = repr(decoded[error.pos : error.pos + 12])
        if not decoded[error.pos :]:
            found = "the end" if decoded else "nothing"
        raise InvalidResource(where, found, f"JSON ({error.msg})") from None
    except RecursionError:
        raise InvalidResource("$", "too many nested brackets", "JSON") from None
    except ValueError:
        # The only one left: an integer with more digits than Python converts.
        raise InvalidResource("$", "a number too long to read", "JSON") from None
    return Field("$", value)


def _object(pairs: list[tuple[str, Decoded]]) -> dict[str, Decoded]:
    made: dict[str, Decoded] = {}
    for key, value in pairs:
        if key in made:
            raise InvalidResource("$", f"the key {_show(key)} twice", "each key once")
        made[key] = value
    return made


def _constant(text: str) -> NoReturn:
    raise InvalidResource("$", text, "a JSON number")


# Made once: a hundred thousand endpoints are read when an agent starts.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def dump_json(value: Json) -> bytes:
    """Write a value as one line of JSON.

    Raises:
        InvalidResource: It is larger than the datastore accepts.
    """
    text = json.dumps(value).encode("ascii")
    if len(text) > MAX_OBJECT_BYTES:
        raise InvalidResource(
            "the object", f"{len(text)} bytes", f"at most {MAX_OBJECT_BYTES} bytes"
        )
    return text


def dump_json_for_people(value: Json) -> str:
    """Write a value as JSON that is indented by two."""
    return json.dumps(value, indent=2)


def _show(value: Decoded) -> str:
    try:
        text = json.dumps(value)
    except RecursionError:
        return "many nested brackets"
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


@dataclass(frozen=True, slots=True)
class Field:
    """A value out of JSON, and where it stands.

    Attributes:
        path: From the root, which is `$`.
        value: As `json` reads it.
    """

    path: str
    value: Decoded

    def refuse(self, accepted: str, next_step: str = "") -> InvalidResource:
        """Make the error that says what would be accepted here."""
        return InvalidResource(self.path, _show(self.value), accepted, next_step)

    def text(self, accepted: str = "a string") -> str:
        """Return the value, which must be a string."""
        if not isinstance(self.value, str):
            raise self.refuse(accepted)
        return self.value

    def parsed_by(self, parse: Callable[[str], T]) -> T:
        """Return what `parse` makes of the value, which must be a string.

        Raises:
            InvalidResource: It is none, or `parse` refused it.
        """
        try:
            return parse(self.text())
        except InvalidResource as error:
            raise self.refuse(error.accepted, error.next_step) from None

    def integer(self, last: int, accepted: str) -> int:
        """Return the value, which must be an integer from 0 to `last`."""
        if (
            not isinstance(self.value, int)
            or isinstance(self.value, bool)
            or not 0 <= self.value <= last
        ):
            raise self.refuse(accepted)
        return self.value

    def boolean(self) -> bool:
        """Return the value, which must be true or false."""
        if not isinstance(self.value, bool):
            raise self.refuse("true or false")
        return self.value

    def one_of(self, words: Collection[str]) -> str:
        """Return the value, which must be one of these words."""
        if not isinstance(self.value, str) or self.value not in words:
            raise self.refuse(" or ".join(_show(word) for word in words))
        return self.value

    def items(self) -> Iterator["Field"]:
        """Yield the members of the value, which must be a list."""
        if not isinstance(self.value, list):
            raise self.refuse("a list")
        for index, member in enumerate(self.value):
            yield Field(f"{self.path}[{index}]", member)

    def members(self) -> dict[str, "Field"]:
        """Return the members of the value, which must be an object."""
        if not isinstance(self.value, dict):
            raise self.refuse("an object")
        return {
            key: Field(path_below(self.path, key), each)
            for key, each in self.value.items()
        }

    def fields(self, known: Collection[str]) -> dict[str, "Field"]:
        """Return the members that are not null of an object with known keys.

        Raises:
            InvalidResource: The value is no object, or has another key.
        """
        if not isinstance(self.value, dict):
            raise self.refuse("an object")
        found: dict[str, Field] = {}
        for key, value in self.value.items():
            path = path_below(self.path, key)
            if key not in known:
                raise InvalidResource(path, "an unknown key", _nearest(key, known))
            if value is not None:
                found[key] = Field(path, value)
        return found


def optional(field: Field | None, read: Callable[[Field], T]) -> T | None:
    """Read a field if it is there."""
    return None if field is None else read(field)


# The names of members recur, and a hundred thousand endpoints have ten each.
@lru_cache(maxsize=1024)
def path_below(path: str, key: str) -> str:
    """Return the path of an object's member."""
    plain = key.isascii() and key.replace("_", "a").replace("-", "a").isalnum()
    return f"{path}.{key}" if plain else f"{path}[{_show(key)}]"


def _nearest(key: str, known: Collection[str]) -> str:
    """Say which keys there are, the likeliest first if one is near."""
    # Imported late: it takes 5 ms, and only an error needs it.
    from difflib import get_close_matches  # noqa: PLC0415 -- see above

    near = get_close_matches(key, known, n=1)
    every = ", ".join(sorted(known))
    return f"`{near[0]}`? (known: {every})" if near else f"one of {every}"
