"""Take away what the agent of this host left in the kernel and in its directory."""

import errno
import os
import signal
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from calico.control.protocol import SOCKET_NAME
from calico.linux.host_links import RouteSocket, delete_link, delete_route
from calico.linux.nft_socket import NftSocket
from calico.linux.rtnetlink import Netlink
from calico.linux.sysctl import MEMORY_NAME, restore_host
from calico.linux.tunnels import remove_tunnels
from calico.node.bird import BirdProcess, bird_signal
from calico.node.pidfile import FILE_NAME, AlreadyRunning, hold_pidfile
from calico.node.state import STATE_NAME

_GONE = frozenset({errno.ENODEV, errno.ESRCH, errno.ENOENT})


def remove_dataplane(run_dir: Path, interfaces: Collection[str]) -> tuple[str, ...]:
    """Take out workloads' interfaces, our routes, our table and our settings.

    Nobody may be supervising this host. The interfaces go first: without the
    table they would be open.

    Args:
        run_dir: Where the agent kept what settings were before it.
        interfaces: The names of the workloads' interfaces.

    Returns:
        What could not be taken out, in words; then the table is still there.

    Raises:
        Unavailable: Another process owns the table.
        KernelRejected: We may not.
    """
    # Without the table a tunnel would take packets from anybody.
    stuck = (*_remove_links(frozenset(interfaces)), *_remove_tunnels())
    if stuck:
        return stuck
    nft = NftSocket.open()
    try:
        nft.delete_table()
    finally:
        nft.close()
    restore_host(run_dir / MEMORY_NAME)
    BirdProcess(run_dir).retire()
    return ()


def _remove_tunnels() -> tuple[str, ...]:
    with Netlink() as netlink:
        problems = remove_tunnels(netlink)
    return tuple(f"{what}: {reason}" for what, reason in problems.items())


def remove_leftovers(run_dir: Path, number: signal.Signals) -> None:
    """Remove what a supervisor that was killed has left, if nobody has followed it.

    Args:
        run_dir: Where it has left that.
        number: The signal that it would have got: its BIRD is ended likewise.
    """
    if (run_dir / FILE_NAME).exists():
        with suppress(AlreadyRunning), hold_pidfile(run_dir):
            bird = BirdProcess(run_dir)
            bird.end_leftover(bird_signal(number))
            bird.remove()
            for name in (SOCKET_NAME, STATE_NAME):
                (run_dir / name).unlink(missing_ok=True)


def _remove_links(interfaces: frozenset[str]) -> tuple[str, ...]:
    routes = RouteSocket()
    try:
        links = [link for link in routes.list_links() if link.name in interfaces]
        requests = [delete_link(link) for link in links]
        requests += [delete_route(route) for route in routes.list_routes()]
        return tuple(
            f"{request.what}: {os.strerror(number)}"
            for request, number in routes.send(requests)
            if number not in _GONE
        )
    finally:
        routes.close()
