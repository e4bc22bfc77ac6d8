"""The supervisor: what stays when the agent or BIRD dies.

It opens the nf_tables socket and creates the table, so that the table has an
owner whatever happens to the agent; it starts the agent with that socket, and
BIRD once the agent has written a configuration for it, and starts each again.
It does nothing else, so there is little that can end it.
"""
