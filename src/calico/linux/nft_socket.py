"""Change our nf_tables table, one transaction at a time.

A transaction is one batch in one send: the kernel takes all of it or nothing,
and has answered when the send returns. Where the kernel can, the table is
created with an owner: it then belongs to this socket, and no other process may
change or flush it. It outlives the socket, and whoever makes the table next
adopts it. So the socket is opened by the supervisor, which outlives the agent,
and the agent gets it as a file descriptor.

Nothing here remembers what was committed: a foreign commit in between, or an
earlier process on the same socket, makes no difference.
"""

import errno
from collections.abc import Mapping, Sequence

from calico.linux.netfilter import (
    NetlinkSocket,
    Refusal,
    read_be32,
    read_refusal,
    string,
)
from calico.linux.nft_codec import Batch, describe_step
from calico.linux.nft_counters import read_counters
from calico.linux.nft_others import OtherChain, read_other_chains
from calico.linux.nft_read import (
    KernelTable,
    ask_object,
    read_generation,
    read_table,
)
from calico.linux.nft_wire import Msg, Table, TableFlag
from calico.model.errors import BatchTooLarge, KernelRejected, Unavailable
from calico.render.transaction import Step

_SEND_BYTES = 256 << 20
_RECEIVE_BYTES = 16 << 20
_OWNED = TableFlag.OWNER | TableFlag.PERSIST

# Without PERSIST (before Linux 6.9) the flags are not known, or not together.
_NOT_SUPPORTED = frozenset({errno.EOPNOTSUPP, errno.EINVAL})


