"""What an endpoint is called, and which endpoints a word may mean.

A word is a workload's name or path, the last part of a path, an endpoint's id
or its beginning, or the whole name that `endpoint show -o name` prints.
"""

from collections.abc import Callable, Iterable, Iterator

from calico.linux.namespace import canonical_path
from calico.model.names import EndpointKey

_SHORTEST_BEGINNING = 4


def endpoint_name(key: EndpointKey) -> str:
    """Return the whole name, which no other endpoint of the cluster has."""
    return f"{key.host}/{key.orchestrator}/{key.workload}/{key.endpoint}"


def short_name(key: EndpointKey) -> str:
    """Return the workload's name, of a path its last part."""
    return key.workload.rpartition("/")[2] or key.workload


def names_of(key: EndpointKey) -> Iterator[str]:
    """List what an endpoint can be called but for its whole name."""
    yield key.endpoint
    yield key.workload
    yield short_name(key)


def find_endpoints(keys: Iterable[EndpointKey], word: str) -> list[EndpointKey]:
    """Find the endpoints that a word means, by the most exact way that finds any."""
    ways: tuple[Callable[[EndpointKey], bool], ...] = (
        lambda key: endpoint_name(key) == word,
        lambda key: word in names_of(key),
        lambda key: len(word) >= _SHORTEST_BEGINNING and key.endpoint.startswith(word),
    )
    if word.startswith("/"):
        path = canonical_path(word)
        ways = (lambda key: key.workload in {word, path},)
    candidates = list(keys)
    for way in ways:
        found = [key for key in candidates if way(key)]
        if found:
            return found
    return []
