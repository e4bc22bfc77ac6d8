"""What the commands that ask about policy look at: a cluster at one revision.

It comes from the datastore, or from a file that `datastore export` wrote; what
each host must do is compiled by the function that its agent compiles with.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from calico.cli.call import Call
from calico.codec.host_status import HostStatus
from calico.codec.keys import (
    BGP_PREFIX,
    POLICY_PREFIX,
    bgp_address_key,
)
from calico.compiler.host import Kept, compile_host
from calico.compiler.problems import refusal_problem
from calico.ir.state import DesiredState
from calico.model.names import EndpointKey, HostName, ProfileId, Revision
from calico.model.network import Pool
from calico.model.snapshot import TUNNEL_SETTINGS, SettingKey, Snapshot
from calico.netset import Address, Family
from calico.store.api import KeyValue, Listing
from calico.store.host_status import read_live_hosts
from calico.store.resources import make_snapshot, read_policy


@dataclass(frozen=True, slots=True)
class Cluster:
    """All that policy is computed from, and how far the hosts are with it.

    Attributes:
        snapshot: The resources.
        revision: The policy revision that they stand at; a deletion counts.
        hosts: The addresses of each host that the datastore knows.
        statuses: What each live host says, `None` for one that cannot be read;
            `None` altogether when nobody can know, as from a file.
    """

    snapshot: Snapshot
    revision: Revision
    hosts: Mapping[HostName, tuple[Address, ...]]
    statuses: Mapping[HostName, HostStatus | None] | None
    _kept: Kept = field(default_factory=Kept, init=False, repr=False, compare=False)

    def state_of(
        self, host: HostName, judged: Collection[EndpointKey] | None = None
    ) -> DesiredState:
        """Compile what a host must do, as its agent does.

        Args:
            host: The host.
            judged: As for `compile_host`.
        """
        refused = self._refused(host)
        return compile_host(
            self.snapshot, host, judged=judged, refused=refused, kept=self._kept
        )

    def tunnel_addresses(self, host: HostName) -> tuple[Address, ...]:
        """Return the addresses that a host has of its own in tunnels, by family."""
        settings = self.snapshot.settings
        values = (settings.get(SettingKey(n, host)) for n in TUNNEL_SETTINGS.values())
        found = (_address(v.encode()) for v in values if isinstance(v, str))
        return tuple(address for address in found if address is not None)

    def is_overlaid(self, address: Address) -> bool:
        """Tell whether packets to an address take a tunnel between hosts."""
        return any(
            isinstance(pool, Pool) and (pool.ipip or pool.vxlan) and address in cidr
            for cidr, pool in self.snapshot.pools.items()
        )

    def _refused(self, host: HostName) -> dict[ProfileId, str]:
        """Find the profiles of this revision that a host's kernel does not take."""
        status = (self.statuses or {}).get(host)
        if status is None or status.revision < self.revision:
            return {}
        return {
            profile: status.problems[name]
            for profile in self.snapshot.rules
            if (name := refusal_problem(profile)) in status.problems
        }


def read_cluster(call: Call) -> Cluster:
    """Read the cluster that a command asks about.

    Raises:
        Refused: The file that `--snapshot` names cannot be used.
        Unavailable: The datastore cannot be read.
    """
    name = call.option("--snapshot")
    if name is not None:
        # Imported late: few ask for it.
        from calico.cli.datastore import read_export  # noqa: PLC0415 -- see above

        export = read_export(name)
        items = tuple(
            KeyValue(each.key, each.value, each.modified, each.modified)
            for each in export.items
        )
        policy = tuple(each for each in items if each.key.startswith(POLICY_PREFIX))
        snapshot = make_snapshot(Listing(policy, export.revision))
        return Cluster(
            snapshot, export.policy_revision, _hosts(snapshot, items), statuses=None
        )
    store = call.store
    listing, revision = read_policy(store, POLICY_PREFIX)
    snapshot = make_snapshot(listing)
    addresses = store.list_prefix(BGP_PREFIX).items
    return Cluster(
        snapshot, revision, _hosts(snapshot, addresses), read_live_hosts(store)
    )


def _hosts(
    snapshot: Snapshot, items: Iterable[KeyValue]
) -> dict[HostName, tuple[Address, ...]]:
    """Find the hosts: those with endpoints or settings, and their addresses."""
    names = {key.host for key in snapshot.endpoints}
    names |= {key.host for key in snapshot.settings if key.host is not None}
    values = {item.key: item.value for item in items}
    return {
        name: tuple(
            address
            for family in Family
            if (address := _address(values.get(bgp_address_key(name, family))))
        )
        for name in sorted(names)
    }


def _address(value: bytes | None) -> Address | None:
    if not value:
        return None
    try:
        return ip_address(value.decode("ascii"))
    except ValueError:
        return None
