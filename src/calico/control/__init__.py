"""How one talks to the agent: what is asked and answered, and both ends of it.

One unix socket, one JSON object per line in each direction. Everything that can
be asked is read-only; the answers come from the agent's own loop.
"""
