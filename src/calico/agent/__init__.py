"""The agent: events in, transactions out.

One loop owns all state and does all the work. Feeder threads only read (the
datastore's changes, interfaces, the kernel's nftables events, the control
socket) and put what they read on one queue; one more thread writes the host's
status. Any of them that dies takes the process down, and the supervisor starts
it again; the kernel keeps the last ruleset meanwhile.
"""
