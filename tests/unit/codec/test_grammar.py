"""Patterns: what they match, and what they say about what they do not match."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.codec.grammar import (
    END,
    Match,
    Mismatch,
    compile_pattern,
    match_words,
    show_expected,
)


def found(pattern: str, sentence: str, **parts: str) -> Match | Mismatch:
    return match_words(compile_pattern(pattern, parts), sentence.split())


@pytest.mark.parametrize(
    ("pattern", "sentence", "keywords", "values"),
    [
        ("", "", "", {}),
        ("show", "show", "show", {}),
        ("add <A>", "add x", "add", {"A": ("x",)}),
        ("[add] <A>", "x", "", {"A": ("x",)}),
        ("[add] <A>", "add", "", {"A": ("add",)}),
        ("(on|off) [now]", "off now", "off now", {}),
        ("<A>...", "x y z", "", {"A": ("x", "y", "z")}),
        ("<A>... end", "x end end", "end", {"A": ("x", "end")}),
        ("set [<A>...]", "set", "set", {}),
        ("set [<A>...]", "set x y", "set", {"A": ("x", "y")}),
        ("(add <A>)...", "add x add y", "add", {"A": ("x", "y")}),
        (
            "exec <A> -- <B>...",
            "exec x -- -- y",
            "exec --",
            {"A": ("x",), "B": ("--", "y")},
        ),
        ("[a | b | ]", "b", "b", {}),
    ],
)
def test_sentence_matches(
    pattern: str, sentence: str, keywords: str, values: dict[str, tuple[str, ...]]
) -> None:
    assert found(pattern, sentence) == Match(frozenset(keywords.split()), values)


def test_named_part_is_found_whole_and_in_pieces() -> None:
    match = found("do <RULE> [now]", "do allow x now", RULE="(allow|deny) [<WHAT>]")
    assert isinstance(match, Match)
    assert match.values == {"RULE": ("allow", "x"), "WHAT": ("x",)}
    assert match.get("WHAT") == "x"
    assert match.get("OTHER") is None


@pytest.mark.parametrize(
    ("pattern", "sentence", "index", "expected"),
    [
        ("show", "", 0, ("show",)),
        ("show", "shov", 0, ("show",)),
        ("show", "show x", 1, (END,)),
        ("add <A>", "add", 1, ("<A>",)),
        ("add <A> [in|out]", "add x up", 2, ("in", "out", END)),
        ("(add <A> | del) x", "add y z", 2, ("x",)),
        ("<A>...", "", 0, ("<A>",)),
        ("add <A>", "add --", 1, ("<A>",)),
    ],
)
def test_mismatch_names_the_furthest_word_and_what_fits(
    pattern: str, sentence: str, index: int, expected: tuple[str, ...]
) -> None:
    mismatch = found(pattern, sentence)
    assert isinstance(mismatch, Mismatch)
    assert (mismatch.at, mismatch.expected) == (index, expected)
    assert mismatch.keywords == {e for e in expected if e != END and e[0] != "<"}


@pytest.mark.parametrize("pattern", ["[a", "(a", "a)", "a]"])
def test_pattern_with_unbalanced_brackets_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="bracket"):
        compile_pattern(pattern)


def test_expectation_reads_as_a_sentence() -> None:
    assert show_expected(("<A>",), frozenset()) == "<A>"
    assert show_expected(("in", "<A>", END), frozenset({"in"})) == (
        "'in', <A> or end of command"
    )


@given(st.lists(st.sampled_from(["add", "show", "x", "--", ""]), max_size=8))
def test_any_sentence_matches_or_not(words: list[str]) -> None:
    pattern = compile_pattern("[add [<A>...] | show (<B>)... [--] <C>] [x]...")
    outcome = match_words(pattern, words)
    if isinstance(outcome, Mismatch):
        assert 0 <= outcome.at <= len(words)
        assert outcome.expected
