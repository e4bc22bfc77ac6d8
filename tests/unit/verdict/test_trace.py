from calico.ir.origin import Fixed, FixedOrigin
from calico.model.rule import Action
from calico.verdict.trace import Miss, Stage, Step, Trace, Trial


def test_step_without_outcome_lets_the_packet_go_on() -> None:
    step = Step(Stage.OUTBOUND, None)
    assert (step.outcome, step.origin, step.profile, step.trials) == (
        None,
        None,
        None,
        (),
    )


def test_equal_ways_are_equal_traces() -> None:
    origin = FixedOrigin(Fixed.ESTABLISHED)

    def trace() -> Trace:
        step = Step(Stage.CONNECTION, None, Action.ALLOW, origin)
        return Trace(allowed=True, origin=origin, steps=(step,))

    assert trace() == trace()


def test_words_are_told_apart() -> None:
    for words in (Miss, Stage):
        assert len({each.value for each in words}) == len(words)
    assert Trial.__slots__ == ("rule", "miss")
