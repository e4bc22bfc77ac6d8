"""The command groups: one module each, which holds its grammar as `GROUP`."""

from collections.abc import Mapping
from importlib import import_module

from calico.cli.grammar import Group

SUMMARIES: Mapping[str, str] = {
    "profile": "profiles with their tags and rules",
    "endpoint": "endpoints, and the profiles they list",
    "container": "workloads of this host, their addresses and profiles",
    "pool": "pools that addresses come from",
    "ipam": "which addresses are given away, and what does not fit",
    "bgp": "whom the hosts exchange routes with",
    "node": "this host's agent: start, stop, show, remove",
    "status": "how this host's agent is, and what could not be used",
    "flows": "established flows that were cut, and by which rule",
    "reach": "who can talk to whom, and rules that never decide",
    "drops": "the packets that this host dropped, and why",
    "wait": "until policy is in force on every host",
    "explain": "what policy says of a packet, and which rule decides",
    "test": "policy tests: whether policy says what you expect of it",
    "datastore": "the datastore as a document: backup and restore",
    "config": "settings of the agents and of BGP",
    "lab": "hosts and workloads on this machine to try a policy on",
    "diags": "one archive for whoever looks into a problem",
    "checksystem": "whether this machine has what Calico needs",
    "version": "the version of calicoctl",
}
"""The groups in the order of the help, with what each is about."""


def load_group(name: str) -> Group:
    """Return the grammar of a group in `SUMMARIES`."""
    module = import_module(f"calico.cli.groups.{name}")
    group: Group = module.GROUP
    return group
