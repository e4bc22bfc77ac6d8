"""Plant a bug in the product from outside, and see whether the proof finds it.

A bug wraps one function of the product. The wrapper takes the function's place
wherever it is known, in a child process that ends with the trial, so nothing
is ever put back.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

from differential import run_cases
from namespaces import in_new_netns

Function = Callable[..., Any]
T = TypeVar("T")

SEED = 20261
# A bug is found by the first few; the rest is a margin.
N_POLICIES = 120


@dataclass(frozen=True, slots=True)
class Bug:
    """A way to be wrong.

    Attributes:
        name: What is wrong, for people.
        target: The function, as `module:name` or `module:class.name`.
        change: Makes the wrong function from the right one.
    """

    name: str
    target: str
    change: Callable[[Function], Function]


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of a bug.

    Attributes:
        n_calls: How often the wrong function was called.
        n_policies: How many policies were tried up to the first difference.
        problem: The first difference; empty when nobody noticed.
    """

    n_calls: int
    n_policies: int
    problem: str


def result(change: Callable[[T], object]) -> Callable[[Function], Function]:
    """Change what a function returns."""

    def wrap(original: Function) -> Function:
        return lambda *args, **words: change(original(*args, **words))

    return wrap


def first_argument(change: Callable[[T], object]) -> Callable[[Function], Function]:
    """Change the first argument that a function is given."""

    def wrap(original: Function) -> Function:
        def planted(first: T, *rest: object, **words: object) -> object:
            return original(change(first), *rest, **words)

        return planted

    return wrap


def second_argument(change: Callable[[T], object]) -> Callable[[Function], Function]:
    """Change the second argument that a function is given."""

    def wrap(original: Function) -> Function:
        def planted(first: object, second: T, *rest: object, **words: object) -> object:
            return original(first, change(second), *rest, **words)

        return planted

    return wrap


def try_bug(bug: Bug, n_policies: int = N_POLICIES) -> Finding:
    """Run the proof on the product with the bug in it, up to the first difference."""

    def body() -> Finding:
        calls: list[None] = []
        _plant(bug, calls)
        # Nothing is late here: what does not come out at once is the bug.
        outcome = run_cases(SEED, n_policies, grace_s=0.05, reads_back=False)
        problem = outcome.problems[0] if outcome.problems else ""
        return Finding(len(calls), outcome.tally["policies"], problem)

    return in_new_netns(body)


def _plant(bug: Bug, calls: list[None]) -> None:
    path, _, name = bug.target.partition(":")
    owner: object = import_module(path)
    *outer, name = name.split(".")
    for each in outer:
        owner = getattr(owner, each)
    original = getattr(owner, name)
    wrong = bug.change(original)

    def counted(*args: object, **words: object) -> object:
        calls.append(None)
        return wrong(*args, **words)

    setattr(owner, name, counted)
    for module in _modules():
        for key, value in list(vars(module).items()):
            if value is original:
                setattr(module, key, counted)
    _forget()


def _forget() -> None:
    """Clear every cache: what it holds was made by the right functions."""
    for module in _modules():
        for value in list(vars(module).values()):
            clear = getattr(value, "cache_clear", None)
            if clear is not None:
                clear()


def _modules() -> list[ModuleType]:
    return [each for name, each in sys.modules.items() if name.startswith("calico.")]
