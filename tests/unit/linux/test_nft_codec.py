from typing import get_args

import pytest

from calico.linux.netfilter import Message, messages
from calico.linux.nft_codec import Batch, describe_step
from calico.linux.nft_forms import FormReader, form_of_rule, form_of_spec
from calico.linux.nft_read import KernelChain, KernelRule, KernelTable
from calico.linux.nft_repair import repair_steps
from calico.render.objects import (
    Chain,
    Field,
    Hook,
    HookPoint,
    HookType,
    InRanges,
    InSet,
    MapElement,
    NftRule,
    Ruleset,
    SetSpec,
    Verdict,
    VerdictKind,
)
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
    diff_rulesets,
)

TAG = SetSpec("tag4-WEB", (Field.IP4_SOURCE,))
PORTS = SetSpec("ports", (Field.DESTINATION_PORT,), is_verdict_map=True)
POOLS = SetSpec("pools", (Field.IP4_DESTINATION,), is_interval=True)
DROP = Verdict(VerdictKind.DROP)
SEVERAL = InRanges(Field.SOURCE_PORT, ((1, 1), (5, 9)))
ELEMENTS = ((b"\x00\x50", MapElement(DROP, "web")),)
STEPS: tuple[Step, ...] = (
    AddChain(Chain("x", (), Hook(HookType.FILTER, HookPoint.INPUT, -5))),
    DeleteChain("x"),
    FlushChain("x"),
    AddRule("x", NftRule((SEVERAL, DROP), "WEB rule 1")),
    AddSet(TAG),
    DeleteSet("tag4-WEB"),
    FlushSet("tag4-WEB"),
    AddMembers(TAG, (b"\x01\x02\x03\x04",)),
    DeleteMembers(TAG, (b"\x01\x02\x03\x04",)),
    AddRanges(POOLS, ((1, 5),)),
    AddElements(PORTS, ELEMENTS),
    DeleteElements(PORTS, ELEMENTS),
)


def encode(steps: tuple[Step, ...]) -> tuple[Batch, list[Message]]:
    batch = Batch("calico", 100)
    batch.add_steps(steps)
    return batch, list(messages(batch.finish()))


KINDS = [[3], [5], [8], [9, 12, 6], [9], [11], [14], [12], [14], [12], [12], [14]]


@pytest.mark.parametrize(("step", "kinds"), list(zip(STEPS, KINDS, strict=True)))
def test_step_becomes_these_messages(step: Step, kinds: list[int]) -> None:
    _, sent = encode((step,))
    assert [each.kind for each in sent] == [0x10, *(2560 + k for k in kinds), 0x11]


def test_only_the_last_message_is_acknowledged() -> None:
    _, sent = encode(STEPS)
    assert [bool(each.flags & 4) for each in sent] == [
        *(False for _ in sent[:-2]),
        True,
        False,
    ]


def test_sequence_numbers_lead_back_to_the_steps() -> None:
    batch, sent = encode(STEPS)
    found = [batch.step_of(each.sequence) for each in sent]
    assert found == [None, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, None]


def test_offset_leads_to_a_name() -> None:
    batch, sent = encode((DeleteChain("absent"),))
    sequence = sent[1].sequence
    # Behind the header of 20 bytes and the table's name.
    assert batch.name_at(sequence, 20 + 12) == "absent"
    assert batch.name_at(sequence, 0) == ""
    assert batch.name_at(sequence, 400) == ""
    assert batch.name_at(5, 32) == ""


@pytest.mark.parametrize("step", STEPS)
def test_step_is_described_by_what_it_is_about(step: Step) -> None:
    text = describe_step(step)
    assert any(name in text for name in ("`x`", "`tag4-WEB`", "`ports`", "`pools`"))


def test_every_step_has_a_case_here() -> None:
    assert {type(step) for step in STEPS} == set(get_args(Step))


def test_equal_tables_need_no_steps() -> None:
    rule = NftRule((SEVERAL, InSet(TAG.key, TAG.name), DROP), "x" * 400)
    wanted = Ruleset(
        chains={"c": Chain("c", (rule,))},
        sets={TAG.name: TAG},
        members={TAG.name: frozenset({b"\x01\x02\x03\x04"})},
    )
    kernel = KernelTable(
        flags=0,
        chains={
            "c": KernelChain(
                None, accepts=True, rules=(KernelRule(form_of_rule(rule), "x" * 251),)
            )
        },
        sets={TAG.name: form_of_spec(TAG)},
        members={TAG.name: frozenset({b"\x01\x02\x03\x04"})},
    )
    assert repair_steps(kernel, wanted) == ()
    assert set(repair_steps(None, wanted)) == set(diff_rulesets(Ruleset(), wanted))


def test_unknown_expression_has_a_form_that_is_none_of_ours() -> None:
    assert FormReader({}).read(b"\x0c\0\x01\0\x08\0\x01\0log\0") == (("log",),)
