"""The wire between a workload and its host, as the attaching side makes it.

The host's end is made down and stays so: the agent brings it up once policy is
in force. Its MAC is the same for every workload, and its IPv6 address on the
link follows from the MAC, so the workload's neighbour entries for its gateways
can be written before the host's end has ever been up, and nothing depends on
the host answering ARP. Addresses are /32 and /128, so all traffic goes through
the host.

The peer is made inside the workload's namespace at once, with its final name:
if that name is taken, nothing has been made.

Source:
    man 7 rtnetlink; include/uapi/linux/{if_link,if_addr,neighbour}.h.
"""

import errno
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from socket import AddressFamily

from calico.ir.state import link_local_of
from calico.linux.namespace import call_inside
from calico.linux.routes import (
    delete_route,
    put_default,
    put_link_route,
    read_defaults,
    restore_defaults,
)
from calico.linux.rtmessage import (
    Attributes,
    Flag,
    Kind,
    LinkState,
    Message,
    address_family,
    neighbour,
    switch_link,
)
from calico.linux.rtnetlink import Netlink, NetlinkRefused
from calico.linux.tunnel_device import read_tunnel_mtu
from calico.model.errors import CalicoError
from calico.model.names import InterfaceName
from calico.netset import Address

HOST_MAC = bytes.fromhex("eeeeeeeeeeee")
"""The MAC of the host's end of every veth; set by hand, so udev leaves it."""

_GATEWAY_V4 = IPv4Address("169.254.1.1")
"""What an IPv4 workload sends everything to."""

_GATEWAY_V6 = IPv6Address(link_local_of(HOST_MAC))

_EUI64 = 0
# include/uapi/linux/if.h
_IFF_RUNNING = 1 << 6
_IFF_LOWER_UP = 1 << 16
_IFA_F_NODAD = 2


class InterfaceExists(CalicoError):  # noqa: N818 -- says what happened
    """A workload has an interface of this name already.

    Attributes:
        interface: The name.
    """

    def __init__(self, interface: InterfaceName) -> None:
        super().__init__(interface)
        self.interface = interface

    def __str__(self) -> str:
        return (
            f"interface {self.interface} exists in the container already; "
            "choose another name with --interface"
        )


class InterfaceMissing(CalicoError):  # noqa: N818 -- says what happened
    """There is no interface of this name.

    Attributes:
        interface: The name.
    """

    def __init__(self, interface: InterfaceName) -> None:
        super().__init__(interface)
        self.interface = interface

    def __str__(self) -> str:
        return f"there is no interface {self.interface}"


def _gateway_of(address: Address) -> Address:
    """Return what a workload with this address sends everything to."""
    return _GATEWAY_V4 if isinstance(address, IPv4Address) else _GATEWAY_V6


def create_veth(
    namespace: int, host_interface: InterfaceName, interface: InterfaceName, mac: bytes
) -> None:
    """Make a veth, one end here and down, the other up inside a namespace.

    All or nothing. Both ends have the MTU of the host's tunnel, if there is one:
    wherever the workload sends to, its packets fit.

    Args:
        namespace: A descriptor of the namespace.
        host_interface: The name of the end here.
        interface: The name of the end inside.
        mac: The MAC of the end inside.

    Raises:
        InterfaceExists: The namespace has one of this name.
        NetlinkRefused: The kernel said no.
    """
    with Netlink() as sock:
        mtu_bytes = read_tunnel_mtu(sock)
        mtu: Attributes = () if mtu_bytes is None else (("IFLA_MTU", mtu_bytes),)
        peer: Attributes = (
            ("IFLA_IFNAME", interface),
            ("IFLA_ADDRESS", mac.hex(":")),
            ("IFLA_NET_NS_FD", namespace),
            *mtu,
        )
        info: Attributes = (
            ("IFLA_INFO_KIND", "veth"),
            ("IFLA_INFO_DATA", (("VETH_INFO_PEER", peer),)),
        )
        here: Attributes = (
            ("IFLA_IFNAME", host_interface),
            ("IFLA_ADDRESS", HOST_MAC.hex(":")),
            ("IFLA_LINKINFO", info),
            *mtu,
        )
        try:
            flags = Flag.CREATE | Flag.EXCL
            sock.request(Message(Kind.NEWLINK, {}, here, flags))
        except NetlinkRefused as error:
            if error.errno == errno.EEXIST:
                raise InterfaceExists(interface) from None
            raise
    try:
        _prepare_ends(namespace, host_interface, interface)
    except BaseException:
        delete_veth(host_interface)
        raise


def _prepare_ends(
    namespace: int, host_interface: InterfaceName, interface: InterfaceName
) -> None:
    with Netlink() as sock:
        _set_eui64(sock, _index(sock, host_interface))
    with call_inside(namespace, Netlink) as sock:
        index = _index(sock, interface)
        _set_eui64(sock, index)
        sock.request(switch_link(index, LinkState.UP))


def _set_eui64(sock: Netlink, index: int) -> None:
    """Have an interface's IPv6 address on its link follow from its MAC."""
    mode: Attributes = (("IFLA_INET6_ADDR_GEN_MODE", _EUI64),)
    spec: Attributes = (("IFLA_AF_SPEC", (("AF_INET6", mode),)),)
    try:
        sock.request(Message(Kind.NEWLINK, {"index": index}, spec))
    except NetlinkRefused as error:
        # A kernel without IPv6, where nobody will ask for the address.
        if error.errno != errno.EAFNOSUPPORT:
            raise


