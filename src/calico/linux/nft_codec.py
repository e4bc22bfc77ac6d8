"""Write the steps of a transaction as one batch of messages.

Every step becomes one message or several. Their sequence numbers ascend, so
that a refusal leads back to the step it belongs to.
"""

import socket
import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from calico.linux.netfilter import (
    ACK,
    APPEND,
    CREATE,
    HEADER,
    REQUEST,
    attribute,
    attributes,
    be32,
    nest,
    string,
)
from calico.linux.nft_elements import (
    encode_anonymous_elements,
    encode_anonymous_set,
    encode_comment,
    encode_map_elements,
    encode_map_keys,
    encode_members,
    encode_ranges,
    encode_set,
)
from calico.linux.nft_expressions import encode_statement
from calico.linux.nft_wire import (
    BATCH_BEGIN,
    BATCH_END,
    FAMILY_INET,
    SUBSYSTEM,
    VERDICT_ACCEPT,
    ChainAttr,
    ElementsAttr,
    HookAttr,
    Msg,
    RuleAttr,
    SetAttr,
)
from calico.render.objects import Chain, InRanges, NftRule
from calico.render.transaction import (
    AddChain,
    AddElements,
    AddMembers,
    AddRanges,
    AddRule,
    AddSet,
    DeleteChain,
    DeleteElements,
    DeleteMembers,
    DeleteSet,
    FlushChain,
    FlushSet,
    Step,
)

_GENERIC = struct.Struct("=BBH")
_INET = _GENERIC.pack(FAMILY_INET, 0, 0)
_FLAGS_OFFSET = 6
_FLAGS = struct.Struct("=H")


def generic_header(family: int) -> bytes:
    """Return the fixed part of a netfilter message's body."""
    return _GENERIC.pack(family, 0, 0)


