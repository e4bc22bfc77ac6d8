"""Taking secrets out of what is handed to others.

Known secrets go wherever they stand: keys and passwords that the environment
names. So does what looks like one: a private key, and a password within a URL
or after its name. Whatever is doubtful goes, too: a report is of use without
it.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

REMOVED = b"(removed)"

_N_LEAST = 4
_MAX_KEY_BYTES = 1 << 20
_SECRET_NAME = re.compile(
    r"PASSW|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|APIKEY|_KEY\Z|_PWD\Z|AUTH\Z",
    re.IGNORECASE,
)
_IN_URL = re.compile(rb"://[^\s/@\"'<>]+@")
_USER_IN_URL = re.compile(r"://([^\s/@]+)@")
# The quotes of a value within a JSON text within another one have backslashes.
_NAMED = re.compile(
    rb"(?i)((?:password|passwd|passphrase|secret|token|api[_-]?key)\\*[\"']?\s*[=:]\s*)"
    rb"(\\*\"[^\"\n]*\"|'[^'\n]*'|[^\s\"',;}\]\\]+)"
)
# A key of the datastore and its value, as an export has them on one line.
_KEY_AND_VALUE = re.compile(
    rb"(?i)(\"key\": \"[^\"]*(?:password|passwd|passphrase|secret|token|api[_-]?key)"
    rb"[^\"/]*\", \"modified\": \d+, \"(?:text|base64)\": )\"(?:[^\"\\]|\\.)*\""
)
# A command that sets one, as the history of the datastore has it.
_SET = re.compile(
    rb"(?i)(\bconfig (?:node )?(?:felix|bgp) [^\s]*"
    rb"(?:password|passwd|passphrase|secret|token|api[_-]?key)[^\s]* )"
    rb"('[^'\n]*'|[^\s]+)"
)
_QUOTES = re.compile(rb"\A(\\*[\"']).*?(\\*[\"'])\Z", re.DOTALL)
_PRIVATE_KEY = re.compile(
    rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----"
    rb".*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)


class Scrubber:
    """Takes secrets out of bytes.

    Args:
        environ: The environment, which names them.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        found = {each for each in _secrets(environ) if len(each) >= _N_LEAST}
        encoded = {b64encode(each) for each in found}
        # The longest first: one may be part of another.
        self._known = sorted(found | encoded, key=len, reverse=True)

    def scrub(self, content: bytes) -> bytes:
        """Return what is left of a text without its secrets."""
        for secret in self._known:
            content = content.replace(secret, REMOVED)
        content = _PRIVATE_KEY.sub(REMOVED, content)
        content = _IN_URL.sub(b"://" + REMOVED + b"@", content)
        content = _KEY_AND_VALUE.sub(rb'\1"' + REMOVED + b'"', content)
        content = _SET.sub(rb"\1" + REMOVED, content)
        return _NAMED.sub(_without_value, content)


def _without_value(found: re.Match[bytes]) -> bytes:
    quotes = _QUOTES.match(found[2])
    opening, closing = (quotes[1], quotes[2]) if quotes else (b"", b"")
    return found[1] + opening + REMOVED + closing


def _secrets(environ: Mapping[str, str]) -> Iterator[bytes]:
    for name, value in environ.items():
        for credentials in _USER_IN_URL.findall(value):
            yield from _spellings(credentials)
            yield from _spellings(credentials.partition(":")[2])
        if name.endswith("_KEY_FILE"):
            yield from _key(Path(value))
        elif _SECRET_NAME.search(name):
            yield from _spellings(value)


def _spellings(text: str) -> Iterator[bytes]:
    for each in (text, unquote(text)):
        yield each.encode("utf-8", "surrogateescape")


def _key(path: Path) -> Iterator[bytes]:
    """Yield a key's file and its lines, as each may stand somewhere alone."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_KEY_BYTES)
    except OSError:
        return
    yield content.strip()
    for line in content.splitlines():
        if not line.startswith(b"-----"):
            yield line.strip()
