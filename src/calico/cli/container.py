"""`calicoctl container`."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from calico.attach.addresses import Inside, add_address, remove_address
from calico.attach.choices import AddressChoice, AnyAddress, parse_choice
from calico.attach.errors import (
    AddressNotHeld,
    AlreadyAttached,
    BadAddress,
    HostNamespace,
    NoSuchPool,
    NotInForce,
    UnknownWorkload,
)
from calico.attach.in_force import wait_connected, wait_in_force
from calico.attach.site import DEFAULT_INTERFACE, Container, Site
from calico.attach.workload import (
    Attached,
    Connection,
    attach_workload,
    container_at,
    detach_workload,
)
from calico.cli import output
from calico.cli.call import Call
from calico.cli.endpoint import show_endpoints
from calico.cli.endpoints import ProfileChange, Selector, select
from calico.cli.endpoints import change_profiles as change_profiles_of
from calico.cli.exit_codes import NOT_IN_FORCE
from calico.cli.refusal import Refused, paragraph, require_root
from calico.codec.keys import workload_prefix
from calico.ipam.errors import AlreadyAssigned, Exhausted, PoolNotFound
from calico.linux.namespace import NamespaceMissing
from calico.linux.rtnetlink import NetlinkRefused
from calico.linux.veth import InterfaceMissing
from calico.model.errors import CalicoError, Conflict
from calico.model.names import InterfaceName, parse_interface_name

WAIT_S = 10.0
"""How long to wait for the agent to put a new address into force."""

# Of these the words are the original's. The first are paragraphs.
_PARAGRAPHS = (BadAddress, NoSuchPool, AlreadyAssigned, HostNamespace, AlreadyAttached)
_LINES = (PoolNotFound, Exhausted)


def add(call: Call) -> int:
    """Connect a workload and wait until its address is in force and it can send."""
    container = _container(call)
    interface = _interface(call)
    with _own_words():
        choice = parse_choice(call.word("IP"))
        require_root()
        site = _site(call)
        connection = Connection(container, container.text, (choice,), interface)
        try:
            attached = attach_workload(site, connection)
        except NamespaceMissing as error:
            raise Refused(
                f"Container {container.text} was not found.", str(error)
            ) from None
    output.paragraph(f"IP {attached.address} added to {container.text}")
    return _wait(attached, lambda: wait_connected(site, connection, attached, WAIT_S))


def remove(call: Call) -> int:
    """Take a workload off."""
    container = _container(call)
    with _own_words():
        require_root()
        try:
            detached = detach_workload(_site(call), container)
        except UnknownWorkload:
            output.line(f"Failed find Calico data for {container.text}")
            return 0
    for interface, reason in detached.stuck:
        output.complain(f"Could not remove Calico interface {interface}")
        output.complain(reason)
    output.line(f"Removed Calico from {container.workload}")
    return 1 if detached.stuck else 0


def add_ip(call: Call) -> int:
    """Give a workload another address and wait until it is in force."""
    container = _container(call)
    inside = Inside(container, container.text, _interface(call))
    with _own_words(), _changing(container):
        choice = parse_choice(call.word("IP"))
        require_root()
        site = _site(call)
        try:
            attached = add_address(site, inside, choice)
        except UnknownWorkload as error:
            raise Refused(
                "Failed to add IP address to container.",
                "",
                paragraph(str(error)),
                paragraph(
                    "Use `calicoctl container add` to add the container to the"
                    " Calico network."
                ),
            ) from None
    output.line(f"IP {attached.address} added to {container.text}")
    return _wait(attached, lambda: wait_in_force(site, attached.revision, WAIT_S))


def remove_ip(call: Call) -> int:
    """Take an address away from a workload."""
    container = _container(call)
    inside = Inside(container, container.text, _interface(call))
    with _own_words(), _changing(container):
        choice: AddressChoice = parse_choice(call.word("IP"))
        if isinstance(choice, AnyAddress):
            raise BadAddress(call.word("IP"))
        require_root()
        try:
            remove_address(_site(call), inside, choice)
        except UnknownWorkload:
            raise Refused("Container is unknown to Calico.") from None
        except AddressNotHeld:
            raise Refused(
                "IP address is not assigned to container. Aborting."
            ) from None
    output.line(f"IP {choice} removed from {container.text}")
    return 0


def show(call: Call) -> int:
    """Show the endpoints of a workload."""
    container = _container(call)
    host = call.settings.hostname
    prefix = workload_prefix(host, container.orchestrator, container.workload)
    found = select(call.store.list_prefix(prefix).items, Selector())
    return show_endpoints(call, found, is_detailed=True)


def change_profiles(call: Call) -> int:
    """Append, remove or set the profiles of a workload."""
    container = _container(call)
    selector = Selector(
        call.settings.hostname, container.orchestrator, container.workload
    )
    change = next(each for each in ProfileChange if call.has(each.value))
    return change_profiles_of(call, selector, change, call.all_words("PROFILES"))


def _container(call: Call) -> Container:
    text = call.word("CONTAINER")
    if not text.startswith("/"):
        raise Refused(
            f"Container {text} was not found.",
            "Names of Docker containers are not served by this build; give the path"
            " of a network namespace, such as /run/netns/web.",
        )
    return container_at(text)


def _interface(call: Call) -> InterfaceName:
    given = call.option("--interface")
    return DEFAULT_INTERFACE if given is None else parse_interface_name(given)


def _site(call: Call) -> Site:
    settings = call.settings
    return Site(call.store, settings.hostname, settings.run_dir, call.note())


def _wait(attached: Attached, wait: Callable[[], None]) -> int:
    try:
        wait()
    except NotInForce as error:
        output.complain(
            f"{attached.address} is {error}. The endpoint is written, and closed"
            " until an agent has its policy in force."
        )
        return NOT_IN_FORCE
    return 0


@contextmanager
def _own_words() -> Generator[None]:
    """Say errors that the original knows too in its words."""
    try:
        yield
    except _PARAGRAPHS as error:
        raise Refused(paragraph(str(error))) from None
    except _LINES as error:
        raise Refused(str(error)) from None


@contextmanager
def _changing(container: Container) -> Generator[None]:
    """Say errors of a change of a workload's addresses in the original's words."""
    try:
        yield
    except NamespaceMissing as error:
        raise Refused(
            f"{container.text} is not currently running.", str(error)
        ) from None
    except InterfaceMissing:
        raise Refused(
            "Interface provided does not exist in container. Aborting."
        ) from None
    except NetlinkRefused as error:
        raise _aborted("Error updating networking in container.", error) from None
    except Conflict as error:
        raise _aborted("Error updating datastore.", error) from None


def _aborted(what: str, error: CalicoError) -> Refused:
    return Refused(f"{what} Aborting.", f"{error}; nothing was changed")
