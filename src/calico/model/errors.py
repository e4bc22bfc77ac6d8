"""Every error that Calico raises on purpose.

Each class says who is to blame and carries its facts as attributes; the text
is built from them in `__str__`: where, what was found, what would be accepted,
and the next step. What a process does about an error (exit code, retry,
status) is decided by whoever catches it, never here.

`Unavailable` and its subclasses come from the datastore or the kernel not
doing its part. `Conflict` and `OutcomeUnknown` are answers to a write.
"""
# ruff: noqa: N818 -- the names say what happened, in the words of conventions and users

from collections.abc import Sequence


class CalicoError(Exception):
    """Base of all errors raised on purpose."""


def _sentences(*parts: str) -> str:
    """Join the parts that are not empty with `; `."""
    return "; ".join(part for part in parts if part)


class InvalidResource(CalicoError):
    """A value is not a valid resource, or not a valid part of one.

    Attributes:
        where: The resource or field, in the user's words.
        found: What stands there, as the user spelled it.
        accepted: What would be accepted there, as a noun phrase.
        next_step: What to do about it, or empty.
    """

    def __init__(
        self, where: str, found: str, accepted: str, next_step: str = ""
    ) -> None:
        super().__init__(where, found, accepted, next_step)
        self.where = where
        self.found = found
        self.accepted = accepted
        self.next_step = next_step

    def __str__(self) -> str:
        text = f"{self.where}: found {self.found}, expected {self.accepted}"
        return _sentences(text, self.next_step)


class RuleSyntaxError(CalicoError):
    """A rule does not parse.

    Attributes:
        text: The rule as the user wrote it.
        offset: Index into `text` of the first character that cannot be read.
        expected: What would have been accepted there, as a noun phrase.
    """

    def __init__(self, text: str, offset: int, expected: str) -> None:
        super().__init__(text, offset, expected)
        self.text = text
        self.offset = offset
        self.expected = expected

    def __str__(self) -> str:
        where = f"column {self.offset + 1}"
        return f"rule `{self.text}`: expected {self.expected} at {where}"


class UnresolvedReference(CalicoError):
    """A resource names another one that does not exist or cannot be read.

    Attributes:
        where: The resource that holds the name.
        kind: What the name should stand for, such as `profile` or `tag`.
        name: The name.
        reason: Why it cannot be resolved.
    """

    def __init__(
        self, where: str, kind: str, name: str, reason: str = "it does not exist"
    ) -> None:
        super().__init__(where, kind, name, reason)
        self.where = where
        self.kind = kind
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.where}: {self.kind} `{self.name}` cannot be used: {self.reason}"


class KernelRejected(CalicoError):
    """The kernel refused something that we rendered: the fault is ours.

    Attributes:
        what: The object or message that was refused.
        errno: The kernel's error number.
        reason: The kernel's words, or ours for the number.
        step: Which step of the transaction it was, counted from 0; `None`
            when it was the transaction as a whole, or none.
    """

    def __init__(
        self, what: str, errno: int, reason: str, step: int | None = None
    ) -> None:
        super().__init__(what, errno, reason, step)
        self.what = what
        self.errno = errno
        self.reason = reason
        self.step = step

    def __str__(self) -> str:
        return f"the kernel refused {self.what}: {self.reason} (errno {self.errno})"


class RouterRejected(CalicoError):
    """BIRD refused what it was told; it goes on as before.

    Attributes:
        what: The command, or what else it was.
        reason: BIRD's words, or ours.
    """

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"BIRD refused {self.what}: {self.reason}"


class BatchTooLarge(CalicoError):
    """A transaction does not fit into one send; nothing was sent.

    Attributes:
        n_bytes: How long it is.
        limit: How long it may be.
    """

    def __init__(self, n_bytes: int, limit: int) -> None:
        super().__init__(n_bytes, limit)
        self.n_bytes = n_bytes
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"a transaction of {self.n_bytes} bytes does not fit into the socket's "
            f"buffer of {self.limit} bytes: split it, or raise net.core.wmem_max"
        )


