"""What this kernel can do, tried in a network namespace of its own.

The namespace is made by a thread and ends with it, and everything that was
made inside ends with the namespace: nothing of the host is touched.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread

from calico.ir.state import DesiredState, Translation
from calico.linux import syscalls
from calico.linux.nft_socket import NftSocket
from calico.linux.rtmessage import Attributes, Flag, Kind, Message
from calico.linux.rtnetlink import Netlink, NetlinkRefused
from calico.model.errors import CalicoError
from calico.netset import AddressSet, Family
from calico.render.layout import render_state
from calico.render.objects import Ruleset
from calico.render.transaction import diff_rulesets

_CARRIED_V4 = AddressSet(Family.V4, ((0x0A000000, 0x0A0000FF),))
_VXLAN_PORT = 4789


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that the kernel does not do.

    Attributes:
        what: What it is.
        options: The kernel's options that give it.
        reason: What the kernel said.
    """

    what: str
    options: str
    reason: str


def probe_kernel() -> tuple[Missing, ...]:
    """Try what enforcement and the overlay need.

    Root has to ask.
    """
    return _try_apart(_PROBES)


def probe_link(kind: str) -> Missing | None:
    """Try one kind of interface, as `ip link add type KIND` does.

    Root has to ask.
    """

    def add() -> None:
        _add_link("probe0", kind)

    probe = _Probe(f"{kind} interfaces", f"CONFIG_{kind.upper()}", add)
    return next(iter(_try_apart((probe,))), None)


def _try_apart(probes: "tuple[_Probe, ...]") -> tuple[Missing, ...]:
    found: list[Missing] = []

    def run() -> None:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNET)
        except OSError as error:
            reason = error.strerror or str(error)
            found.append(Missing("network namespaces", "CONFIG_NET_NS", reason))
            return
        found.extend(each for each in map(_try, probes) if each is not None)

    thread = Thread(target=run, name="kernel-probe")
    thread.start()
    thread.join()
    return tuple(found)


def _add_link(name: str, kind: str, settings: Attributes = ()) -> None:
    info: Attributes = (("IFLA_INFO_KIND", kind),)
    if settings:
        info = (*info, ("IFLA_INFO_DATA", settings))
    attributes: Attributes = (("IFLA_IFNAME", name), ("IFLA_LINKINFO", info))
    flags = Flag.CREATE | Flag.EXCL
    with Netlink() as sock:
        sock.request(Message(Kind.NEWLINK, {}, attributes, flags))


def _add_veth() -> None:
    _add_link("probe0", "veth")


def _add_vxlan() -> None:
    settings = (("IFLA_VXLAN_ID", 1), ("IFLA_VXLAN_PORT", _VXLAN_PORT))
    _add_link("probe1", "vxlan", settings)


def _commit_table() -> None:
    """Commit the table of a host without endpoints, with a masquerading pool.

    It has every kind of thing that enforcement needs: chains at all hooks,
    verdict maps, sets of intervals, connection states, translation.
    """
    state = DesiredState(translation=Translation(_CARRIED_V4, _CARRIED_V4))
    nft = NftSocket.open("probe")
    try:
        nft.create_table(owned=False)
        nft.commit(diff_rulesets(Ruleset(), render_state(state)))
    finally:
        nft.close()


def _try(probe: "_Probe") -> Missing | None:
    try:
        probe.act()
    except NetlinkRefused as error:
        known = error.errno == errno.EOPNOTSUPP
        reason = "it does not know this kind" if known else error.reason
        return Missing(probe.what, probe.options, reason)
    except (CalicoError, OSError) as error:
        return Missing(probe.what, probe.options, str(error))
    return None


@dataclass(frozen=True, slots=True)
class _Probe:
    """One thing to try."""

    what: str
    options: str
    act: Callable[[], None]


_PROBES = (
    _Probe("veth interfaces", "CONFIG_VETH", _add_veth),
    _Probe("VXLAN interfaces", "CONFIG_VXLAN", _add_vxlan),
    _Probe(
        "the nf_tables objects of policy",
        "CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NF_CONNTRACK, CONFIG_NFT_CT,"
        " CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_LOG, CONFIG_NFT_LIMIT",
        _commit_table,
    ),
)
