"""One policy after another, judged by the oracle, the evaluator and the kernel.

    oracle(snapshot) == evaluate(compile(snapshot)) == kernel(render(compile))

Compared are the verdict on each packet, the places that it meets on its way,
and after each batch all counters of the kernel with what each witness says was
counted. All that belongs to one policy follows from its number, so a failure is
repeated with the one policy that it was a change of.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from cases import HOST, Draw
from judge import GRACE_S, Judge
from oracle import ruling
from packets import Aim, Letter
from policy_words import words_of

from calico.compiler.host import compile_host
from calico.ir.origin import FaultOrigin, Fixed, FixedOrigin, Origin
from calico.model.errors import KernelRejected
from calico.model.snapshot import Snapshot
from calico.verdict.evaluate import evaluate
from calico.verdict.trace import Trace

N_PACKETS = 150
REPAIRS = 1 / 8
TEST = "tests/kernel/test_differential.py"
# Places that let a packet pass without counting it.
UNCOUNTED = {
    place.value
    for place in (
        Fixed.ESTABLISHED,
        Fixed.RELATED,
        Fixed.OWN_HOST,
        Fixed.NOT_OURS,
        Fixed.SAME_ENDPOINT,
    )
}


@dataclass(slots=True)
class Outcome:
    """What came of some policies.

    Attributes:
        problems: The differences, in words; all of one policy.
        policy: That policy in words, and how to repeat it.
        tally: How many policies and packets of each kind were judged.
        met: How many packets met each kind of place.
    """

    problems: list[str] = field(default_factory=list[str])
    policy: str = ""
    tally: Counter[str] = field(default_factory=Counter[str])
    met: Counter[str] = field(default_factory=Counter[str])

    @property
    def report(self) -> str:
        """The first few differences, and where they were found."""
        return "\n".join((*self.problems[:3], self.policy))

    @property
    def n_cases(self) -> int:
        """How many packets were judged."""
        return self.tally["allowed"] + self.tally["denied"]


@dataclass(frozen=True, slots=True)
class Views:
    """What the two witnesses say of a packet.

    Attributes:
        wanted: The oracle's verdict.
        wanted_places: The oracle's places.
        trace: The evaluator's.
    """

    wanted: bool
    wanted_places: list[str]
    trace: Trace

    @property
    def origins(self) -> list[Origin]:
        """What the evaluator names, in order."""
        return [step.origin for step in self.trace.steps if step.origin]

    @property
    def places(self) -> list[str]:
        """The evaluator's places."""
        return [origin.text for origin in self.origins]

    def agree(self, *, came_out: bool) -> bool:
        """Tell whether all three say the same."""
        is_one = self.wanted == self.trace.allowed == came_out
        return is_one and self.wanted_places == self.places


def run_cases(
    seed: int,
    n_policies: int,
    *,
    grace_s: float = GRACE_S,
    reads_back: bool = True,
) -> Outcome:
    """Judge many random policies in this namespace, until one is judged wrong.

    Args:
        seed: The number of the first policy; the others follow it.
        n_policies: How many to try.
        grace_s: See `Judge`.
        reads_back: Whether to compare the whole table after each commit, too.
    """
    outcome = Outcome()
    judge = Judge.open(grace_s)
    for number in range(seed, seed + n_policies):
        random = Random(number)
        snapshot = Draw(random).snapshot(1)
        outcome.tally["policies"] += 1
        if enforce(judge, snapshot, random, outcome):
            if reads_back and (n_steps := judge.n_differences()):
                outcome.problems.append(f"a commit leaves out {n_steps} steps")
            try_packets(judge, Aim(random, snapshot), outcome)
        if outcome.problems:
            outcome.policy = f"{words_of(snapshot)}\n{_repeat(seed, number)}"
            break
    judge.close()
    return outcome


def _repeat(seed: int, number: int) -> str:
    """Say how to judge a policy again, as a change of the one before it."""
    first = max(seed, number - 1)
    return (
        f"repeat: CALICO_TEST_SEED={first} CALICO_TEST_POLICIES={number - first + 1}"
        f" .venv/bin/python -P -m pytest {TEST}"
    )


def enforce(judge: Judge, snapshot: Snapshot, random: Random, outcome: Outcome) -> bool:
    """Commit a policy, as a change of the former or as a repair of the table.

    Returns:
        Whether the kernel took it.
    """
    state = compile_host(snapshot, HOST)
    is_repair = random.random() < REPAIRS
    outcome.tally["repairs"] += is_repair
    try:
        if is_repair:
            judge.commit_repair(state)
        else:
            judge.commit_delta(state)
    except KernelRejected as error:
        outcome.problems.append(f"the kernel refuses the policy: {error}")
        return False
    return True


def try_packets(judge: Judge, aim: Aim, outcome: Outcome) -> None:
    """Judge packets that are aimed at a policy, and then their answers."""
    packets = aim.packets(N_PACKETS)
    letters = [Letter(each) for each in packets]
    passed = try_batch(judge, aim.snapshot, letters, outcome)
    try_batch(judge, aim.snapshot, aim.answers(packets, passed), outcome)


def try_batch(
    judge: Judge, snapshot: Snapshot, letters: Sequence[Letter], outcome: Outcome
) -> list[bool]:
    """Judge packets three ways, note every difference, and say what came out."""
    views = [
        Views(*ruling(snapshot, HOST, each.packet), evaluate(judge.state, each.packet))
        for each in letters
    ]
    before = judge.counts()
    fates = judge.fates(letters, [each.wanted for each in views])
    counted = judge.counts()
    counted.subtract(before)
    for letter, view, came_out in zip(letters, views, fates, strict=True):
        packet = letter.packet
        kind = "allowed" if came_out else "denied"
        outcome.tally.update((kind, f"IPv{packet.family.value}", packet.state.value))
        outcome.met.update(kind_of(origin) for origin in view.origins)
        if not view.agree(came_out=came_out):
            outcome.problems.append(_show(letter, view, came_out=came_out))
    places = [view.wanted_places for view in views]
    outcome.problems += wrong_counts("oracle", places, counted)
    places = [view.places for view in views]
    outcome.problems += wrong_counts("evaluator", places, counted)
    return fates


def kind_of(origin: Origin) -> str:
    """Name the kind of a place; one that is the same everywhere is its own kind."""
    match origin:
        case FixedOrigin():
            return origin.place.name
        case FaultOrigin():
            return origin.fault.name
        case _:
            return type(origin).__name__


def wrong_counts(
    witness: str, places: Sequence[Sequence[str]], counted: Counter[str]
) -> list[str]:
    """Compare what the kernel counted in one batch with what a witness says."""
    expected = Counter(
        place for one in places for place in one if place not in UNCOUNTED
    )
    return [
        f"`{place}`: {expected[place]} packets by the {witness},"
        f" {counted[place]} by the kernel's counter"
        for place in sorted(expected.keys() | counted.keys())
        if expected[place] != counted[place]
    ]


def _show(letter: Letter, view: Views, *, came_out: bool) -> str:
    def word(verdict: bool) -> str:  # noqa: FBT001 -- the value that is shown
        return "allowed" if verdict else "denied"

    return (
        f"{letter.packet}\n"
        f"  oracle:    {word(view.wanted)} by {view.wanted_places}\n"
        f"  evaluator: {word(view.trace.allowed)} by {view.places}\n"
        f"  kernel:    {word(came_out)}"
    )