class Conflict(CalicoError):
    """Someone else wrote first: a compare of the transaction does not hold.

    Attributes:
        key: The key whose compare failed.
        expected: The revision it was expected to be last modified at; 0 when
            it was expected not to exist.
        found: The revision it was last modified at; 0 when it does not exist.
    """

    def __init__(self, key: str, expected: int, found: int) -> None:
        super().__init__(key, expected, found)
        self.key = key
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        def spell(revision: int) -> str:
            return f"revision {revision}" if revision else "absent"

        return (
            f"{self.key}: changed by someone else meanwhile (expected "
            f"{spell(self.expected)}, found {spell(self.found)}); "
            "nothing was written, read it again"
        )


class OutcomeUnknown(CalicoError):
    """The datastore did not say whether a change was made.

    Attributes:
        where: The datastore: a file or an address.
        reason: What went wrong while the change was being made durable.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, reason)
        self.where = where
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.where}: {self.reason}; it is not known whether the change "
            "was made: look before trying again"
        )


class LeaseExpired(CalicoError):
    """A lease has run out or was revoked; its keys are gone.

    Attributes:
        lease: The identifier of the lease.
    """

    def __init__(self, lease: int) -> None:
        super().__init__(lease)
        self.lease = lease

    def __str__(self) -> str:
        return f"lease {self.lease:x} has expired; grant a new one and put its keys"


class Compacted(CalicoError):
    """The changes asked for are no longer remembered.

    Attributes:
        asked: The revision that was asked for.
        oldest: The oldest revision that can still be asked for.
    """

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(asked, oldest)
        self.asked = asked
        self.oldest = oldest

    def __str__(self) -> str:
        return (
            f"revision {self.asked} is no longer remembered, the oldest is "
            f"{self.oldest}; list again and watch from there"
        )


class Unavailable(CalicoError):
    """The datastore or the kernel did not answer, or refuses us.

    Attributes:
        where: The datastore (a file or an address) or the part of the kernel.
        reason: What was found.
        next_steps: What the user can do, most likely first; may be empty.
    """

    def __init__(self, where: str, reason: str, next_steps: Sequence[str] = ()) -> None:
        super().__init__(where, reason, tuple(next_steps))
        self.where = where
        self.reason = reason
        self.next_steps = tuple(next_steps)

    def __str__(self) -> str:
        return _sentences(f"{self.where}: {self.reason}", ", or ".join(self.next_steps))


class NotPermitted(CalicoError):
    """This process may not do what it was asked to; nothing has changed.

    Attributes:
        what: What it may not do, as a verb and its object.
        needs: The capabilities that it takes.
    """

    def __init__(self, what: str, needs: str) -> None:
        super().__init__(what, needs)
        self.what = what
        self.needs = needs

    def __str__(self) -> str:
        return f"not permitted to {self.what}: run as root, or with {self.needs}"


class StoreNotPermitted(Unavailable):
    """This user may not use the datastore."""


class StoreBusy(Unavailable):
    """Another process has kept the datastore's writer lock for too long.

    Attributes:
        holder: Process id, start time and command of the process that has it.
    """

    def __init__(self, where: str, waited_s: float, holder: str) -> None:
        super().__init__(
            where,
            f"locked for more than {waited_s:g} s by {holder or 'an unknown process'}",
            ("see what that process is doing, then try again",),
        )
        self.holder = holder


class StoreFull(Unavailable):
    """There is no room to write; nothing was changed.

    Attributes:
        free_bytes: What the file system has left for us.
    """

    def __init__(self, where: str, free_bytes: int) -> None:
        super().__init__(
            where,
            f"no space left on its file system ({free_bytes} bytes free); "
            "nothing was changed",
            ("make room and try again",),
        )
        self.free_bytes = free_bytes


class TransactionTooLarge(Unavailable):
    """A transaction is more than the datastore takes at once; nothing was changed."""


class StoreCorrupt(Unavailable):
    """What the datastore holds is damaged, missing or not a datastore."""


class StoreWentBack(Unavailable):
    """The datastore is at an older revision than it has been before.

    Attributes:
        seen: The revision that is known to have been reached.
        current: The revision the datastore is at now.
    """

    def __init__(
        self, where: str, seen: int, current: int, next_steps: Sequence[str] = ()
    ) -> None:
        super().__init__(
            where,
            f"is at revision {current} but has been at {seen}: "
            "changes that were acknowledged are lost",
            next_steps,
        )
        self.seen = seen
        self.current = current
