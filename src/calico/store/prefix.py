"""Key prefixes as ranges of keys in the order of UTF-8."""

_LAST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def range_end(prefix: str) -> str | None:
    """Return the least string above every key that starts with `prefix`.

    Returns:
        The exclusive end of the range that starts at `prefix`; `None` when the
        range has no end.
    """
    stem = prefix.rstrip(chr(_LAST))
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    if following in _SURROGATES:
        following = _SURROGATES.stop
    return stem[:-1] + chr(following)
