"""BIRD in `outside`: how the outsider learns where the workloads are.

`outside` is to the hosts what the router of a rack is to real ones: a BGP peer
of each of them. It believes what the hosts announce and announces nothing. That
it is their peer is written in the datastore as for any other router (`calicoctl
bgp peer add`). Its AS number is its own, and the hosts' are whatever the user
makes them.
"""

import subprocess
from collections.abc import Iterator, Sequence

from calico.lab.errors import LabError
from calico.lab.plan import OUTSIDE, ROOT, ROUTER_IPV4, ROUTER_IPV6, LabHost
from calico.linux.bird_process import find_bird, find_usable_bird
from calico.model.errors import Unavailable

ROUTER_AS_NUMBER = 64512
"""Another one than hosts have by default (RFC 6996: for private use)."""

_DIRECTORY = ROOT / OUTSIDE
_FILE = _DIRECTORY / "bird.conf"

_HEAD = f"""\
router id {ROUTER_IPV4};
log "{_DIRECTORY / "bird.log"}" all;
protocol device {{ scan time 10; }}
protocol kernel {{ ipv4 {{ import none; export all; }}; }}
protocol kernel {{ ipv6 {{ import none; export all; }}; }}
"""

# A session that was lost is tried again at once: what a user does to a lab shall
# be seen without waiting.
_PEER = """\
protocol bgp {name} {{
  local {own} as {as_number};
  neighbor {other} external;
  direct;
  connect delay time 0;
  connect retry time 1;
  error wait time 1, 2;
  {channel} {{ import all; export none; }};
}}
"""


def has_bird() -> bool:
    """Tell whether a BIRD is installed that the hosts can use."""
    try:
        find_usable_bird()
    except Unavailable:
        return False
    return True


def start_router(hosts: Sequence[LabHost]) -> None:
    """Start BIRD in `outside`. Runs inside the lab, there.

    Raises:
        LabError: It does not start.
    """
    _DIRECTORY.mkdir()
    _FILE.write_text("".join(_configuration(hosts)), "ascii")
    done = subprocess.run(
        [
            find_bird(),
            *("-c", str(_FILE)),
            *("-s", str(_DIRECTORY / "bird.ctl")),
            *("-P", str(_DIRECTORY / "bird.pid")),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"BIRD in `{OUTSIDE}`", " ".join(done.stderr.split()))


def _configuration(hosts: Sequence[LabHost]) -> Iterator[str]:
    yield _HEAD
    for host in hosts:
        for own, other, channel in (
            (ROUTER_IPV4, host.ipv4, "ipv4"),
            (ROUTER_IPV6, host.ipv6, "ipv6"),
        ):
            yield _PEER.format(
                name=f"{host.name}_{channel}",
                own=own,
                other=other,
                channel=channel,
                as_number=ROUTER_AS_NUMBER,
            )
