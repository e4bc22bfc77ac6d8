"""What can stand in the way of sending a probe."""
# ruff: noqa: N818 -- the names say what happened, in the words of users

from calico.model.errors import CalicoError
from calico.netset import Family


class AddressMissing(CalicoError):
    """A place has no address that the probe can use.

    Attributes:
        place: The place, as people know it.
        wanted: The address that it should have, or the family.
    """

    def __init__(self, place: str, wanted: str | Family) -> None:
        super().__init__(place, wanted)
        self.place = place
        self.wanted = wanted

    def __str__(self) -> str:
        if isinstance(self.wanted, Family):
            return f"{self.place}: has no IPv{self.wanted.value} address to send from"
        return (
            f"{self.place}: does not have the address {self.wanted}; "
            "`ip address` there shows which it has"
        )


class PortInUse(CalicoError):
    """A source port that was asked for is taken.

    Attributes:
        place: Where, as people know it.
        protocol: The protocol's word.
        port: Its number.
    """

    def __init__(self, place: str, protocol: str, port: int) -> None:
        super().__init__(place, protocol, port)
        self.place = place
        self.protocol = protocol
        self.port = port

    def __str__(self) -> str:
        return (
            f"{self.place}: {self.protocol} source port {self.port} is in use; "
            "choose another one, or leave it to the kernel"
        )
