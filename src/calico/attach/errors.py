"""What can stand in the way of connecting a workload."""
# ruff: noqa: N818 -- the names say what happened, in the words of users

from calico.model.errors import CalicoError
from calico.model.names import Revision
from calico.netset import Address, Network


class NotRoot(CalicoError):
    """The network of this machine is not ours to change."""

    def __str__(self) -> str:
        return "This command must be run as root."


class HostNamespace(CalicoError):
    """The namespace is the host's own.

    Attributes:
        container: As the user wrote it.
    """

    def __init__(self, container: str) -> None:
        super().__init__(container)
        self.container = container

    def __str__(self) -> str:
        return (
            f"Can't add {self.container} to Calico because it is running "
            "NetworkMode = host."
        )


class AlreadyAttached(CalicoError):
    """The namespace is connected.

    Attributes:
        container: As the user wrote it.
        workload: The name under which it is.
        lacks_interface: There is an endpoint, but nothing of it in the
            namespace: it has been made anew since, as after a reboot.
    """

    def __init__(
        self, container: str, workload: str, *, lacks_interface: bool = False
    ) -> None:
        super().__init__(container, workload)
        self.container = container
        self.workload = workload
        self.lacks_interface = lacks_interface

    def __str__(self) -> str:
        known = f"{self.container} has already been configured with Calico Networking."
        if not self.lacks_interface:
            return known
        return (
            f"{known}\nIts network namespace has been made anew since, and has no "
            f"interface.\n`calicoctl container remove {self.container}` takes the old "
            "endpoint away; then add it again."
        )


class UnknownWorkload(CalicoError):
    """Nothing is known of the workload on this host.

    Attributes:
        container: As the user wrote it.
    """

    def __init__(self, container: str) -> None:
        super().__init__(container)
        self.container = container

    def __str__(self) -> str:
        return f"Container {self.container} is unknown to Calico."


class EndpointUnusable(CalicoError):
    """The endpoint in the datastore cannot be changed.

    Attributes:
        container: As the user wrote it.
        reason: What is wrong with it.
    """

    def __init__(self, container: str, reason: str) -> None:
        super().__init__(container, reason)
        self.container = container
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.container}: its endpoint cannot be used: {self.reason}; "
            f"`calicoctl container remove {self.container}` takes it away"
        )


class AddressNotHeld(CalicoError):
    """The workload does not have this address.

    Attributes:
        container: As the user wrote it.
        address: The address.
    """

    def __init__(self, container: str, address: Address) -> None:
        super().__init__(container, address)
        self.container = container
        self.address = address

    def __str__(self) -> str:
        return f"{self.container} does not have the address {self.address}"


class BadAddress(CalicoError):
    """Text stands for no address.

    Attributes:
        found: The text.
    """

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found

    def __str__(self) -> str:
        return "Invalid IP address specified.  Argument must be a valid IP or CIDR."


class NoSuchPool(CalicoError):
    """An address is wanted from a pool that does not exist.

    Attributes:
        cidr: The pool.
    """

    def __init__(self, cidr: Network) -> None:
        super().__init__(cidr)
        self.cidr = cidr

    def __str__(self) -> str:
        return (
            f"Invalid CIDR specified for desired pool. No pool found for {self.cidr}."
        )


class NotInForce(CalicoError):
    """The agent of this host has not put a revision into force.

    Attributes:
        revision: The revision.
        reason: Why, as far as it is known.
    """

    def __init__(self, revision: Revision, reason: str) -> None:
        super().__init__(revision, reason)
        self.revision = revision
        self.reason = reason

    def __str__(self) -> str:
        return f"not in force yet (revision {self.revision}): {self.reason}"


class LockUnusable(CalicoError):
    """The file that keeps two changes of one workload apart cannot be used.

    Attributes:
        path: The file.
        reason: Why.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; CALICO_RUN_DIR names its directory"