@dataclass(slots=True)
class Batch:
    """The messages of one transaction.

    Args:
        table: The name of the table that everything is in.
        sequence: The last sequence number that is taken.
    """

    table: str
    sequence: int
    _parts: list[bytes] = field(default_factory=list[bytes])
    _starts: list[int] = field(default_factory=list[int])
    _n_sets: int = 0
    _name: bytes = b""

    def __post_init__(self) -> None:
        # The attribute has number 1 in messages about every kind of object.
        self._name = string(1, self.table)
        self._frame(BATCH_BEGIN)

    def add_table(self, flags: int) -> None:
        """Make the table, or tell the kernel the flags it should have."""
        self._starts.append(self.sequence + 1)
        self._put(Msg.NEWTABLE, CREATE, be32(2, flags))

    def delete_table(self) -> None:
        """Take the table out with all that is in it."""
        self._starts.append(self.sequence + 1)
        self._put(Msg.DELTABLE, 0)

    def add_steps(self, steps: Sequence[Step]) -> None:
        """Write the steps, in order."""
        for step in steps:
            self._starts.append(self.sequence + 1)
            self._add(step)

    def add_expressions(self, chain: str, *expressions: bytes) -> None:
        """Append a rule that no statement can say, made of encoded expressions."""
        self._starts.append(self.sequence + 1)
        body = string(RuleAttr.CHAIN, chain), nest(RuleAttr.EXPRESSIONS, *expressions)
        self._put(Msg.NEWRULE, CREATE | APPEND, *body)

    def finish(self) -> bytes:
        """Return the batch; the last message that does something is answered."""
        last = bytearray(self._parts[-1])
        flags = _FLAGS.unpack_from(last, _FLAGS_OFFSET)[0]
        _FLAGS.pack_into(last, _FLAGS_OFFSET, flags | ACK)
        self._parts[-1] = bytes(last)
        self._frame(BATCH_END)
        return b"".join(self._parts)

    def step_of(self, sequence: int) -> int | None:
        """Find the step that a message belongs to; `None` for the batch itself."""
        if not self._starts or not self._starts[0] <= sequence < self.sequence:
            return None
        return bisect_right(self._starts, sequence) - 1

    def name_at(self, sequence: int, offset: int) -> str:
        """Read the name that a message holds at an offset, if it is one."""
        index = len(self._parts) - 1 - (self.sequence - sequence)
        if not offset or not 0 < index < len(self._parts) - 1:
            return ""
        for _, payload in attributes(self._parts[index][offset:]):
            text = payload[:-1]
            if payload.endswith(b"\0") and text and text.isascii():
                name = text.decode()
                return name if name.isprintable() else ""
            return ""
        return ""

    def _frame(self, kind: int) -> None:
        self.sequence += 1
        # The subsystem goes where other messages have a resource id.
        body = _GENERIC.pack(0, 0, socket.htons(SUBSYSTEM >> 8))
        size = HEADER.size + len(body)
        self._parts.append(HEADER.pack(size, kind, REQUEST, self.sequence, 0) + body)

    def _put(self, kind: Msg, flags: int, *rest: bytes) -> None:
        self.sequence += 1
        body = b"".join((_INET, self._name, *rest))
        size = HEADER.size + len(body)
        header = HEADER.pack(size, SUBSYSTEM | kind, REQUEST | flags, self.sequence, 0)
        self._parts.append(header + body)

    def _put_all(self, kind: Msg, bodies: Iterable[bytes]) -> None:
        for body in bodies:
            self._put(kind, CREATE, body)

    def _add(self, step: Step) -> None:
        match step:
            case AddChain() | DeleteChain() | FlushChain() | AddRule():
                self._add_to_chains(step)
            case AddSet() | DeleteSet() | FlushSet():
                self._add_to_sets(step)
            case AddMembers():
                members = encode_members(step.spec, step.keys)
                self._put_all(Msg.NEWSETELEM, members)
            case DeleteMembers():
                members = encode_members(step.spec, step.keys)
                self._put_all(Msg.DELSETELEM, members)
            case AddRanges():
                ranges = encode_ranges(step.spec, step.ranges)
                self._put_all(Msg.NEWSETELEM, ranges)
            case AddElements():
                elements = encode_map_elements(step.spec, step.elements)
                self._put_all(Msg.NEWSETELEM, elements)
            case DeleteElements():
                keys = encode_map_keys(step.spec, [key for key, _ in step.elements])
                self._put_all(Msg.DELSETELEM, keys)
            case _:
                assert_never(step)

    def _add_to_chains(
        self, step: AddChain | DeleteChain | FlushChain | AddRule
    ) -> None:
        match step:
            case AddChain():
                self._put(Msg.NEWCHAIN, CREATE, encode_chain(step.chain))
            case DeleteChain():
                self._put(Msg.DELCHAIN, 0, string(ChainAttr.NAME, step.name))
            case FlushChain():
                self._put(Msg.DELRULE, 0, string(RuleAttr.CHAIN, step.name))
            case AddRule():
                self._add_rule(step.chain, step.rule)
            case _:
                assert_never(step)

    def _add_to_sets(self, step: AddSet | DeleteSet | FlushSet) -> None:
        match step:
            case AddSet():
                self._n_sets += 1
                self._put(Msg.NEWSET, CREATE, encode_set(step.spec, self._n_sets))
            case DeleteSet():
                self._put(Msg.DELSET, 0, string(SetAttr.NAME, step.name))
            case FlushSet():
                self._put(Msg.DELSETELEM, 0, string(ElementsAttr.SET, step.name))
            case _:
                assert_never(step)

    def _add_rule(self, chain: str, rule: NftRule) -> None:
        expressions = [encode_statement(s, self._new_set) for s in rule.statements]
        parts = [
            string(RuleAttr.CHAIN, chain),
            nest(RuleAttr.EXPRESSIONS, *expressions),
        ]
        if comment := encode_comment(rule.comment):
            parts.append(attribute(RuleAttr.USERDATA, comment))
        self._put(Msg.NEWRULE, CREATE | APPEND, *parts)

    def _new_set(self, statement: InRanges) -> int:
        self._n_sets += 1
        number = self._n_sets
        self._put(Msg.NEWSET, CREATE, encode_anonymous_set(statement, number))
        self._put_all(Msg.NEWSETELEM, encode_anonymous_elements(statement, number))
        return number


def encode_chain(chain: Chain) -> bytes:
    """Return the attributes of a chain, behind those of its table."""
    name = string(ChainAttr.NAME, chain.name)
    if chain.hook is None:
        return name
    return b"".join(
        (
            name,
            nest(
                ChainAttr.HOOK,
                be32(HookAttr.NUMBER, chain.hook.point.value),
                be32(HookAttr.PRIORITY, chain.hook.priority),
            ),
            be32(ChainAttr.POLICY, VERDICT_ACCEPT),
            string(ChainAttr.TYPE, chain.hook.hook_type.value),
        )
    )


def describe_step(step: Step) -> str:
    """Name a step and what it is about, for people."""
    match step:
        case AddChain():
            text = f"adding chain `{step.chain.name}`"
        case AddRule():
            text = f"adding rule `{step.rule.comment}` to chain `{step.chain}`"
        case DeleteChain() | FlushChain():
            text = f"emptying or removing chain `{step.name}`"
        case AddSet():
            text = f"adding set `{step.spec.name}`"
        case DeleteSet() | FlushSet():
            text = f"emptying or removing set `{step.name}`"
        case AddMembers() | AddRanges() | AddElements():
            text = f"adding elements to set `{step.spec.name}`"
        case DeleteMembers() | DeleteElements():
            text = f"removing elements from set `{step.spec.name}`"
        case _:
            assert_never(step)
    return text
