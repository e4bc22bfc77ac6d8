"""Get a desired state into the kernel, whatever stands in the way.

A change goes in as one commit. Where it does not fit, or must not be seen at
once, it is cut (`phases`, `splitting`). Where the kernel refuses it, the table
is read back and repaired as a whole; if that is refused too, the profiles that
cause it are found and denied by name, and the rest goes in.
"""

from collections.abc import Sequence
from enum import Enum

from calico.agent.journal import Journal
from calico.agent.phases import Phase, split_delta, split_moves
from calico.agent.refusal import find_refused, without_profiles
from calico.agent.splitting import (
    ClosedOrder,
    Present,
    cut_steps,
    halves,
    order_closed,
)
from calico.agent.uses import Uses
from calico.compiler.incremental import HostCompiler
from calico.control.protocol import Counter
from calico.ir.delta import Delta
from calico.ir.state import DesiredState
from calico.linux.grace import membarrier
from calico.linux.nft_read import KernelTable
from calico.linux.nft_repair import repair_steps
from calico.linux.nft_socket import NftSocket
from calico.model.errors import BatchTooLarge, KernelRejected
from calico.model.names import ProfileId
from calico.render.drops import render_log_probe
from calico.render.layout import render_delta, render_guard, render_state
from calico.render.objects import Ruleset
from calico.render.transaction import Step, diff_rulesets

GUARDED_PREFIXES = ("cali",)
"""Which interfaces are workloads' before any setting has been read."""

_GUARD_CHAIN = "source-check"


class Ownership(Enum):
    """Whether our table is ours alone, as the supervisor found it."""

    OWNED = "owned"
    SHARED = "shared"


