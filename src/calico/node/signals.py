"""The signals that mean something of their own to the supervisor."""

import signal

WITHDRAW = signal.SIGUSR2
"""Ends the supervisor like SIGTERM, and has BIRD withdraw its routes from peers."""
