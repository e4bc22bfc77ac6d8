"""The supervisor: what stays when the agent dies.

It opens the nf_tables socket and creates the table, so that the table has an
owner whatever happens to the agent; it starts the agent with that socket, and
starts it again. It does nothing else, so there is little that can end it.
"""