def delete_veth(host_interface: InterfaceName) -> bool:
    """Delete a veth by its end here, and with it the end inside.

    Returns:
        Whether there was one.

    Raises:
        NetlinkRefused: The kernel said no.
    """
    with Netlink() as sock:
        try:
            named: Attributes = (("IFLA_IFNAME", host_interface),)
            sock.request(Message(Kind.DELLINK, {}, named))
        except NetlinkRefused as error:
            if error.errno == errno.ENODEV:
                return False
            raise
    return True


def _index(sock: Netlink, interface: InterfaceName) -> int:
    return _read_link(sock, interface).fields["index"]


def _read_link(sock: Netlink, interface: InterfaceName) -> Message:
    named: Attributes = (("IFLA_IFNAME", interface),)
    try:
        (found,) = sock.request(Message(Kind.GETLINK, {}, named))
    except NetlinkRefused as error:
        if error.errno == errno.ENODEV:
            raise InterfaceMissing(interface) from None
        raise
    return found


class Workload:
    """The network of a workload, seen from inside its namespace.

    Args:
        namespace: A descriptor of the namespace; needed only while this is made
            and by `add_address`.
        interface: The end of the veth inside.

    Raises:
        InterfaceMissing: There is no such interface.
        NetlinkRefused: The namespace cannot be entered.
    """

    def __init__(self, namespace: int, interface: InterfaceName) -> None:
        self._namespace = namespace
        self._interface = interface
        self._sock = call_inside(namespace, Netlink)
        try:
            self._index = _index(self._sock, interface)
            self._defaults = read_defaults(self._sock)
        except BaseException:
            self._sock.close()
            raise

    def close(self) -> None:
        """Free what this holds."""
        self._sock.close()

    def is_coming_up(self) -> bool:
        """Tell whether the host's end is up, and what is sent here is still lost.

        The end inside has a carrier as soon as the host's end is up. It gets a
        queue only when the kernel's link watch comes to it, and drops what is
        sent before (net/core/link_watch.c). Linux 6.18 does that first when it
        is asked for the link, as was seen in 60 of 60 rounds; an older one may
        have to be asked again.

        Raises:
            InterfaceMissing: It is gone.
            NetlinkRefused: The kernel said no.
        """
        flags = _read_link(self._sock, self._interface).fields["flags"]
        return bool(flags & _IFF_LOWER_UP) and not flags & _IFF_RUNNING

    def withdraw(self, addresses: Iterable[Address]) -> None:
        """Take addresses away that have been added, as if they never were.

        Raises:
            NetlinkRefused: The kernel said no; what was done up to then stays.
        """
        for address in addresses:
            self.remove_address(address)
        restore_defaults(self._sock, self._defaults)

    def add_address(self, address: Address) -> None:
        """Give the workload an address and the way out for its family.

        Default routes of others that would be preferred get a higher metric.

        Raises:
            NetlinkRefused: The kernel said no, or has no IPv6; what was done up to
                then stays.
        """
        if isinstance(address, IPv6Address):
            call_inside(self._namespace, self._switch_ipv6_on)
        sock, index = self._sock, self._index
        _tolerate(
            errno.EEXIST,
            lambda: sock.request(
                self._address(Kind.NEWADDR, address, Flag.CREATE | Flag.EXCL)
            ),
        )
        gateway = _gateway_of(address)
        if isinstance(gateway, IPv4Address):
            put_link_route(sock, index, gateway.packed)
        replace = Flag.CREATE | Flag.REPLACE
        sock.request(neighbour(Kind.NEWNEIGH, gateway, index, HOST_MAC, replace))
        put_default(sock, index, gateway)

    def remove_address(self, address: Address) -> None:
        """Take an address away, and with the last of its family the way out.

        What is gone already is no error.

        Raises:
            NetlinkRefused: The kernel said no; what was done up to then stays.
        """
        sock, index, family = self._sock, self._index, address_family(address)
        _tolerate(
            errno.EADDRNOTAVAIL,
            lambda: sock.request(self._address(Kind.DELADDR, address)),
        )
        if self._has_address(family):
            return
        gateway = _gateway_of(address)
        delete_route(sock, index, family, b"", gateway.packed)
        if isinstance(gateway, IPv4Address):
            delete_route(sock, index, family, gateway.packed, b"")
        _tolerate(
            errno.ENOENT,
            lambda: sock.request(neighbour(Kind.DELNEIGH, gateway, index)),
        )

    def _address(
        self, kind: Kind, address: Address, flags: Flag = Flag.NONE
    ) -> Message:
        family = address_family(address)
        fields = {
            "family": family,
            "prefixlen": address.max_prefixlen,
            "flags": _IFA_F_NODAD if isinstance(address, IPv6Address) else 0,
            "index": self._index,
        }
        names = ("IFA_LOCAL", "IFA_ADDRESS")
        attributes = tuple((name, address.packed) for name in names)
        return Message(kind, fields, attributes, flags)

    def _has_address(self, family: AddressFamily) -> bool:
        """Report whether an address is left that reaches beyond the link."""
        ours = Message(Kind.GETADDR, {"family": family, "index": self._index})
        return any(found.fields["scope"] == 0 for found in self._sock.dump(ours))

    def _switch_ipv6_on(self) -> None:
        # Container runtimes switch it off for interfaces that will not use it.
        switch = Path(f"/proc/sys/net/ipv6/conf/{self._interface}/disable_ipv6")
        try:
            if switch.read_bytes().strip() != b"0":
                switch.write_bytes(b"0")
        except OSError as error:
            reason = f"{switch}: {error.strerror or error}"
            raise NetlinkRefused(error.errno or 0, reason) from None


def _tolerate(number: int, act: Callable[[], object]) -> None:
    """Act, and take one refusal for the answer that it is so already."""
    try:
        act()
    except NetlinkRefused as error:
        if error.errno != number:
            raise
