"""What can stand in the way of an address."""
# ruff: noqa: N818 -- the names say what happened, in the words of users

from calico.model.errors import CalicoError
from calico.model.names import HostName
from calico.netset import Address, Network


class PoolNotFound(CalicoError):
    """An address is in no pool that addresses are handed out from.

    Attributes:
        address: The address.
    """

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.address = address

    def __str__(self) -> str:
        return f"{self.address} is not in any configured pools"


class AlreadyAssigned(CalicoError):
    """An address is taken.

    Attributes:
        address: The address.
        pool: The pool that it belongs to.
        handle: What it was allocated under, if anything.
    """

    def __init__(self, address: Address, pool: Network, handle: str | None) -> None:
        super().__init__(address, pool, handle)
        self.address = address
        self.pool = pool
        self.handle = handle

    def __str__(self) -> str:
        return f"IP address is already assigned in pool {self.pool}."


class BlockOfAnotherHost(CalicoError):
    """The block of an address is another host's, and not for this one to use.

    Either affinity is strict, or the pool has an overlay.

    Attributes:
        address: The address.
        block: Its block.
        host: The only host that may use it; `None` when no host may.
    """

    def __init__(self, address: Address, block: Network, host: HostName | None) -> None:
        super().__init__(address, block, host)
        self.address = address
        self.block = block
        self.host = host

    def __str__(self) -> str:
        owner = f"host {self.host}" if self.host else "no host"
        return (
            f"{self.address}: its block {self.block} belongs to {owner}, and "
            "affinity is strict or the pool has an overlay; choose an address of this "
            "host's own blocks"
        )


class Exhausted(CalicoError):
    """No pool has a free address left.

    Attributes:
        n_ipv4: How many IPv4 addresses were asked for.
        n_ipv6: How many IPv6 addresses were asked for.
    """

    def __init__(self, n_ipv4: int, n_ipv6: int) -> None:
        super().__init__(n_ipv4, n_ipv6)
        self.n_ipv4 = n_ipv4
        self.n_ipv6 = n_ipv6

    def __str__(self) -> str:
        return (
            f"Failed to allocate any IPs (requested {self.n_ipv4} IPv4s and "
            f"{self.n_ipv6} IPv6s). Pools are likely exhausted.\n"
            "`calicoctl pool show` lists the pools; `calicoctl node` makes the first"
            " ones, and `calicoctl pool add` more."
        )


class NotHeld(CalicoError):
    """Addresses that were taken for an endpoint have been given back meanwhile.

    Attributes:
        handle: What they were taken under.
    """

    def __init__(self, handle: str) -> None:
        super().__init__(handle)
        self.handle = handle

    def __str__(self) -> str:
        return (
            f"the addresses taken under {self.handle} were given back meanwhile,"
            " by `calicoctl ipam`; nothing was connected, try again"
        )
