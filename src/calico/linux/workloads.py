"""The host's side of local endpoints: sysctls, interfaces, routes, neighbours.

An interface is touched only after the endpoint's policy is in the kernel; that
is the caller's order. It may come later than its endpoint, go down, come up or
be made anew, and each time everything about it is programmed again. Routes
carry a protocol number of ours, so that those of endpoints that went away
while nobody looked are found.

An interface that somebody takes down stays down; its routes come back with it.
One that no endpoint has any more is taken down, and so is one that gets
another name: policy goes by the name, so nothing would be asked about its
packets any more. Named back, it comes up again.

Not here: the veth and what is inside the workload's namespace (`veth`).
"""

import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from calico.ir.delta import Change, Delta
from calico.ir.state import DesiredState, LocalEndpoint, Route
from calico.linux.host_links import (
    KernelRoute,
    Link,
    LinkEvent,
    Request,
    RouteSocket,
    delete_neighbour,
    delete_route,
    replace_neighbour,
    replace_route,
    set_down,
    set_up,
)
from calico.linux.sysctl import configure_interface
from calico.linux.veth import HOST_MAC
from calico.model.names import EndpointKey
from calico.netset import Address

# The interface went away or down meanwhile: its next event brings us back.
_PASSING = frozenset({errno.ENODEV, errno.ENETDOWN, errno.ENXIO})
_ABSENT = _PASSING | {errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An active endpoint's interface and the addresses that lead to it."""

    routes: dict[Address, Route]


class Workloads:
    """Make interfaces, routes and neighbours agree with the desired state.

    Args:
        netlink: Belongs to the caller; used from one thread only.
    """

    def __init__(self, netlink: RouteSocket) -> None:
        self._netlink = netlink
        self._links: dict[int, Link] = {}
        self._by_name: dict[str, int] = {}
        self._wanted: dict[str, _Wanted] = {}
        self._interfaces: dict[EndpointKey, str] = {}
        self._problems: dict[str, str] = {}

    @property
    def problems(self) -> Mapping[str, str]:
        """What the kernel refused, by what it is about."""
        return self._problems

    def missing(self) -> list[str]:
        """List the interfaces of active endpoints that do not exist."""
        return [name for name in self._wanted if name not in self._by_name]

    def resync(self, state: DesiredState) -> frozenset[Address]:
        """Read what is there, take out what is stale, program the rest.

        Returns:
            The addresses that had a route of ours and no longer have one.
        """
        self._wanted = {}
        self._interfaces = {}
        for key, endpoint in state.endpoints.items():
            self._want(key, endpoint)
        for address, route in state.routes.items():
            self._put_route(address, route)
        self._read_links()
        stale = self._delete_stale()
        self._program(self._wanted)
        self._close_strays(state.settings.interface_prefixes)
        return stale - state.routes.keys()

    def resync_links(self) -> None:
        """Read the interfaces again, and program those of our endpoints."""
        self._read_links()
        self._program(self._wanted)

    def apply(self, delta: Delta) -> None:
        """Make the kernel agree after a change of the desired state."""
        # What goes first: an interface or an address may change hands.
        for key, endpoint in delta.endpoints.items():
            self._unwant(key, endpoint)
        for address, route in delta.routes.items():
            if route.before is not None:
                self._forget_route(address, route.before)
        touched: dict[str, None] = {}
        for key, endpoint in delta.endpoints.items():
            if endpoint.after is not None:
                self._want(key, endpoint.after)
                touched[endpoint.after.interface] = None
        for address, route in delta.routes.items():
            if route.after is not None:
                self._put_route(address, route.after)
                touched[route.after.interface] = None
        gone = [r for item in delta.routes.items() for r in self._leave(*item)]
        self._send(gone, _ABSENT)
        self._send(self._close_given_up(delta), _PASSING)
        self._program(name for name in touched if name in self._wanted)

    def note_link(self, event: LinkEvent) -> None:
        """Take up what the kernel says about an interface."""
        link = event.link
        before = self._links.get(link.index)
        self._forget_link(link.index)
        if not event.exists:
            return
        self._remember_link(link)
        if before is not None and before.name != link.name:
            self._close_renamed(before.name, link)
        is_news = before is None or before.name != link.name
        came_up = link.is_up and (before is None or not before.is_up)
        if (is_news or came_up) and link.name in self._wanted:
            self._program((link.name,))

    def _close_renamed(self, name: str, link: Link) -> None:
        if name not in self._wanted or link.name in self._wanted:
            return
        self._problems[name] = f"was renamed to {link.name}, which is down now"
        self._send([set_down(link)], _PASSING)

    def _want(self, key: EndpointKey, endpoint: LocalEndpoint) -> None:
        self._interfaces[key] = endpoint.interface
        if endpoint.is_active:
            self._wanted.setdefault(endpoint.interface, _Wanted({}))

    def _put_route(self, address: Address, route: Route) -> None:
        wanted = self._wanted.get(route.interface)
        if wanted is not None:
            wanted.routes[address] = route

    def _unwant(self, key: EndpointKey, change: Change[LocalEndpoint]) -> None:
        before, after = change.before, change.after
        if before is None or self._interfaces.get(key) != before.interface:
            return
        del self._interfaces[key]
        stays = after is not None and after.is_active
        if not (stays and after and after.interface == before.interface):
            self._wanted.pop(before.interface, None)
            self._problems.pop(before.interface, None)

    def _close_strays(self, prefixes: tuple[str, ...]) -> None:
        # What we attach has this address on the host's side. With a name that
        # policy does not go by, it was renamed, or lost its prefix, while
        # nobody looked.
        for link in self._links.values():
            is_judged = link.name.startswith(prefixes)
            if link.mac == HOST_MAC and link.is_up and not is_judged:
                self._problems[link.name] = (
                    "is a workload's by its address, but nothing judges its name: "
                    "it is down now"
                )
                self._send([set_down(link)], _PASSING)

    def _close_given_up(self, delta: Delta) -> list[Request]:
        # What is no endpoint's any more may have a name that nothing judges,
        # when it was a prefix that has gone from the settings.
        kept = self._interfaces.values()
        names = {
            change.before.interface
            for change in delta.endpoints.values()
            if change.before is not None and change.after is None
        }
        links = (self._link(name) for name in names.difference(kept))
        return [set_down(link) for link in links if link is not None and link.is_up]

    def _forget_route(self, address: Address, before: Route) -> None:
        wanted = self._wanted.get(before.interface)
        if wanted is not None:
            wanted.routes.pop(address, None)

    def _leave(self, address: Address, change: Change[Route]) -> list[Request]:
        before, after = change.before, change.after
        link = None if before is None else self._link(before.interface)
        if before is None or link is None:
            return []
        if after is not None and after.interface == before.interface:
            # Replaced in place, except for what is no longer said at all.
            is_known = before.mac is not None and after.mac is None
            return [delete_neighbour(address, link)] if is_known else []
        requests: list[Request] = []
        if after is None or self._link(after.interface) is None:
            requests.append(delete_route(KernelRoute(address, link.index)))
        if before.mac is not None:
            requests.append(delete_neighbour(address, link))
        return requests

    def _program(self, interfaces: Iterable[str]) -> None:
        requests: list[Request] = []
        for name in interfaces:
            link = self._link(name)
            if link is None:
                continue
            self._problems.pop(name, None)
            for setting, reason in configure_interface(name).items():
                self._problems[name] = f"{setting} could not be set: {reason}"
            if not link.is_up:
                requests.append(set_up(link))
                self._remember_link(replace(link, is_up=True))
            for address, route in self._wanted[name].routes.items():
                requests.append(replace_route(address, link))
                if route.mac is not None:
                    requests.append(replace_neighbour(address, route.mac, link))
        self._send(requests, _PASSING)

    def _send(self, requests: list[Request], harmless: frozenset[int]) -> None:
        for request, number in self._netlink.send(requests):
            if number not in harmless:
                self._problems[request.interface] = (
                    f"{request.what}: {os.strerror(number)}"
                )

    def _delete_stale(self) -> frozenset[Address]:
        right = {
            KernelRoute(address, index)
            for name, wanted in self._wanted.items()
            if (index := self._by_name.get(name)) is not None
            for address in wanted.routes
        }
        stale = [r for r in self._netlink.list_routes() if r not in right]
        self._send([delete_route(route) for route in stale], _ABSENT)
        return frozenset(route.address for route in stale)

    def _read_links(self) -> None:
        self._links = {}
        self._by_name = {}
        for link in self._netlink.list_links():
            self._remember_link(link)

    def _link(self, name: str) -> Link | None:
        index = self._by_name.get(name)
        return None if index is None else self._links[index]

    def _remember_link(self, link: Link) -> None:
        self._links[link.index] = link
        self._by_name[link.name] = link.index

    def _forget_link(self, index: int) -> None:
        link = self._links.pop(index, None)
        if link is not None and self._by_name.get(link.name) == index:
            del self._by_name[link.name]
