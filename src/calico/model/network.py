"""Address pools and the settings that policy depends on."""

from dataclasses import dataclass
from enum import Enum

from calico.netset import Family, Network, family_of


@dataclass(frozen=True, slots=True)
class Pool:
    """A network that workload addresses come from.

    Attributes:
        cidr: The network; no host bits.
        ipip: Carried between hosts by IP in IP. IPv4 only.
        vxlan: Carried between hosts by VXLAN; not together with `ipip`.
        masquerade: Traffic from here to outside every pool leaves with the
            host's address. IPv4 only.
        is_for_ipam: Addresses are handed out from it automatically.
        is_disabled: No new address is handed out from it.
    """

    cidr: Network
    ipip: bool = False
    vxlan: bool = False
    masquerade: bool = False
    is_for_ipam: bool = True
    is_disabled: bool = False

    @property
    def family(self) -> Family:
        """The address family of the pool."""
        return family_of(self.cidr)


class EndpointToHostAction(Enum):
    """What follows for traffic from a workload to its own host.

    Attributes:
        DROP: It is dropped, and outbound policy is not asked.
        RETURN: Outbound policy decides; what it allows goes on to the host's
            own firewall.
        ACCEPT: Outbound policy decides. Another program's chain may still
            drop the packet, so for us it means what RETURN means.
    """

    DROP = "DROP"
    RETURN = "RETURN"
    ACCEPT = "ACCEPT"


@dataclass(frozen=True, slots=True)
class HostSettings:
    """The settings of one host that decide packets.

    Attributes:
        interface_prefixes: Interfaces whose name starts so are workloads'.
        endpoint_to_host: See the enum; DROP unless the datastore says else.
        workload_dns: Workloads may always ask the host's UDP port 53.
        workload_dhcp: Workloads may always speak DHCP with the host.
        cut_established: Flows that a change denies are cut.
        drop_log: Dropped packets are told to the kernel's packet log.
    """

    interface_prefixes: tuple[str, ...] = ("cali",)
    endpoint_to_host: EndpointToHostAction = EndpointToHostAction.DROP
    workload_dns: bool = True
    workload_dhcp: bool = True
    cut_established: bool = True
    drop_log: bool = True


DEFAULT_SETTINGS = HostSettings()
