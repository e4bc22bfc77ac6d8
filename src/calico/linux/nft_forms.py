"""Bring what the kernel holds and what we would write into one normal form.

Two rules are equal when their forms are. A form has no counter values, no
handles and no set numbers; an anonymous set is replaced by the ranges that it
holds, so its name and kind do not count. What we never write keeps a form too,
one that equals nothing of ours.

The form of a rule or set of ours is taken from the bytes that we would send.
So there is one reader of expressions, and it need not know what they mean.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from calico.linux.netfilter import attributes, read_be32, read_string
from calico.linux.nft_elements import encode_set
from calico.linux.nft_expressions import encode_statement, needs_set
from calico.linux.nft_wire import (
    DESCRIPTION_SIZE,
    DYNSET_EXPRESSION,
    EXPRESSION_DATA,
    EXPRESSION_NAME,
    IMMEDIATE_DATA,
    LOOKUP_FLAGS,
    LOOKUP_SET,
    LOOKUP_SET_ID,
    Data,
    SetAttr,
    SetFlag,
    VerdictAttr,
)
from calico.render.objects import Hook, InRanges, NftRule, SetSpec, Statement

Ranges = tuple[tuple[int, int], ...]
ExpressionForm = tuple[Hashable, ...]
RuleForm = tuple[ExpressionForm, ...]

_NO_NAMES: Mapping[str, Ranges] = {}


@dataclass(frozen=True, slots=True)
class HookForm:
    """What makes a base chain of any program.

    Attributes:
        hook_type: nft's word.
        point: The kernel's number.
        priority: Lower runs first.
    """

    hook_type: str
    point: int
    priority: int


@dataclass(frozen=True, slots=True)
class SetForm:
    """What a set is, without its elements.

    Attributes:
        flags: The kernel's.
        key_type: How nft(8) prints keys.
        key_bytes: The length of a key.
        data_type: What a map holds; 0 for a set.
        expressions: The names of those that each element has.
        limits: Size and timeout, where someone has set them.
    """

    flags: int
    key_type: int
    key_bytes: int
    data_type: int
    expressions: tuple[str, ...]
    limits: tuple[int, int]

    @property
    def is_map(self) -> bool:
        """Whether elements have a value."""
        return bool(self.flags & SetFlag.MAP)

    @property
    def is_interval(self) -> bool:
        """Whether elements are ends of ranges."""
        return bool(self.flags & SetFlag.INTERVAL)

    @property
    def is_filled_by_packets(self) -> bool:
        """Whether its elements come and go with the traffic."""
        return bool(self.flags & SetFlag.EVAL)

    @property
    def is_anonymous(self) -> bool:
        """Whether it belongs to one rule."""
        return bool(self.flags & SetFlag.ANONYMOUS)


def form_of_hook(hook: Hook | None) -> HookForm | None:
    """Return the form of our chain's hook."""
    if hook is None:
        return None
    return HookForm(hook.hook_type.value, hook.point.value, hook.priority)


@lru_cache(maxsize=4096)
def form_of_spec(spec: SetSpec) -> SetForm:
    """Return the form of our set."""
    return form_of_set(dict(attributes(encode_set(spec, 1))))


def form_of_set(found: Mapping[int, bytes]) -> SetForm:
    """Return the form of a set that the kernel or we described."""

    def number(kind: SetAttr) -> int:
        return read_be32(found.get(kind, b""))

    description = dict(attributes(found.get(SetAttr.DESCRIPTION, b"")))
    single = found.get(SetAttr.EXPRESSION)
    several = [each for _, each in attributes(found.get(SetAttr.EXPRESSIONS, b""))]
    return SetForm(
        flags=number(SetAttr.FLAGS),
        key_type=number(SetAttr.KEY_TYPE),
        key_bytes=number(SetAttr.KEY_LENGTH),
        data_type=number(SetAttr.DATA_TYPE),
        expressions=_names([single] if single is not None else several),
        limits=(
            read_be32(description.get(DESCRIPTION_SIZE, b"")),
            int.from_bytes(found.get(SetAttr.TIMEOUT, b""), "big"),
        ),
    )


def _names(expressions: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(
        read_string(dict(attributes(each)).get(EXPRESSION_NAME, b""))
        for each in expressions
    )


def form_of_rule(rule: NftRule) -> RuleForm:
    """Return the form of our rule."""
    return tuple(form for each in rule.statements for form in _form_of(each))


@lru_cache(maxsize=16_384)
def _form_of(statement: Statement) -> RuleForm:
    # The number of the set that it would need has no place in a form.
    forms = FormReader(_NO_NAMES).read(encode_statement(statement, lambda _: 0))
    if isinstance(statement, InRanges) and needs_set(statement):
        name, _, *rest = forms[-1]
        return (*forms[:-1], (name, statement.ranges, *rest))
    return forms


class FormReader:
    """Reads the forms of rules out of one table.

    Args:
        anonymous: What the table's anonymous sets hold, by name.
    """

    def __init__(self, anonymous: Mapping[str, Ranges]) -> None:
        self._anonymous = anonymous
        # Rules are made of few different expressions.
        self._seen: dict[bytes, ExpressionForm] = {}

    def read(self, expressions: bytes) -> RuleForm:
        """Return the form of a rule, given its list of expressions."""
        forms: list[ExpressionForm] = []
        for _, each in attributes(expressions):
            form = self._seen.get(each)
            if form is None:
                form = self._seen[each] = self._read_one(each)
            forms.append(form)
        return tuple(forms)

    def _read_one(self, raw: bytes) -> ExpressionForm:
        parts = dict(attributes(raw))
        name = read_string(parts.get(EXPRESSION_NAME, b""))
        found = dict(attributes(parts.get(EXPRESSION_DATA, b"")))
        match name:
            case "counter":
                return (name,)
            case "lookup":
                return self._look_up(found)
            case "dynset" if DYNSET_EXPRESSION in found:
                # Nested deeper, and the kernel marks it otherwise than we do.
                inner = self._read_one(found.pop(DYNSET_EXPRESSION))
                return (name, inner, *sorted(found.items()))
            case "immediate" if IMMEDIATE_DATA in found:
                return _immediate(found)
            case _:
                return (name, *sorted(found.items()))

    def _look_up(self, found: dict[int, bytes]) -> ExpressionForm:
        found.pop(LOOKUP_SET_ID, None)
        name = read_string(found.pop(LOOKUP_SET, b""))
        # Old kernels leave the flags out when there are none.
        found.setdefault(LOOKUP_FLAGS, bytes(4))
        return ("lookup", self._anonymous.get(name, name), *sorted(found.items()))


def _immediate(found: dict[int, bytes]) -> ExpressionForm:
    """Return the form of a verdict, whose parts are nested deeper than others."""
    content = dict(attributes(found.pop(IMMEDIATE_DATA)))
    rest = sorted(found.items())
    if Data.VERDICT not in content:
        return ("immediate", content.get(Data.VALUE), *rest)
    return ("immediate", *read_verdict(content[Data.VERDICT]), *rest)


def read_verdict(payload: bytes) -> tuple[int, str | None]:
    """Return a verdict's code, negative for nft's own ones, and its chain."""
    parts = dict(attributes(payload))
    code = int.from_bytes(parts.get(VerdictAttr.CODE, b""), "big", signed=True)
    chain = parts.get(VerdictAttr.CHAIN)
    return code, None if chain is None else read_string(chain)
