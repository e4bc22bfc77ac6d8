"""When a walk begins, goes on, is given up and begun again."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from calico.agent.cutter import Walk
from calico.agent.cutting import CUT_WITHIN_S, QUIET_S, Cutting
from calico.agent.suspects import Suspects
from calico.ir.state import DesiredState
from calico.model.errors import Unavailable
from calico.store.following import pause_after

ONE, TWO, THREE = (ip_address(f"10.65.0.{n}").packed for n in (1, 2, 3))
STATE = DesiredState()


def judged(*addresses: bytes) -> Suspects:
    return Suspects(frozenset(addresses))


def gone(*addresses: bytes) -> Suspects:
    return Suspects(gone=frozenset(addresses))


@dataclass
class Script:
    """A cutter whose walks have so many pieces, `None` for one that breaks off."""

    walks: list[int | None]
    begun: list[Suspects] = field(default_factory=list[Suspects])
    told: list[str | None] = field(default_factory=list[str | None])
    n_waited: int = 0
    n_pieces: int = 0

    def begin(self, suspects: Suspects) -> Walk:
        assert self.n_waited == len(self.begun) + 1, "packets are under way"
        self.begun.append(suspects)
        return Walk(suspects, self._pieces(self.walks.pop(0)))

    def _pieces(self, number: int | None) -> Iterator[tuple[()]]:
        yield ()
        if number is None:
            raise Unavailable("conntrack", "broke off")
        for _ in range(number - 1):
            yield ()

    def go_on(self, walk: Walk, state: DesiredState) -> bool:
        assert state is STATE
        for _ in walk.pieces:
            self.n_pieces += 1
            return True
        return False

    def wait(self) -> None:
        self.n_waited += 1


def made(*walks: int | None) -> tuple[Cutting, Script]:
    script = Script([*walks])
    return Cutting(script, script.wait, script.told.append), script


def work(cutting: Cutting, now: float, *, is_idle: bool = True) -> None:
    cutting.work(lambda: STATE, now, is_idle=is_idle)


def test_nothing_suspected_begins_nothing() -> None:
    cutting, script = made()
    cutting.suspect(Suspects(), 0.0)
    work(cutting, 1000.0)
    assert cutting.next_due() is None
    assert script.begun == []


def test_walk_begins_when_it_has_been_quiet_and_else_when_due() -> None:
    cutting, script = made(1, 1)
    cutting.suspect(judged(ONE), 10.0)
    assert cutting.next_due() == 10.0 + QUIET_S
    cutting.suspect(judged(TWO), 10.0 + CUT_WITHIN_S - QUIET_S / 2)
    assert cutting.next_due() == 10.0 + CUT_WITHIN_S
    work(cutting, 10.0 + CUT_WITHIN_S - QUIET_S / 2)
    assert script.begun == []
    work(cutting, 10.0 + CUT_WITHIN_S, is_idle=False)
    assert script.begun == [judged(ONE, TWO)]
    work(cutting, 11.0)
    cutting.suspect(judged(THREE), 20.0)
    work(cutting, 20.0)
    work(cutting, 20.0 + QUIET_S, is_idle=False)
    assert script.begun[1:] == []
    work(cutting, 20.0 + QUIET_S)
    assert script.begun[1:] == [judged(THREE)]


def test_walk_goes_on_by_one_piece_and_what_comes_meanwhile_waits() -> None:
    cutting, script = made(3, 1)
    cutting.suspect(judged(ONE), 0.0)
    for number in (1, 2, 3):
        work(cutting, QUIET_S, is_idle=number == 1)
        assert script.n_pieces == number
        assert cutting.next_due() == 0.0
        cutting.suspect(judged(TWO), 0.0)
        assert cutting.pending() == judged(ONE, TWO)
    work(cutting, QUIET_S)
    assert script.begun == [judged(ONE)]
    assert cutting.next_due() == QUIET_S
    work(cutting, QUIET_S)
    assert script.begun == [judged(ONE), judged(TWO)]
    work(cutting, QUIET_S)
    assert cutting.next_due() is None
    assert not cutting.pending()


def test_walk_that_breaks_off_is_told_and_begun_again_later_with_all() -> None:
    cutting, script = made(None, None, 1)
    cutting.suspect(judged(ONE), 0.0)
    work(cutting, QUIET_S)
    cutting.suspect(judged(TWO), 0.0)
    work(cutting, QUIET_S)
    assert script.told[0] is not None
    assert "broke off" in script.told[0]
    pause = QUIET_S + pause_after(1)
    assert cutting.next_due() == pause
    cutting.suspect(judged(THREE), 0.0)
    work(cutting, pause / 2)
    assert script.begun == [judged(ONE)]
    work(cutting, pause)
    work(cutting, pause)
    assert cutting.next_due() == pause + pause_after(2)
    work(cutting, pause + pause_after(2))
    work(cutting, pause + pause_after(2))
    assert script.begun[1:] == [judged(ONE, TWO, THREE)] * 2
    assert (len(script.told), script.told[-1]) == (3, None)
    assert cutting.next_due() is None


def test_address_that_comes_back_has_all_done_at_once() -> None:
    cutting, script = made(5, 2)
    cutting.suspect(judged(TWO), 0.0)
    work(cutting, QUIET_S)
    cutting.suspect(gone(ONE), 0.0)
    assert cutting.pending().gone == {ONE}
    cutting.finish(lambda: STATE, 0.0)
    assert script.begun == [judged(TWO), gone(ONE)]
    assert script.n_pieces == 7
    assert cutting.next_due() is None


def test_flows_of_an_address_that_comes_back_are_judged_if_they_cannot_go() -> None:
    cutting, script = made(None, 1)
    cutting.suspect(gone(ONE), 0.0)
    cutting.finish(lambda: STATE, 0.0)
    assert cutting.pending() == judged(ONE)
    work(cutting, pause_after(1))
    assert script.begun == [gone(ONE), judged(ONE)]
