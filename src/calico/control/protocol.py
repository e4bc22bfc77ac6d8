"""What can be asked of the agent, and what it answers, as values and as lines.

A request and its answer are one JSON object each, on one line. An answer is
either `{"result": …}` or `{"error": "…"}`. Reading is strict in what this
program depends on and lets unknown members pass, so that an older program can
ask a newer agent.

Not here: sockets (`server`, `client`).
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import Enum
from math import isfinite
from typing import NoReturn

from calico.model.errors import CalicoError
from calico.model.names import NO_REVISION, Revision

SOCKET_NAME = "agent.sock"
MAX_REQUEST_BYTES = 1 << 20


_Json = None | bool | int | float | str | list["_Json"] | dict[str, "_Json"]


class Method(Enum):
    """What can be asked; the value is the word on the wire."""

    STATUS = "status"
    PROBLEMS = "problems"
    COUNTERS = "counters"
    DROPS = "drops"
    WAIT = "wait"


class BadMessage(CalicoError):  # noqa: N818 -- says what it is
    """A line is no request, or no answer to what was asked.

    Attributes:
        reason: What is wrong with it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"not understood: {self.reason}"


@dataclass(frozen=True, slots=True)
class Request:
    """A question to the agent.

    Attributes:
        method: What is asked.
        revision: For `WAIT`: the policy revision to wait for.
        timeout_s: For `WAIT` and `DROPS`: how long to wait at most.
        since: For `DROPS`: the number of the last drop that is known.
    """

    method: Method
    revision: Revision = NO_REVISION
    timeout_s: float = 0.0
    since: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """An established flow that was cut, because policy now denies it.

    Attributes:
        at: When, ISO 8601 in UTC.
        flow: Protocol, addresses and ports.
        rule: The origin of the verdict.
    """

    at: str
    flow: str
    rule: str


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """How the agent of this host is.

    Attributes:
        host: Its name in the datastore.
        pid: Its process.
        uptime_s: Whole seconds since it started.
        revision: The policy revision in force in the kernel; 0 before any.
        is_ready: Updates are applied: the datastore says so.
        is_enforcing: The host's policy is in the kernel.
        degraded: What does not answer, in words; empty when all does.
        problems: Reason by object of what cannot be used.
        limits: What the kernel refuses us, by name.
        n_endpoints: The local endpoints.
        missing_interfaces: Of active endpoints, those that do not exist.
        table_is_owned: Other programs cannot touch our table.
        n_drifts: How often our table was found changed by others.
        last_drift: What and by whom, in words; empty if never.
        n_cuts: How many established flows were cut.
        cuts: The last ones, newest last.
    """

    host: str
    pid: int
    uptime_s: int
    revision: int
    is_ready: bool
    is_enforcing: bool
    degraded: str = ""
    problems: Mapping[str, str] = field(default_factory=dict[str, str])
    limits: Mapping[str, str] = field(default_factory=dict[str, str])
    n_endpoints: int = 0
    missing_interfaces: tuple[str, ...] = ()
    table_is_owned: bool = False
    n_drifts: int = 0
    last_drift: str = ""
    n_cuts: int = 0
    cuts: tuple[Cut, ...] = ()


@dataclass(frozen=True, slots=True)
class Counter:
    """How many packets and bytes a named place has seen.

    Attributes:
        origin: The rule or place, as reports name it.
        where: The chain or map that it is in.
        packets: How many.
        n_bytes: How many bytes.
    """

    origin: str
    where: str
    packets: int
    n_bytes: int


def encode_request(request: Request) -> bytes:
    """Write a request as a line."""
    message: dict[str, object] = {"method": request.method.value}
    if request.method is Method.WAIT:
        message["revision"] = request.revision
        message["timeout_s"] = request.timeout_s
    elif request.method is Method.DROPS:
        message["since"] = request.since
        message["timeout_s"] = request.timeout_s
    return encode_line(message)


def decode_request(line: bytes) -> Request:
    """Read a request.

    Raises:
        BadMessage: It is none.
    """
    message = _object(line)
    word = message.get("method")
    methods = {method.value: method for method in Method}
    if not isinstance(word, str) or word not in methods:
        raise BadMessage(f"method {word!r}, expected one of {', '.join(methods)}")
    method = methods[word]
    if method is Method.WAIT:
        revision = Revision(_number("revision", message))
        return Request(method, revision, _seconds(message.get("timeout_s")))
    if method is Method.DROPS:
        since, timeout_s = _number("since", message), message.get("timeout_s")
        return Request(method, since=since, timeout_s=_seconds(timeout_s))
    return Request(method)


def _number(name: str, message: Mapping[str, _Json]) -> int:
    value = message.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadMessage(f"{name} {value!r}, expected a number")
    return value


def _seconds(value: _Json) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Neither NaN nor infinite, nor an integer that no float can hold.
        with suppress(OverflowError):
            if isfinite(seconds := float(value)):
                return seconds
    raise BadMessage(f"timeout_s {value!r}, expected seconds")


def encode_status(status: AgentStatus) -> bytes:
    """Write the answer to `STATUS` as a line."""
    return encode_line({"result": asdict(status)})


