"""On which line of a JSON text a path stands, for errors about files."""

import json
import re
from dataclasses import dataclass

from calico.codec.json_text import path_below

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


@dataclass(slots=True)
class _Open:
    """A list or an object that is not closed yet, and where in it we are."""

    path: str
    is_list: bool
    index: int = 0
    key: str | None = None

    def here(self) -> str:
        """Return the path of the member that comes now."""
        if self.is_list:
            return f"{self.path}[{self.index}]"
        return path_below(self.path, self.key or "")


def line_of(text: bytes, path: str) -> int | None:
    """Find the line on which a path of `Field` stands.

    Args:
        text: What `parse_json` accepted; for anything else the answer may be
            wrong, and is `None` where there is none.
        path: As errors name it.
    """
    decoded = text.decode("utf-8", "replace")
    still_open: list[_Open] = []
    for token in _TOKEN.finditer(decoded):
        if _step(still_open, token[0]) == path:
            return decoded.count("\n", 0, token.start()) + 1
    return None


def _step(still_open: list[_Open], token: str) -> str | None:
    """Take one token; return the path that begins with it, if one does."""
    inner = still_open[-1] if still_open else None
    if token in {"}", "]"}:
        still_open[-1:] = []
        return None
    if token in {",", ":"}:
        if inner is not None and token == ",":
            inner.index, inner.key = inner.index + 1, None
        return None
    if inner is not None and not inner.is_list and inner.key is None:
        inner.key = _read_key(token)
        return inner.here()
    here = "$" if inner is None else inner.here()
    if token in {"{", "["}:
        still_open.append(_Open(here, is_list=token == "["))
    # The path of an object's member began with its key.
    return here if inner is None or inner.is_list else None


def _read_key(token: str) -> str:
    try:
        return str(json.loads(token))
    except ValueError:
        return token