class NftSocket:
    """Our table in this network namespace, through one netlink socket.

    Attributes:
        table: The name of the table, of the inet family.
        port_id: The socket's address: the owner of the table, and the author
            of our commits in the kernel's events.
        limits: What this process may not have, for people to read.
    """

    def __init__(self, connection: NetlinkSocket, table: str) -> None:
        connection.widen(send_bytes=_SEND_BYTES, receive_bytes=_RECEIVE_BYTES)
        connection.tolerate_lost_answers()
        self._netlink = connection
        self.table = table
        self.port_id = connection.port_id
        self.limits = connection.limits

    @classmethod
    def open(cls, table: str = "calico") -> "NftSocket":
        """Open a socket for a table that need not exist yet."""
        return cls(NetlinkSocket.open(), table)

    @classmethod
    def from_fd(cls, fd: int, table: str = "calico") -> "NftSocket":
        """Take over a socket that another process has opened."""
        return cls(NetlinkSocket.from_fd(fd), table)

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._netlink.fileno()

    def close(self) -> None:
        """Close the socket; the table stays."""
        self._netlink.close()

    def create_table(self, *, owned: bool) -> bool:
        """Make the table, adopt it, or find it there; wake it if it sleeps.

        Args:
            owned: Whether to own it where that is possible. A table that
                exists without the means to be owned stays so.

        Returns:
            Whether it is ours alone now.

        Raises:
            Unavailable: Another process owns it.
            KernelRejected: We may not, or the kernel has no nf_tables.
        """
        flags = self._table_flags()
        if flags is None:
            return self._make_table(owned=owned)
        if flags & TableFlag.PERSIST and owned:
            self._set_table_flags(_OWNED)
            return True
        if flags & TableFlag.DORMANT:
            self._set_table_flags(flags & ~TableFlag.DORMANT)
        return bool(flags & TableFlag.OWNER)

    def _make_table(self, *, owned: bool) -> bool:
        if owned:
            refusal = self._try_table_flags(_OWNED)
            if refusal is None:
                return True
            if refusal.errno not in _NOT_SUPPORTED:
                raise self._table_refused(refusal)
        self._set_table_flags(0)
        return False

    def _table_flags(self) -> int | None:
        """Read the table's flags.

        Raises:
            Unavailable: Another process owns it.
        """
        which = string(Table.NAME, self.table)
        found = ask_object(self._netlink, Msg.GETTABLE, which)
        if isinstance(found, Refusal):
            if found.errno == errno.ENOENT:
                return None
            raise self._table_refused(found)
        flags = read_be32(found.get(Table.FLAGS, b""))
        owner = read_be32(found.get(Table.OWNER, b""))
        if flags & TableFlag.OWNER and owner != self.port_id:
            raise Unavailable(
                f"table inet {self.table}",
                f"another process owns it (netlink port {owner})",
                ("stop the agent or supervisor that still runs",),
            )
        return flags

    def _try_table_flags(self, flags: int) -> Refusal | None:
        batch = Batch(self.table, self._netlink.next_sequence())
        batch.add_table(flags)
        return self._commit(batch)

    def _set_table_flags(self, flags: int) -> None:
        if refusal := self._try_table_flags(flags):
            raise self._table_refused(refusal)

    def _table_refused(self, refusal: Refusal) -> KernelRejected:
        what = f"table inet {self.table}"
        return KernelRejected(what, refusal.errno, refusal.text)

    def delete_table(self) -> None:
        """Take our table out with everything in it; absent is fine too.

        Raises:
            Unavailable: Another process owns it.
            KernelRejected: The kernel refused.
        """
        flags = self._table_flags()
        if flags is None:
            return
        if flags & TableFlag.PERSIST:
            # One that lost its owner is protected from nobody, but adopting
            # it makes sure that it is nobody else's.
            self._set_table_flags(_OWNED)
        batch = Batch(self.table, self._netlink.next_sequence())
        batch.delete_table()
        if refusal := self._commit(batch):
            raise self._table_refused(refusal)

    def commit(self, steps: Sequence[Step]) -> None:
        """Take all the steps at once, or none.

        Raises:
            BatchTooLarge: They do not fit into one send; nothing was sent.
            KernelRejected: The kernel refused; nothing has changed. `step` is
                the first one that it refused.
        """
        if not steps:
            return
        batch = Batch(self.table, self._netlink.next_sequence())
        batch.add_steps(steps)
        refusal = self._commit(batch)
        if refusal is None:
            return
        step = batch.step_of(refusal.sequence)
        name = batch.name_at(refusal.sequence, refusal.offset)
        raise KernelRejected(
            "a whole transaction" if step is None else describe_step(steps[step]),
            refusal.errno,
            f"{refusal.text}: `{name}`" if name else refusal.text,
            step,
        )

    def _commit(self, batch: Batch) -> Refusal | None:
        data = batch.finish()
        self._netlink.skip_sequences(batch.sequence)
        limit = self._netlink.max_send_bytes
        if len(data) > limit:
            raise BatchTooLarge(len(data), limit)
        self._netlink.discard_unread()
        try:
            self._netlink.send(data)
        except OSError as error:
            if error.errno in {errno.EMSGSIZE, errno.ENOBUFS}:
                raise BatchTooLarge(len(data), limit) from None
            raise
        return self._first_refusal()

    def _first_refusal(self) -> Refusal | None:
        """Read all answers to a batch.

        The acknowledgement comes even when another message was refused, so
        only the absence of refusals means success; and their order is that of
        the messages.
        """
        n_answers = 0
        first: Refusal | None = None
        for message in self._netlink.answers():
            n_answers += 1
            if first is None:
                first = read_refusal(message)
        if not n_answers:
            raise Unavailable("nf_tables", "the kernel did not answer a transaction")
        return first

    def generation(self) -> int:
        """Return a number that changes with every commit of anybody."""
        return read_generation(self._netlink)

    def read_table(self) -> KernelTable | None:
        """Read everything in our table; `None` when there is none.

        Raises:
            Unavailable: It changes faster than it can be read.
        """
        return read_table(self._netlink, self.table)

    def read_counters(self) -> Mapping[tuple[str, str], tuple[int, int]]:
        """Read packets and bytes by chain or map, and by comment.

        Raises:
            Unavailable: The table changes faster than it can be read.
        """
        return read_counters(self._netlink, self.table)

    def other_chains(self) -> tuple[OtherChain, ...]:
        """Find base chains of other tables that may drop what we allow.

        Raises:
            Unavailable: They change faster than they can be read.
        """
        return read_other_chains(self._netlink, self.table)