def decode_status(line: bytes) -> AgentStatus:
    """Read the answer to `STATUS`.

    Raises:
        BadMessage: It is no such answer.
    """
    result = read_result(line)
    return AgentStatus(
        host=result.text("host"),
        pid=result.number("pid"),
        uptime_s=result.number("uptime_s"),
        revision=result.number("revision"),
        is_ready=result.flag("is_ready"),
        is_enforcing=result.flag("is_enforcing"),
        degraded=result.text("degraded"),
        problems=result.texts_by_name("problems"),
        limits=result.texts_by_name("limits"),
        n_endpoints=result.number("n_endpoints"),
        missing_interfaces=result.texts("missing_interfaces"),
        table_is_owned=result.flag("table_is_owned"),
        n_drifts=result.number("n_drifts"),
        last_drift=result.text("last_drift"),
        n_cuts=result.number("n_cuts"),
        cuts=tuple(
            Cut(each.text("at"), each.text("flow"), each.text("rule"))
            for each in result.objects("cuts")
        ),
    )


def encode_map(values: Mapping[str, str]) -> bytes:
    """Write the answer to `PROBLEMS` as a line."""
    return encode_line({"result": dict(values)})


def decode_map(line: bytes) -> Mapping[str, str]:
    """Read the answer to `PROBLEMS`.

    Raises:
        BadMessage: It is no such answer.
    """
    return read_result(line).all_texts()


def encode_counters(counters: tuple[Counter, ...]) -> bytes:
    """Write the answer to `COUNTERS` as a line."""
    return encode_line({"result": {"counters": [asdict(each) for each in counters]}})


def decode_counters(line: bytes) -> tuple[Counter, ...]:
    """Read the answer to `COUNTERS`.

    Raises:
        BadMessage: It is no such answer.
    """
    return tuple(
        Counter(
            each.text("origin"),
            each.text("where"),
            each.number("packets"),
            each.number("n_bytes"),
        )
        for each in read_result(line).objects("counters")
    )


def encode_reached(revision: Revision, *, is_reached: bool) -> bytes:
    """Write the answer to `WAIT` as a line: what is in force by now."""
    return encode_line({"result": {"revision": revision, "reached": is_reached}})


def decode_reached(line: bytes) -> tuple[bool, Revision]:
    """Read the answer to `WAIT`: whether it is in force, and what is.

    Raises:
        BadMessage: It is no such answer.
    """
    result = read_result(line)
    return result.flag("reached"), Revision(result.number("revision"))


def encode_error(reason: str) -> bytes:
    """Write an answer that refuses."""
    return encode_line({"error": reason})


class Reader:
    """One JSON object of an answer, read member by member."""

    def __init__(self, values: dict[str, _Json]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """Read a text; empty when absent."""
        value = self._values.get(name, "")
        return value if isinstance(value, str) else _reject(name, value)

    def number(self, name: str) -> int:
        """Read a number; 0 when absent."""
        value = self._values.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool):
            _reject(name, value)
        return value

    def number_if_any(self, name: str) -> int | None:
        """Read a number that may be absent or null."""
        return None if self._values.get(name) is None else self.number(name)

    def flag(self, name: str) -> bool:
        """Read a boolean; false when absent."""
        value = self._values.get(name, False)
        return value if isinstance(value, bool) else _reject(name, value)

    def texts(self, name: str) -> tuple[str, ...]:
        """Read a list of texts."""
        value = self._values.get(name, [])
        if not isinstance(value, list):
            _reject(name, value)
        return tuple(each for each in value if isinstance(each, str))

    def texts_by_name(self, name: str) -> Mapping[str, str]:
        """Read an object of texts."""
        value = self._values.get(name, {})
        if not isinstance(value, dict):
            _reject(name, value)
        return Reader(value).all_texts()

    def all_texts(self) -> Mapping[str, str]:
        """Read all members as texts."""
        return {key: self.text(key) for key in self._values}

    def objects(self, name: str) -> "tuple[Reader, ...]":
        """Read a list of objects."""
        value = self._values.get(name, [])
        if not isinstance(value, list):
            _reject(name, value)
        return tuple(Reader(each) for each in value if isinstance(each, dict))


def _reject(name: str, value: _Json) -> NoReturn:
    raise BadMessage(f"an answer with {name} {value!r}")


def encode_line(message: Mapping[str, object]) -> bytes:
    """Write a message as one line."""
    return json.dumps(message, ensure_ascii=True).encode() + b"\n"


def _object(line: bytes) -> dict[str, _Json]:
    try:
        message: _Json = json.loads(line)
    except (ValueError, RecursionError):
        raise BadMessage("a line that is no JSON") from None
    if not isinstance(message, dict):
        raise BadMessage("a line that is no JSON object")
    return message


def read_result(line: bytes) -> Reader:
    """Read the result of an answer.

    Raises:
        BadMessage: It refuses, or is no answer.
    """
    message = _object(line)
    if "error" in message:
        raise BadMessage(str(message["error"]))
    result = message.get("result")
    if not isinstance(result, dict):
        raise BadMessage("an answer without a result")
    return Reader(result)