class Dataplane:
    """Our table.

    Args:
        nft: The socket that owns the table, where the kernel can.
        journal: Where lines go.
        ownership: How the table is made anew if it is gone.

    Attributes:
        can_log: Drops can be told to the kernel's packet log.
    """

    def __init__(self, nft: NftSocket, journal: Journal, ownership: Ownership) -> None:
        self._nft = nft
        self._journal = journal
        self._ownership = ownership
        self._n_mended = 0
        self.can_log = True

    def is_fresh(self) -> bool:
        """Report whether the table has none of our base chains."""
        table = self._nft.read_table()
        return table is None or _GUARD_CHAIN not in table.chains

    def probe_log(self) -> str:
        """Find out whether this kernel can log drops; nothing stays of it.

        Returns:
            Why it cannot; empty when it can.
        """
        probe, nothing = render_log_probe(), Ruleset()
        steps = (*diff_rulesets(nothing, probe), *diff_rulesets(probe, nothing))
        try:
            self._nft.commit(steps)
        except KernelRejected as error:
            self.can_log = False
            return str(error)
        return ""

    def put_guard(self) -> None:
        """Let nothing from or to a workload pass, in a table that is fresh."""
        self._repair_to(render_guard(GUARDED_PREFIXES, drop_log=self.can_log))
        self._journal.info("start", "the catch-all drop is in the kernel")

    def counters(self) -> tuple[Counter, ...]:
        """Read the counter of every rule and element that has one."""
        return tuple(
            Counter(comment, where, packets, n_bytes)
            for (where, comment), (
                packets,
                n_bytes,
            ) in self._nft.read_counters().items()
        )

    def apply(self, delta: Delta, before: Uses, compiler: HostCompiler) -> bool:
        """Make a change.

        Args:
            delta: What the compiler's last turn said.
            before: Who used what until now.
            compiler: Says what the whole should be, should it be needed.

        Returns:
            Whether the kernel took it. Otherwise the compiler has been told
            which profiles to deny, and has more to say than `delta`.

        Raises:
            KernelRejected: The kernel refuses it even without every profile.
        """
        try:
            parts = split_moves(delta, before)
            self._apply_part(parts[0], before, compiler)
            for part in parts[1:]:
                membarrier()
                self._apply_part(part, before, compiler)
        except KernelRejected as error:
            self._journal.error("kernel", f"{error}; reading back and repairing")
            n_before = len(compiler.state().problems)
            n_steps = self.repair_or_refuse(compiler)
            if len(compiler.state().problems) != n_before:
                return False
            # Nothing is wrong with what we want, so the table was not as we left it.
            self._n_mended += n_steps
        return True

    def take_mended(self) -> int:
        """Return how many steps have repaired the table amid changes, once."""
        n_mended, self._n_mended = self._n_mended, 0
        return n_mended

    def repair(self, state: DesiredState) -> int:
        """Read the table back and make it what it should be.

        Returns:
            How many steps it took; 0 when nothing was wrong.

        Raises:
            KernelRejected: The kernel refuses it.
        """
        return self._repair_to(render_state(state))

    def repair_or_refuse(self, compiler: HostCompiler) -> int:
        """Repair the table, without the profiles that the kernel refuses.

        Returns:
            How many steps it took.

        Raises:
            KernelRejected: The kernel refuses it even without every profile.
        """
        state = compiler.state()
        try:
            return self.repair(state)
        except KernelRejected as error:
            refused = find_refused(
                sorted(state.profiles), lambda some: self._takes(state, some)
            )
            if not refused:
                raise
            for profile in refused:
                self._journal.error(profile, f"profile {profile} denies: {error}")
                compiler.refuse(profile, str(error))
            compiler.turn()
            return self.repair(compiler.state())

    def _takes(self, state: DesiredState, refused: frozenset[ProfileId]) -> bool:
        try:
            self.repair(without_profiles(state, refused))
        except KernelRejected:
            return False
        return True

    def _apply_part(self, delta: Delta, before: Uses, compiler: HostCompiler) -> None:
        steps = diff_rulesets(*render_delta(delta))
        try:
            self._nft.commit(steps)
        except BatchTooLarge:
            after = Uses.of(compiler.state())
            phases = split_delta(delta, before, after)
            self._journal.info(
                "kernel", f"too much for one send: it goes in in {len(phases)} phases"
            )
            for phase in phases:
                if not self._apply_phase(phase):
                    # The whole rest, with new flows shut out meanwhile.
                    self.repair(compiler.state())
                    return

    def _apply_phase(self, phase: Phase) -> bool:
        """Make a part of a change, unless it must be whole and does not fit."""
        steps = diff_rulesets(*render_delta(phase.delta))
        try:
            self._nft.commit(steps)
        except BatchTooLarge:
            if phase.is_whole:
                return False
            self._commit_in_pieces(cut_steps(steps))
        return True

    def _repair_to(self, wanted: Ruleset) -> int:
        table = self._nft.read_table()
        if table is None or table.is_dormant:
            self._nft.create_table(owned=self._ownership is Ownership.OWNED)
        steps = repair_steps(table, wanted)
        try:
            self._nft.commit(steps)
        except BatchTooLarge:
            self._commit_closed(order_closed(steps, _present(table), wanted))
        is_woken = table is not None and table.is_dormant
        return len(steps) + is_woken

    def _commit_closed(self, order: ClosedOrder) -> None:
        self._journal.warning(
            "kernel", "too much for one send: new flows wait until all of it is in"
        )
        self._commit_in_pieces(cut_steps(order.before))
        self._nft.commit(order.core)
        self._commit_in_pieces(cut_steps(order.after))

    def _commit_in_pieces(self, steps: Sequence[Step]) -> None:
        try:
            self._nft.commit(steps)
        except BatchTooLarge:
            if len(steps) == 1:
                raise
            for half in halves(steps):
                self._commit_in_pieces(half)


def _present(table: KernelTable | None) -> Present:
    if table is None:
        return Present(frozenset(), frozenset())
    return Present(table.chains.keys(), table.sets.keys())
